// Makes feed.wasm, or the file given, of build/feed.js. build.sh calls it once the packages are there and the types are checked.
//
// componentize-qjs runs the plugin once while it builds it, with stand-ins for what the host gives. It has the real `wasi:io`
// there and a stand-in for `wasi:http`, whose streams then don't match. So for the build both have another name, for which
// everything is a stand-in, and the finished component's imports get the real one, in a version that the engine itself does not
// import: to the host, which serves 0.2.0 to 0.2.12, it is all the same.
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { componentize } from "componentize-qjs";

const PACKAGES = /wasi:(?=(clocks|http|io)\b)/g;
const MEANWHILE = "wasm:";
// Of the same length, so that nothing moves.
const IMPORTS = /wasm:([a-z/-]+)@0\.2\.12/g;
const REAL = "wasi:$1@0.2.11";
const IMPORT_SECTION = 10;

rmSync("build/wit", { recursive: true, force: true });
cpSync("wit", "build/wit", { recursive: true });
for (const file of readdirSync("build/wit", { recursive: true })) {
  if (file.endsWith(".wit")) rename(`build/wit/${file}`);
}
rename("build/feed.js");

const { component } = await componentize({
  witPath: "build/wit",
  jsSource: readFileSync("build/feed.js", "utf8"),
  world: "feed",
  // For a host without the asynchronous component model; the smaller of the two engines.
  sync: true,
  optSize: true,
});

// After 8 bytes of preamble come sections: what kind, how long as LEB128, and that many bytes.
for (let at = 8; at < component.length; ) {
  const kind = component[at++];
  let size = 0;
  for (let shift = 0, byte = 0x80; byte & 0x80; shift += 7) {
    byte = component[at++];
    size += (byte & 0x7f) * 2 ** shift;
  }
  if (kind === IMPORT_SECTION) {
    const section = component.toString("latin1", at, at + size);
    component.write(section.replace(IMPORTS, REAL), at, "latin1");
  }
  at += size;
}
writeFileSync(process.argv[2] ?? "feed.wasm", component);

function rename(file) {
  writeFileSync(file, readFileSync(file, "utf8").replace(PACKAGES, MEANWHILE));
}
