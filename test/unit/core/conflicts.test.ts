// The effect of owner checks on addresses in conflict.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { IpAddress } from '../../../src/base/address.ts';
import { planHosts } from '../../../src/core/neighbors/plan.ts';
import { findConflicts, keepForOwners } from '../../../src/core/probes/owners.ts';
import type { Topology } from '../../../src/core/topology.ts';
import { ROOT } from '../golden.ts';
import { readCase } from './case.ts';

const { topology, hosts } = readCase(
  join(ROOT, 'test/unit/core/cases/the-owner-of-a-claimed-address-is-probed-first'),
);
const OPTIONS = { protocol: 115, whole: true };

it('an owner that answers, or is not probed yet, keeps its neighbor, and the claim waits', () => {
  const conflicts = findConflicts(topology, hosts, OPTIONS.protocol);
  assert.equal(planHosts(topology, hosts, OPTIONS).changes.length, 2);
  const [first, second] = conflicts;
  assert.ok(first !== undefined && second !== undefined);
  const { changes, decisions } = planHosts(topology, hosts, {
    ...OPTIONS,
    kept: keepForOwners(conflicts, [first], [first]),
  });
  assert.deepEqual(changes, []);
  assert.deepEqual(
    decisions.map(({ ip, state, because }) => `${ip} ${state}: ${because}`),
    [
      '10.0.0.10 waiting: its owner 02:00:00:00:00:0a still answers',
      '2001:db8::10 waiting: its owner 02:00:00:00:00:0a is not probed yet',
    ],
  );
});

it('an owner that does not answer its probe loses the address', () => {
  const conflicts = findConflicts(topology, hosts, OPTIONS.protocol);
  const kept = keepForOwners(conflicts, conflicts, []);
  assert.equal(planHosts(topology, hosts, { ...OPTIONS, kept }).changes.length, 2);
});

describe('an owner on an Ethernet segment', () => {
  const segment = readCase(
    join(
      ROOT,
      'test/unit/core/cases/a-claim-that-the-kernel-has-taken-into-an-entry-of-zebra-is-checked-too',
    ),
  );
  const timeless: Topology = {
    ...segment.topology,
    bridges: segment.topology.bridges.map((bridge) => ({
      ...bridge,
      desired: { ...bridge.desired, maxAgeMs: null },
    })),
  };
  /** The decisions after an owner check without an answer, `ageMs` after the claim. */
  const decideAfter = (ageMs: number, topology = segment.topology): string[] => {
    const after = { ...segment.hosts, nowMs: segment.hosts.nowMs + ageMs };
    const conflicts = findConflicts(topology, after, OPTIONS.protocol);
    const kept = keepForOwners(conflicts, conflicts, []);
    return planHosts(topology, after, { ...OPTIONS, kept }).decisions.map(
      ({ mac, state, because }) => `${mac} ${state}: ${because}`,
    );
  };

  it('keeps its address though it does not answer: the answer may have gone to another node', () => {
    assert.deepEqual(decideAfter(60_000), [
      '02:00:00:00:00:0b waiting: its owner 02:00:00:00:00:0a may answer to another node of its Ethernet segment',
    ]);
  });

  it('loses its address once the claim has stood for max_age, or for 20 minutes where that is never', () => {
    for (const topology of [segment.topology, timeless])
      assert.deepEqual(decideAfter(20 * 60_000 + 1_000, topology), [
        '02:00:00:00:00:0b installed: zebra has put its own in place',
      ]);
  });
});

it('an owner that has its address back is installed like any other host', () => {
  const conflicts = findConflicts(topology, hosts, OPTIONS.protocol);
  const bindings = hosts.bindings.map((binding) => ({ ...binding, mac: conflicts[0]?.owner ?? binding.mac }));
  const { decisions } = planHosts(
    topology,
    { ...hosts, bindings },
    { ...OPTIONS, kept: keepForOwners(conflicts, conflicts, conflicts) },
  );
  assert.deepEqual(
    decisions.map(({ ip, state }) => `${ip} ${state}`),
    ['10.0.0.10 installed', '2001:db8::10 installed'],
  );
});

it('a claim to the address of an owner that answers writes nothing, even without a neighbor', () => {
  const conflicts = findConflicts(topology, hosts, OPTIONS.protocol);
  const { changes } = planHosts(
    topology,
    { ...hosts, neighbors: [] },
    { ...OPTIONS, kept: keepForOwners(conflicts, conflicts, conflicts) },
  );
  assert.deepEqual(changes, []);
});

it('of many conflicts the oldest come first', () => {
  const [binding] = hosts.bindings;
  const [neighbor] = hosts.neighbors;
  assert.ok(binding !== undefined && neighbor !== undefined);
  const ips = Array.from({ length: 300 }, (_, i) => `10.0.0.${i % 250}` as IpAddress);
  const many = {
    ...hosts,
    // Later in the list is older.
    bindings: ips.map((ip, i) => ({ ...binding, ip, firstSeenMs: binding.firstSeenMs - i })),
    neighbors: ips.map((ip) => ({ ...neighbor, ip })),
  };
  const found = findConflicts(topology, many, OPTIONS.protocol);
  assert.equal(found.length, 300);
  assert.equal(found[0]?.ip, ips[299]);
  assert.equal(found[299]?.ip, ips[0]);
});
