// Binding counts: the program's count for a port must equal the number of its bindings in the map.

import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { IfIndex, IpAddress, Mac } from '../../../src/base/address.ts';
import { correctCounts, limitedSince } from '../../../src/core/binding-counts.ts';
import type { Binding } from '../../../src/datapath/records/binding.ts';
import type { PortPolicy } from '../../../src/datapath/records/port.ts';

const PORT = 3 as IfIndex;
const POLICY: PortPolicy = {
  bridge: 2 as IfIndex,
  pvid: 0,
  learn: 7,
  linkLocal: false,
  ownsQdisc: true,
  maxBindings: 64,
  newIntervalNs: 1,
  newBurst: 1,
  duplicateMoves: 5,
  duplicateWindowMs: 1,
  duplicateHoldMs: 1,
  released: 0,
  reported: 0,
  vlans: null,
};

/** A run of all bridges. */
const ALL: ReadonlySet<IfIndex> = new Set([PORT]);

function bindings(count: number): Binding[] {
  return Array.from({ length: count }, (_, i) => ({
    bridge: 2 as IfIndex,
    vlan: 0,
    ip: `10.0.0.${i}` as IpAddress,
    mac: '02:00:00:00:00:01' as Mac,
    router: false,
    port: PORT,
    moves: 0,
    firstSeenMs: 0,
    lastSeenMs: 0,
    windowMs: 0,
    frozenUntilMs: 0,
    owner: null,
  }));
}

function released(gained: number, lost: number, before: number, there: number): number | undefined {
  const corrected = correctCounts(
    new Map([[PORT, { ...POLICY, released: before }]]),
    new Map([[PORT, { gained, lost, limited: 0 }]]),
    bindings(there),
    ALL,
  );
  return corrected.get(PORT)?.released;
}

it('a correct count is left alone', () => assert.equal(released(5, 1, 2, 2), undefined));
it('a deleted binding counts as released', () => assert.equal(released(5, 0, 0, 3), 2));
it('a recovered binding, which the program never counted, makes it negative', () =>
  assert.equal(released(0, 0, 0, 2), -2));
it('a port without a state has gained nothing', () => {
  const corrected = correctCounts(new Map([[PORT, POLICY]]), new Map(), bindings(1), ALL);
  assert.equal(corrected.get(PORT)?.released, -1);
});

it('what the limits of a port have cost is reported once', () => {
  const state = { gained: 1, lost: 0, limited: 5 };
  assert.equal(limitedSince({ ...POLICY, reported: 2 }, state), 3);
  const corrected = correctCounts(
    new Map([[PORT, { ...POLICY, reported: 2 }]]),
    new Map([[PORT, state]]),
    bindings(1),
    ALL,
  );
  assert.equal(corrected.get(PORT)?.reported, 5);
  assert.equal(limitedSince(corrected.get(PORT), state), 0);
  // The port was out of the bridge, and counts from zero.
  assert.equal(limitedSince({ ...POLICY, reported: 5 }, { ...state, limited: 1 }), 0);
});

it('a run of other bridges corrects the count of a port, and leaves what its limits have cost to a later report', () => {
  const state = { gained: 5, lost: 0, limited: 7 };
  const policies = new Map([[PORT, { ...POLICY, reported: 2 }]]);
  const corrected = correctCounts(policies, new Map([[PORT, state]]), bindings(3), new Set());
  assert.deepEqual(corrected.get(PORT), { ...POLICY, reported: 2, released: 2 });
  assert.equal(limitedSince(corrected.get(PORT), state), 5);
  assert.equal(correctCounts(corrected, new Map([[PORT, state]]), bindings(3), new Set()).size, 0);
});
