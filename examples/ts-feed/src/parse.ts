// What of a feed is of use here. No import of the host's, so it runs in Node.js as well.

import { XMLParser } from "fast-xml-parser";

export interface Entry {
  /** What stays the same when an entry is edited. */
  id: string;
  title: string;
  /** Empty if there is none. */
  link: string;
}

// Made while the plugin is built: the finished one starts with it in memory.
const parser = new XMLParser({
  ignoreAttributes: false,
  attributeNamePrefix: "@",
  // An id or a title that looks like a number is a text all the same.
  parseTagValue: false,
  isArray: (name) => ["item", "entry", "link"].includes(name),
});

/** The entries of an RSS feed (0.9 to 2.0) or an Atom feed, in its order. */
export function parseFeed(xml: string): Entry[] {
  const root = parser.parse(xml);
  const feed = root.rss?.channel ?? root["rdf:RDF"] ?? root.feed;
  if (feed === undefined) throw new Error("neither RSS nor Atom");
  const items: Record<string, unknown>[] = feed.item ?? feed.entry ?? [];
  return items.map((item) => {
    const link = linkOf(item.link);
    const title = text(item.title) || link || "untitled";
    return { id: text(item.guid) || text(item.id) || link || title, title, link };
  });
}

/** RSS has a link as text, Atom as an attribute, of which one that says no `rel` or `alternate` is the entry's page. */
function linkOf(links: unknown): string {
  for (const link of Array.isArray(links) ? links : []) {
    const rel = link?.["@rel"] ?? "alternate";
    if (rel === "alternate") return text(link?.["@href"] ?? link);
  }
  return "";
}

function text(value: unknown): string {
  if (Array.isArray(value)) return text(value[0]);
  if (typeof value === "object" && value !== null) return text((value as Record<string, unknown>)["#text"]);
  return String(value ?? "").replace(/\s+/g, " ").trim();
}
