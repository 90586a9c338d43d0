// A GET by wasi:http, for QuickJS has no `fetch`.

import { handle } from "wasi:http/outgoing-handler@0.2.12";
import { Fields, type IncomingBody, OutgoingRequest } from "wasi:http/types@0.2.12";

import { decode, encode } from "./utf8.js";

/** What is longer is no feed that a person reads. */
const BODY_BYTES = 4 * 1024 * 1024;
// componentize-qjs has 64-bit integers as numbers, where the declarations say `bigint`.
const PIECE_BYTES = (64 * 1024) as unknown as bigint;

/** The text at a URL; an error that says why there is none. */
export function get(url: string): string {
  const parts = /^(https?):\/\/([^/?#]+)([^#]*)/i.exec(url);
  if (!parts) throw new Error("no http:// or https:// URL");
  const [, scheme, authority, path] = parts;

  const headers = Fields.fromList([
    ["accept", encode("application/atom+xml, application/rss+xml, application/xml")],
    ["user-agent", encode("taskhost-ts-feed")],
  ]);
  const request = new OutgoingRequest(headers);
  request.setScheme({ tag: scheme.toLowerCase() === "https" ? "HTTPS" : "HTTP" });
  request.setAuthority(authority);
  request.setPathWithQuery(path.startsWith("/") ? path : `/${path}`);

  const coming = attempt(() => handle(request, undefined));
  coming.subscribe().block();
  // The outer layers say whether there is an answer yet, and whether it was taken before.
  const answer = coming.get();
  if (answer?.tag !== "ok") throw new Error("no answer");
  if (answer.val.tag !== "ok") throw new Error(describe(answer.val.val));
  const response = answer.val.val;
  const status = response.status();
  if (status >= 300 && status < 400) {
    const [location] = response.headers().get("location");
    throw new Error(`moved: set the URL to ${location ? decode(location) : "the new one"}`);
  }
  if (status !== 200) throw new Error(`status ${status}`);
  return decode(read(response.consume()));
}

function read(body: IncomingBody): Uint8Array {
  const stream = body.stream();
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for (;;) {
    let piece: Uint8Array;
    try {
      piece = stream.blockingRead(PIECE_BYTES);
    } catch (error) {
      if (payload(error)?.tag === "closed") break;
      throw new Error("the answer broke off");
    }
    pieces.push(piece);
    bytes += piece.length;
    if (bytes > BODY_BYTES) throw new Error(`longer than ${BODY_BYTES} bytes`);
  }
  const all = new Uint8Array(bytes);
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

/** Calls an import whose `err` is an error of HTTP, as an error with a message. */
function attempt<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw new Error(describe(payload(error)));
  }
}

/** What an import threw: its WIT's `err`, bare or in a wrapper. */
function payload(error: unknown): { tag: string; val?: unknown } {
  return ((error as { payload?: unknown }).payload ?? error) as { tag: string; val?: unknown };
}

function describe(code: { tag: string; val?: unknown }): string {
  return code.val === undefined || code.val === null ? code.tag : `${code.tag} (${JSON.stringify(code.val)})`;
}
