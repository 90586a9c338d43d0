// Asks for an RSS or Atom feed at each tick, and logs the entries that were not there before. Setting: `url`.

import type { Failure } from "taskhost:plugin/types@0.1.0";
import { get as setting } from "wasi:config/store@0.2.0-rc.1";
import { open } from "wasi:keyvalue/store@0.2.0-draft";
import { log } from "wasi:logging/logging@0.1.0-draft";

import { get } from "./http.js";
import { type Entry, parseFeed } from "./parse.js";
import { decode, encode } from "./utf8.js";

// The world's export, checked against the contract's declaration.
export const guest: typeof import("taskhost:plugin/guest@0.1.0") = {
  /** Called for each tick: returns a summary, or throws a failure. */
  run(tick) {
    const url = setting("url");
    // The same settings come with every tick, so trying again is of no use.
    if (!url) throw failure("no URL: set one with --config url=URL", true);

    let entries: Entry[];
    try {
      entries = parseFeed(get(url));
    } catch (error) {
      throw failure(`${url}: ${error instanceof Error ? error.message : String(error)}`, false);
    }
    const fresh = remember(url, entries);
    if (fresh === null) {
      log("info", tick.task, `watching ${url}, which has ${entries.length} entries`);
      return undefined;
    }
    for (const { title, link } of fresh) log("info", tick.task, link ? `${title} ${link}` : title);
    return fresh.length > 0 ? `${fresh.length} new` : undefined;
  },
};

/** The entries that are new, or null the first time. What is remembered are the ids in the feed, in its order, as one value. */
function remember(url: string, entries: Entry[]): Entry[] | null {
  const store = open("default");
  const stored = store.get(url);
  const ids = JSON.stringify(entries.map((entry) => entry.id));
  const before = stored && decode(stored);
  if (before !== ids) store.set(url, encode(ids));
  if (!before) return null;
  const known = new Set<string>(JSON.parse(before));
  // A feed has its newest first, a log its newest last.
  return entries.filter((entry) => !known.has(entry.id)).reverse();
}

function failure(message: string, permanent: boolean): Failure {
  return { message, permanent, retryAfterMs: undefined };
}
