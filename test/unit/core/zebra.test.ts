// When zebra is asked for what runs have written, and what it lacks.
import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { IfIndex, IpAddress, Mac } from '../../../src/base/address.ts';
import {
  missingIn,
  relevantTo,
  verificationInterval,
  type Written,
  writesOf,
} from '../../../src/core/zebra.ts';
import { NUD_NOARP } from '../../../src/netlink/neighbor.ts';

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
  return { device, entry };
}

function known(ip: string, mac: Mac, isLocal: boolean) {
  return [ip as IpAddress, { mac, isLocal, isActive: true, isProxy: false, isDuplicate: false }] as const;
}

it('zebra is asked sooner the more was written', () => {
  const intervals = [1_000, 64, 63, 1, 0].map((count) => verificationInterval(writesOf(count)));
  assert.deepEqual(intervals, [2_000, 2_000, 30_000, 30_000, 300_000]);
});

it('what zebra lacks, or has with another MAC of this node, is missing; what another node has is not', () => {
  const frr = {
    vnis: [{ vni: 100, svi: 'br0' }],
    neighbors: new Map([
      [
        100,
        new Map([
          known('10.1.0.1', MAC, true),
          known('10.1.0.2', OTHER, true),
          known('10.1.0.3', OTHER, false),
        ]),
      ],
    ]),
  };
  const ips = ['10.1.0.1', '10.1.0.2', '10.1.0.3', '10.1.0.4'];
  const relevant = relevantTo(frr, [...ips.map((ip) => written('br0', ip)), written('br9', '10.9.0.1')]);
  assert.deepEqual(
    relevant.map(({ vni, entry }) => `${vni} ${entry.ip}`),
    ips.map((ip) => `100 ${ip}`),
  );
  assert.deepEqual(
    missingIn(frr, relevant).map(({ entry }) => entry.ip),
    ['10.1.0.2', '10.1.0.4'],
  );
});
