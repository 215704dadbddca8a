// When zebra is asked for what runs have written, and what it lacks.
import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { IfIndex, IpAddress, Mac } from '../../../src/base/address.ts';
import type { FrrNeighbor } from '../../../src/core/frr.ts';
import {
  isRenewable,
  lackingIn,
  relevantTo,
  verificationInterval,
  type Written,
  writesOf,
} from '../../../src/core/zebra.ts';
import { NTF_EXT_LEARNED, NUD_NOARP, NUD_REACHABLE, NUD_STALE } from '../../../src/netlink/neighbor.ts';

const MAC = '02:00:00:00:00:01' as Mac;
const OTHER = '02:00:00:00:00:02' as Mac;

function written(device: string, ip: string): Written {
  const entry = {
    ifIndex: 2 as IfIndex,
    ip: ip as IpAddress,
    mac: MAC,
    state: NUD_NOARP,
    flags: 0,
    extFlags: 0,
    protocol: 115,
    updatedMs: 0,
    confirmedMs: 0,
  };
  return { device, entry, forwarded: null };
}

function known(ip: string, mac: Mac, isLocal: boolean, more: Partial<FrrNeighbor> = {}) {
  const entry = { mac, isLocal, isActive: true, isProxy: false, isDuplicate: false, ...more };
  return [ip as IpAddress, entry] as const;
}

it('zebra is asked sooner the more was written', () => {
  const intervals = [1_000, 64, 63, 1, 0].map((count) => verificationInterval(writesOf(count)));
  assert.deepEqual(intervals, [2_000, 2_000, 30_000, 30_000, 300_000]);
});

it('what zebra lacks, or has with another MAC of this node, is missing, and the MAC of what is inactive; what another node has is not', () => {
  const frr = {
    vnis: [{ vni: 100, svi: 'br0' }],
    neighbors: new Map([
      [
        100,
        new Map([
          known('10.1.0.1', MAC, true),
          known('10.1.0.2', OTHER, true),
          known('10.1.0.3', OTHER, false),
          known('10.1.0.5', MAC, true, { isActive: false }),
          // FRR itself has made it inactive.
          known('10.1.0.6', MAC, true, { isActive: false, isDuplicate: true }),
          known('10.1.0.7', MAC, false, { isActive: false }),
        ]),
      ],
    ]),
  };
  const ips = Array.from({ length: 7 }, (_, i) => `10.1.0.${i + 1}`);
  const relevant = relevantTo(frr, [...ips.map((ip) => written('br0', ip)), written('br9', '10.9.0.1')]);
  assert.deepEqual(
    relevant.map(({ vni, entry }) => `${vni} ${entry.ip}`),
    ips.map((ip) => `100 ${ip}`),
  );
  assert.deepEqual(
    lackingIn(frr, relevant).map(({ entry, lack }) => `${entry.ip} ${lack}`),
    ['10.1.0.2 neighbor', '10.1.0.4 neighbor', '10.1.0.5 mac'],
  );
});

it('an entry of the FDB is created anew only where nothing of it would be lost', () => {
  const learned = { state: NUD_REACHABLE, flags: 0, activity: 'untracked' } as const;
  assert.ok(isRenewable(learned));
  assert.ok(isRenewable({ ...learned, state: NUD_NOARP }));
  assert.ok(!isRenewable({ ...learned, state: NUD_STALE }), 'the host is silent');
  assert.ok(!isRenewable({ ...learned, flags: NTF_EXT_LEARNED }), 'of another program');
  assert.ok(!isRenewable({ ...learned, activity: 'active' }), 'of an Ethernet segment');
});
