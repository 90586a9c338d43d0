// Makes {{name}}.wasm of plugin.js. build.sh calls it once the packages are there.
import { writeFile } from "node:fs/promises";
import { componentize } from "@bytecodealliance/componentize-js";

const { component } = await componentize({
  sourcePath: "plugin.js",
  witPath: "wit",
  worldName: "plugin",
  // Only what a plugin that exports `wasi:http/incoming-handler` would need.
  disableFeatures: ["fetch-event"],
});
await writeFile("{{name}}.wasm", component);
