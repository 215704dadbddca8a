// Compiles all of snoopy.cjs, the program beside this file, and stores the code for start.cjs. The code is good for
// this program and this version of V8 only. Runs when the package is installed, as the owner of its files: the stored
// code is executed like the program.
'use strict';

const {
  closeSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} = require('node:fs');
const { setFlagsFromString } = require('node:v8');
const { Script } = require('node:vm');

const program = `${__dirname}/snoopy.cjs`;
const cache = `${program}.cache`;

for (const path of [cache, `${cache}.new`]) rmSync(path, { force: true });
const { size, mtimeMs } = statSync(program);
// The stamp that start.cjs expects.
const stamp = `${size} ${mtimeMs} ${process.version} ${process.arch}`.padEnd(64);
const source = readFileSync(program, 'latin1');
// V8 also compares its flags: this one is in the first line of start.cjs.
setFlagsFromString('--max-semi-space-size=1');
// By default V8 compiles a function at its first call. Set back below.
setFlagsFromString('--no-lazy');
const script = new Script(source, { filename: program });
setFlagsFromString('--lazy');
const code = script.createCachedData();
const { cachedDataRejected } = new Script(source, { filename: program, cachedData: code });
if (cachedDataRejected) throw new Error(`V8 ${process.versions.v8} rejects its own code`);
const file = openSync(`${cache}.new`, 'wx', 0o644);
for (const part of [Buffer.from(stamp), code]) writeFileSync(file, part);
// On the disk before it gets its name: V8 does not notice code that is damaged.
fsyncSync(file);
closeSync(file);
renameSync(`${cache}.new`, cache);
