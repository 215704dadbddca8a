// Has V8 compile snoopy.cjs, the program beside this file, all of it, and keeps that for start.cjs: for this program and
// this version of V8 alone. Run when the package is installed, by whoever owns it; what it writes is as good as program.
'use strict';

const { readFileSync, renameSync, rmSync, statSync, writeFileSync } = require('node:fs');
const { setFlagsFromString } = require('node:v8');
const { Script } = require('node:vm');

const program = `${__dirname}/snoopy.cjs`;
const cache = `${program}.cache`;

for (const path of [cache, `${cache}.new`]) rmSync(path, { force: true });
const { size, mtimeMs } = statSync(program);
// As start.cjs wants it.
const stamp = `${size} ${mtimeMs}`.padEnd(64);
const source = readFileSync(program, 'latin1');
// V8 compares its flags too: this one is in the first line of start.cjs.
setFlagsFromString('--max-semi-space-size=1');
// Otherwise functions are compiled when they are called first. It goes back.
setFlagsFromString('--no-lazy');
const script = new Script(source, { filename: program });
setFlagsFromString('--lazy');
const code = script.createCachedData();
const { cachedDataRejected } = new Script(source, { filename: program, cachedData: code });
if (cachedDataRejected) throw new Error(`V8 ${process.versions.v8} refuses the code that it has made itself`);
writeFileSync(`${cache}.new`, Buffer.concat([Buffer.from(stamp), code]), {
  mode: 0o644,
  flag: 'wx',
  flush: true,
});
renameSync(`${cache}.new`, cache);
