// Runs the linter of workflows on files, and prints what it finds, one line each.
//
// In: the linter's package, then files. Out: `file:line:column [ kind ] message`; status 1 if there is any.
// Must not: use the package's own command: its colours need a newer node than Debian 12 has.
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { webcrypto } from "node:crypto";

globalThis.crypto ??= webcrypto;
const [linter, ...files] = process.argv.slice(2);
const { runLint } = createRequire(import.meta.url)(`${linter}/build/run-lint.js`);
let found = 0;
for (const file of files) {
    for (const { line, column, kind, message } of await runLint(await readFile(file, "utf-8"), file)) {
        console.log(`${file}:${line}:${column} [ ${kind} ] ${message}`);
        found += 1;
    }
}
console.log(`${files.length} workflows, ${found} findings`);
process.exit(found > 0 ? 1 : 0);
