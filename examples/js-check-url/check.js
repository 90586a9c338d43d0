// Asks for a URL at each tick, and remembers how it was. A run fails as long as the URL is down; the log tells only of changes.
//
// Settings: `url`, and `seconds`, how long an answer may take (10 if it is not set).

import { get as setting } from "wasi:config/store@0.2.0-rc.1";
import { open } from "wasi:keyvalue/store@0.2.0-draft";

const SECONDS = 10;

export const guest = {
  /** Called for each tick: returns a summary, or throws a failure. */
  async run(tick) {
    const url = setting("url");
    const seconds = Number(setting("seconds") ?? SECONDS);
    // The same settings come with every tick, so trying again is of no use.
    if (url === undefined) throw failure("no URL: set one with --config url=URL", true);
    if (!(seconds > 0)) throw failure("`seconds` is no number above 0", true);

    const now = await check(url, seconds);
    tell(url, now, tick.dueLocal);
    if (!now.up) throw failure(`${url} is down: ${now.why}`, false);
    return now.why;
  },
};

/** How the URL is: `up` or not, and why. */
async function check(url, seconds) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${seconds} s`)), seconds * 1000);
  });
  try {
    const response = await Promise.race([fetch(url), late]);
    return { up: response.ok, why: `status ${response.status}` };
  } catch (error) {
    return { up: false, why: error.message };
  } finally {
    clearTimeout(timer);
  }
}

/** Tells of a change, and remembers it with the due time that it was seen at. Reads once a tick, writes once a change. */
function tell(url, now, due) {
  const store = open("default");
  const stored = store.get(url);
  const before = stored && JSON.parse(new TextDecoder().decode(stored));
  if (before?.up === now.up) return;

  const since = before ? `; it was ${word(before)} since ${before.since}` : "";
  const say = now.up ? console.log : console.error;
  say(`${url} is ${word(now)}: ${now.why}${since}`);
  store.set(url, new TextEncoder().encode(JSON.stringify({ up: now.up, since: due })));
}

const word = (state) => (state.up ? "up" : "down");

const failure = (message, permanent) => ({ message, permanent, retryAfterMs: undefined });
