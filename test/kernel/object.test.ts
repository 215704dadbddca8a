// The eBPF object that is committed, so that no build needs a compiler.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { tryRun } from '../lib/run.ts';
import { outputOf } from '../lib/snoopy.ts';

const BUILD = fileURLToPath(new URL('../../../bpf/build.mjs', import.meta.url));

test('the committed object is what its sources compile to', () => {
  const verified = tryRun([process.execPath, BUILD, '--verify']);
  assert.equal(verified.code, 0, outputOf(verified));
});
