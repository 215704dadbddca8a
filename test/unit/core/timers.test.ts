// When a listening run looks again without an event.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { it } from 'node:test';
import { nextDue } from '../../../src/core/timers.ts';
import { ROOT } from '../golden.ts';
import { readCase } from './case.ts';

const OURS = 115;
const ZEBRA = 11;

const { topology, hosts } = readCase(
  join(ROOT, 'test/unit/core/cases/unprotected-noarp-entries-are-written-again-in-time'),
);
const [entry] = hosts.neighbors;
assert.ok(entry !== undefined);

function dueFor(protocol: number): number {
  const neighbors = [{ ...entry, protocol, extFlags: 0 }] as typeof hosts.neighbors;
  return nextDue(topology, { ...hosts, bindings: [], neighbors }, { protocol: OURS, hasProbed: false });
}

it('an entry of ours that garbage collection may take is checked every 20 s', () =>
  assert.equal(dueFor(OURS) - hosts.nowMs, 20_000));

it('an entry of another owner makes no timer', () => assert.equal(dueFor(ZEBRA), Number.POSITIVE_INFINITY));

it('the answer to a probe is due within a second', () => {
  const idle = { ...hosts, bindings: [], neighbors: [] };
  assert.equal(nextDue(topology, idle, { protocol: OURS, hasProbed: true }) - hosts.nowMs, 1000);
});
