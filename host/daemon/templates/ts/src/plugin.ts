// A taskhost plugin: greets whom the setting `name` says, and counts how often.

import { get as setting } from "wasi:config/store@0.2.0-rc.1";
import { increment } from "wasi:keyvalue/atomics@0.2.0-draft";
import { open } from "wasi:keyvalue/store@0.2.0-draft";
import { log } from "wasi:logging/logging@0.1.0-draft";

import { catching } from "./failure.js";

// The world's export, checked against the contract's declaration.
export const guest: typeof import("taskhost:plugin/guest@0.1.0") = {
  /** Called for each tick: returns a summary, or throws a `failure`. */
  run: catching((tick) => {
    const name = setting("name") ?? "world";
    log("info", "", `hello ${name}, it is ${tick.dueLocal}`);
    return `greeted ${increment(open("default"), "greeted", 1)} times`;
  }),
};
