// What follows from asking the owners of disputed addresses.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { it } from 'node:test';
import type { IpAddress } from '../../../src/base/address.ts';
import { defend, planDisputes } from '../../../src/core/confirm.ts';
import { planHosts } from '../../../src/core/neighbors.ts';
import { ROOT } from '../golden.ts';
import { readCase } from './case.ts';

const { topology, hosts } = readCase(
  join(ROOT, 'test/unit/core/cases/the-owner-of-a-claimed-address-is-asked-first'),
);
const OPTIONS = { protocol: 115, whole: true };

it('an owner who answers, or who is yet to be asked, keeps his neighbor; the claim waits', () => {
  const asked = planDisputes(topology, hosts, OPTIONS.protocol);
  assert.equal(planHosts(topology, hosts, OPTIONS).changes.length, 2);
  const [first, second] = asked;
  assert.ok(first !== undefined && second !== undefined);
  const { changes, verdicts } = planHosts(topology, hosts, {
    ...OPTIONS,
    defended: defend(asked, [first], [first]),
  });
  assert.deepEqual(changes, []);
  assert.deepEqual(
    verdicts.map(({ ip, state, because }) => `${ip} ${state}: ${because}`),
    [
      '10.0.0.10 waiting: its owner 02:00:00:00:00:0a still answers',
      '2001:db8::10 waiting: its owner 02:00:00:00:00:0a is yet to be asked',
    ],
  );
});

it('an owner who was asked and has not answered is defended no more', () => {
  const asked = planDisputes(topology, hosts, OPTIONS.protocol);
  const defended = defend(asked, asked, []);
  assert.equal(planHosts(topology, hosts, { ...OPTIONS, defended }).changes.length, 2);
});

it('an owner who has it again needs no defence', () => {
  const asked = planDisputes(topology, hosts, OPTIONS.protocol);
  const bindings = hosts.bindings.map((binding) => ({ ...binding, mac: asked[0]?.owner ?? binding.mac }));
  const { verdicts } = planHosts(
    topology,
    { ...hosts, bindings },
    { ...OPTIONS, defended: defend(asked, asked, asked) },
  );
  assert.deepEqual(
    verdicts.map(({ ip, state }) => `${ip} ${state}`),
    ['10.0.0.10 installed', '2001:db8::10 installed'],
  );
});

it('without a neighbor nothing is written for a claim on an address whose owner answers', () => {
  const asked = planDisputes(topology, hosts, OPTIONS.protocol);
  const { changes } = planHosts(
    topology,
    { ...hosts, neighbors: [] },
    { ...OPTIONS, defended: defend(asked, asked, asked) },
  );
  assert.deepEqual(changes, []);
});

it('of many disputes the oldest come first', () => {
  const [binding] = hosts.bindings;
  const [neighbor] = hosts.neighbors;
  assert.ok(binding !== undefined && neighbor !== undefined);
  const ips = Array.from({ length: 300 }, (_, i) => `10.0.0.${i % 250}` as IpAddress);
  const many = {
    ...hosts,
    // The later in this list, the older.
    bindings: ips.map((ip, i) => ({ ...binding, ip, firstSeenMs: binding.firstSeenMs - i })),
    neighbors: ips.map((ip) => ({ ...neighbor, ip })),
  };
  const disputes = planDisputes(topology, many, OPTIONS.protocol);
  assert.equal(disputes.length, 300);
  assert.equal(disputes[0]?.ip, ips[299]);
  assert.equal(disputes[299]?.ip, ips[0]);
});
