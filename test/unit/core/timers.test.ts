// When a listening run looks at an address although nothing happens.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { it } from 'node:test';
import { refreshDueMs } from '../../../src/core/timers.ts';
import { ROOT } from '../golden.ts';
import { readCase } from './case.ts';

const OURS = 115;
const ZEBRA = 11;

const { hosts } = readCase(
  join(ROOT, 'test/unit/core/cases/unprotected-noarp-entries-are-written-again-in-time'),
);
const [entry] = hosts.neighbors;
assert.ok(entry !== undefined);

function dueFor(protocol: number): number {
  return refreshDueMs({ ...entry, protocol, extFlags: 0 } as typeof entry, OURS, hosts.nowMs);
}

it('an entry of ours that garbage collection may take is checked every 20 s', () =>
  assert.equal(dueFor(OURS) - hosts.nowMs, 20_000));

it('an entry of another owner makes no timer', () => assert.equal(dueFor(ZEBRA), Number.POSITIVE_INFINITY));
