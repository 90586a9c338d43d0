// Makes check.wasm, or the file given, of check.js. build.sh calls it once the packages are there.
import { writeFile } from "node:fs/promises";
import { componentize } from "@bytecodealliance/componentize-js";

const { component } = await componentize({
  sourcePath: "check.js",
  witPath: "wit",
  worldName: "check-url",
  // Only what a plugin that exports `wasi:http/incoming-handler` would need.
  disableFeatures: ["fetch-event"],
});
await writeFile(process.argv[2] ?? "check.wasm", component);
