// How many announcements one run sends, and what is left to the next.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import type { IpAddress, Mac } from '../../../src/base/address.ts';
import { type AnnouncementPlan, planAnnouncements } from '../../../src/core/announcements.ts';
import type { Bridge, Port, Topology } from '../../../src/core/topology.ts';
import type { Neighbor } from '../../../src/netlink/neighbor.ts';
import { ROOT } from '../golden.ts';
import { readCase } from './case.ts';

const BASE = readCase(join(ROOT, 'test/unit/core/cases/suppression-of-each-vlan-needs-announcements-too'));

/** The plan for `count` addresses that moved, on a bridge with `ports` ports. The last address moved first. */
function planFor(count: number, ports: number): AnnouncementPlan {
  const [bridge] = BASE.topology.bridges;
  const [entry] = BASE.hosts.neighbors;
  const [hint] = BASE.hosts.hints;
  const port = bridge?.ports[0];
  assert.ok(bridge !== undefined && entry !== undefined && hint !== undefined && port !== undefined);
  const many: Bridge = {
    ...bridge,
    // Any address may be learned.
    domains: new Map([...bridge.domains].map(([vlan, domain]) => [vlan, { ...domain, addresses: [] }])),
    ports: Array.from({ length: ports }, (_, i): Port => ({ ...port, name: `tap${i}` })),
  };
  const topology: Topology = { ...BASE.topology, bridges: [many] };
  const ips = Array.from({ length: count }, (_, i) => `10.1.${i >> 8}.${i & 255}` as IpAddress);
  const neighbors = ips.map((ip, i): Neighbor => ({ ...entry, ip, updatedMs: i }));
  const hints = ips.map((ip) => ({ ...hint, ip }));
  return planAnnouncements(topology, { ...BASE.hosts, neighbors, hints }, []);
}

test('a run announces at most 256 addresses, those that moved first, and leaves the others', () => {
  const { due, left } = planFor(300, 2);
  assert.equal(due.length, 256);
  assert.equal(left.length, 44);
  assert.deepEqual([due[0]?.entry.updatedMs, left[0]?.updatedMs], [299, 43]);
  assert.deepEqual([due[0]?.mac, due[0]?.outlets.length], ['02:00:00:00:00:0b' as Mac, 2]);
});

test('a run sends at most 4096 frames, but always one announcement', () => {
  assert.deepEqual([planFor(10, 1_000).due.length, planFor(10, 1_000).left.length], [4, 6]);
  assert.deepEqual([planFor(2, 5_000).due.length, planFor(2, 5_000).left.length], [1, 1]);
});
