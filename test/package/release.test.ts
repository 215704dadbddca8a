// `npm run release:check`: what must be true of a release is true of every commit, but for the changelog.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { tryRun } from '../lib/run.ts';

const CHECK = fileURLToPath(new URL('../../packaging/release-check.js', import.meta.url));

test('packages are reproducible, list licenses, and are installed without a network', () => {
  const { stdout, stderr } = tryRun([process.execPath, CHECK], { timeoutMs: 300_000 });
  const [versions, ...claims] = stdout.split('\n').filter((line) => /^(?:ok|FAIL) /.test(line));
  assert.match(versions ?? '', /^\S+ +all files agree on the versions/, stdout + stderr);
  assert.equal(claims.length, 4, stdout + stderr);
  for (const claim of claims) assert.match(claim, /^ok /, stdout + stderr);
  assert.equal(stdout.match(/^ +[0-9a-f]{64} {2}snoopy-evpn\S+$/gm)?.length, 5, stdout);
});
