#!/usr/bin/env -S node --max-semi-space-size=1
// Starts snoopy.cjs, the program beside this file, with the code that precompile.cjs has had V8 make of it, where
// there is any. V8 itself refuses what another version of it has made; then, or where there is none, it compiles anew.
//
// The option above: nearly all that a run makes of its hosts stays to its end. A small nursery has it out of the way at
// once, and touches a fifth less memory.
'use strict';

const { readFileSync, statSync } = require('node:fs');
const { Script } = require('node:vm');

const program = `${__dirname}/snoopy.cjs`;

/** What precompile.cjs has made of the program as it is now: a stamp that says so, then V8's own. */
function compiledCode() {
  try {
    const { size, mtimeMs } = statSync(program);
    // Of 64 bytes: V8 would copy what is not aligned.
    const stamp = `${size} ${mtimeMs}`.padEnd(64);
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
  // What a module is given, a script finds here. esbuild writes ASCII.
  Object.assign(globalThis, { require, __filename: program });
  new Script(readFileSync(program, 'latin1'), { filename: program, cachedData }).runInThisContext();
}
