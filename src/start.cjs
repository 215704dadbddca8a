#!/usr/bin/env -S node --max-semi-space-size=1
// Starts snoopy.cjs, the program beside this file, with the compiled code that precompile.cjs has stored, if there is
// any for this Node.js. V8 rejects code of another version of V8, but code of another architecture crashes it.
//
// The option above: nearly all objects of a run live until its end. With a small semi-space V8 moves them to the old
// generation at once, and a run touches a fifth less memory.
'use strict';

const { readFileSync, statSync } = require('node:fs');
const { Script } = require('node:vm');

const program = `${__dirname}/snoopy.cjs`;

/** The stored code, if its stamp matches program and Node.js: the file is the stamp, then V8's code cache. */
function compiledCode() {
  try {
    const { size, mtimeMs } = statSync(program);
    // Padded to 64 bytes: V8 would copy code that is not aligned.
    const stamp = `${size} ${mtimeMs} ${process.version} ${process.arch}`.padEnd(64);
    const bytes = readFileSync(`${program}.cache`);
    return bytes.toString('latin1', 0, stamp.length) === stamp ? bytes.subarray(stamp.length) : undefined;
  } catch {
    return undefined;
  }
}

const cachedData = compiledCode();
if (cachedData === undefined) {
  require(program);
} else {
  // A script has no module scope, so it finds these as globals. The output of esbuild is ASCII, so latin1 fits.
  Object.assign(globalThis, { require, __filename: program });
  new Script(readFileSync(program, 'latin1'), { filename: program, cachedData }).runInThisContext();
}
