// Which bound hosts a run probes when more probes are due than it sends.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { it } from 'node:test';
import type { IfIndex, IpAddress } from '../../../src/base/address.ts';
import { type PlacedBinding, planHostProbes } from '../../../src/core/probes/ageing.ts';
import { ROOT } from '../golden.ts';
import { readCase } from './case.ts';

const MOST = 256;

const { topology, hosts } = readCase(
  join(ROOT, 'test/unit/core/cases/a-host-that-the-bridge-has-aged-out-is-probed-at-once'),
);
const [port] = topology.bridges.flatMap(({ ports }) => ports);
const [binding] = hosts.bindings;
assert.ok(port !== undefined && binding !== undefined);
const crowded = port;
const other = { ...port, ifIndex: 99 as IfIndex, name: 'tap99' };
const example = binding;

/** Bindings of hosts on one port, the last one silent for the longest time. */
function bindings(count: number, on = crowded, silentMs = 3_600_000): PlacedBinding[] {
  return Array.from({ length: count }, (_, n) => ({
    port: on,
    isForgotten: false,
    binding: {
      ...example,
      ip: `10.0.${n >> 8}.${n & 255}` as IpAddress,
      port: on.ifIndex,
      lastSeenMs: hosts.nowMs - silentMs - n,
    },
  }));
}

/** How many of each are probed, and how many of them on the other port. */
function probed(present: readonly PlacedBinding[], doubtful: readonly PlacedBinding[]): readonly number[] {
  const plan = planHostProbes(topology, { present, doubtful }, { nowMs: hosts.nowMs, probes: new Map() });
  const onOther = [...plan.silent, ...plan.doubtful].filter((probe) => probe.port === other);
  return [plan.silent.length, plan.doubtful.length, onOther.length];
}

it('silent hosts and those in doubt have half of the probes each when there are many of both', () => {
  assert.deepEqual(probed(bindings(MOST), bindings(MOST)), [MOST / 2, MOST / 2, 0]);
});

it('silent hosts get the probes that those in doubt leave, and the reverse', () => {
  assert.deepEqual(probed(bindings(MOST), bindings(10)), [MOST - 10, 10, 0]);
  assert.deepEqual(probed(bindings(10), bindings(MOST)), [10, MOST - 10, 0]);
  assert.deepEqual(probed([], bindings(MOST + 1)), [0, MOST, 0]);
});

it('a port with many silent hosts, or many in doubt, leaves probes for another port', () => {
  const late = bindings(1, other, 1_800_000);
  assert.deepEqual(probed([...bindings(MOST), ...late], []), [MOST, 0, 1]);
  assert.deepEqual(probed([], [...bindings(MOST), ...late]), [0, MOST, 1]);
  assert.deepEqual(probed(late, bindings(MOST)), [1, MOST - 1, 1]);
});

it('of the hosts of one port those that have been silent for the longest time come first', () => {
  const { silent } = planHostProbes(
    topology,
    { present: bindings(MOST + 1), doubtful: [] },
    { nowMs: hosts.nowMs, probes: new Map() },
  );
  assert.deepEqual([silent[0]?.binding.ip, silent.at(-1)?.binding.ip], ['10.0.1.0', '10.0.0.1']);
});
