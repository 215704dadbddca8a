// What a full memory of hints still takes in.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import type { IpAddress, Mac } from '../../../src/base/address.ts';
import { HostIndex } from '../../../src/core/host-index.ts';
import type { ObservedHosts } from '../../../src/core/observed.ts';
import { type MemoryChange, planMemory } from '../../../src/core/probes/memory.ts';
import type { Hint } from '../../../src/datapath/records/hint.ts';
import type { Neighbor } from '../../../src/netlink/neighbor.ts';
import { ROOT } from '../golden.ts';
import { readCase } from './case.ts';

const BASE = readCase(join(ROOT, 'test/unit/core/cases/suppression-of-each-vlan-needs-announcements-too'));
const OLD = '02:00:00:00:00:0a' as Mac;
const NEW = '02:00:00:00:00:0b' as Mac;
const NOTHING_DONE = { learned: [], obsolete: [], arrived: [], away: [] };

/** The change of a memory of 16 entries that has room for none of the fabric's, where zebra has these entries. */
function planFor(
  entries: readonly (readonly [ip: string, mac: Mac])[],
  known: readonly Partial<Hint>[],
): MemoryChange {
  const [hint] = BASE.hosts.hints;
  const [entry] = BASE.hosts.neighbors;
  assert.ok(hint !== undefined && entry !== undefined);
  const filler = Array.from({ length: 12 }, (_, i) => ({ ip: `10.9.0.${i}` as IpAddress }));
  const hints = [...filler, ...known].map(
    (one): Hint => ({ ...hint, kind: 'fabric', mac: OLD, seenMs: BASE.hosts.nowMs - 1_000, ...one }),
  );
  const neighbors = entries.map(([ip, mac]): Neighbor => ({ ...entry, ip: ip as IpAddress, mac }));
  const hosts: ObservedHosts = { ...BASE.hosts, hints, neighbors };
  return planMemory(
    BASE.topology,
    hosts,
    new HostIndex(hosts),
    { endings: new Map(), decisions: [] },
    NOTHING_DONE,
    {
      room: 16,
    },
  );
}

const lines = (hints: readonly Hint[]): string[] => hints.map(({ ip, mac }) => `${ip} ${mac}`);

test('a full memory takes in no new address', () => {
  assert.deepEqual(planFor([['10.0.0.50', OLD]], []), { remember: [], forget: [] });
});

test('an address with another MAC takes the place of the former one in a full memory', () => {
  const { remember, forget } = planFor([['10.0.0.50', NEW]], [{ ip: '10.0.0.50' as IpAddress }]);
  assert.deepEqual([lines(remember), lines(forget)], [[`10.0.0.50 ${NEW}`], [`10.0.0.50 ${OLD}`]]);
});

test('an entry is renewed in a full memory', () => {
  const old = { ip: '10.0.0.50' as IpAddress, seenMs: BASE.hosts.nowMs - 10 * 60_000 };
  const { remember, forget } = planFor([['10.0.0.50', OLD]], [old]);
  assert.deepEqual([lines(remember), lines(forget)], [[`10.0.0.50 ${OLD}`], []]);
});

test('what was here is remembered beside the MAC of another node, also in a full memory', () => {
  const { remember, forget } = planFor(
    [['10.0.0.50', NEW]],
    [{ ip: '10.0.0.50' as IpAddress, kind: 'ended' }],
  );
  assert.deepEqual([lines(remember), lines(forget)], [[`10.0.0.50 ${NEW}`], []]);
});

test('a host that was here and is at another node now is remembered as one of the fabric', () => {
  const { remember } = planFor([['10.0.0.50', OLD]], [{ ip: '10.0.0.50' as IpAddress, kind: 'ended' }]);
  assert.deepEqual(
    remember.map(({ ip, mac, kind }) => `${ip} ${mac} ${kind}`),
    [`10.0.0.50 ${OLD} fabric`],
  );
});
