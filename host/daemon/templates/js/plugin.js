// A taskhost plugin: greets whom the setting `name` says, and counts how often.

import { get as setting } from "wasi:config/store@0.2.0-rc.1";
import { increment } from "wasi:keyvalue/atomics@0.2.0-draft";
import { open } from "wasi:keyvalue/store@0.2.0-draft";

import { catching } from "./failure.js";

export const guest = {
  /** Called for each tick, and may be `async`: returns a summary, or throws a `failure`. */
  run: catching((tick) => {
    const name = setting("name") ?? "world";
    console.log(`hello ${name}, it is ${tick.dueLocal}`);
    return `greeted ${increment(open("default"), "greeted", 1n)} times`;
  }),
};
