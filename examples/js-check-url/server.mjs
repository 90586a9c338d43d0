// A server for the test: answers its requests in turn with the statuses given, the last one for ever. A status of 0 is no answer
// at all. Prints its port.
import { createServer } from "node:http";

const statuses = process.argv.slice(2).map(Number);
const server = createServer((request, response) => {
  const status = statuses.length > 1 ? statuses.shift() : statuses[0];
  if (status !== 0) response.writeHead(status).end("hello\n");
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
