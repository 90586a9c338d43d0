// A server for the test: the first two requests for a path get the feed without its newest entry. Prints its port.
import { createServer } from "node:http";
import { readFileSync } from "node:fs";

const asked = {};
const server = createServer((request, response) => {
  const path = request.url;
  let feed;
  try {
    feed = readFileSync(new URL(`testdata${path}`, import.meta.url), "utf8");
  } catch {
    response.writeHead(404).end("no such feed\n");
    return;
  }
  asked[path] = (asked[path] ?? 0) + 1;
  if (asked[path] <= 2) feed = feed.replace(/<!-- new -->[^]*<!-- old -->/, "");
  response.writeHead(200, { "content-type": "application/xml" }).end(feed);
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
