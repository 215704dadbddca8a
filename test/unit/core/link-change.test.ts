// Which part of a node a change of a link concerns.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { it } from 'node:test';
import type { IfIndex, Mac } from '../../../src/base/address.ts';
import { extentOfLink, hasOwnAddresses, isMoreThanPort } from '../../../src/core/link-change.ts';
import type { Link } from '../../../src/netlink/link.ts';
import { ROOT } from '../golden.ts';
import { readCase } from './case.ts';

const known = readCase(join(ROOT, 'test/unit/core/cases/none'));
const BRIDGE = 1 as IfIndex;
const PORT = 2 as IfIndex;
const TUNNEL = 4 as IfIndex;
const NEW = 9 as IfIndex;
const OTHER_BRIDGE = 8 as IfIndex;

function linkOf(ifIndex: IfIndex): Link {
  const link = known.observed.links.get(ifIndex);
  assert.ok(link !== undefined);
  return link;
}

const port = linkOf(PORT);
const otherBridge = { ...linkOf(BRIDGE), ifIndex: OTHER_BRIDGE, name: 'fwbr100i0' };
const isNow = (ifIndex: IfIndex, now: Link | undefined): string => extentOfLink(known, ifIndex, now);

it('a link that is as it was concerns nothing, of whatever kind', () => {
  for (const ifIndex of [BRIDGE, PORT, TUNNEL])
    assert.equal(isNow(ifIndex, { ...linkOf(ifIndex) }), 'nothing');
});

it('a port that changes, comes or goes concerns itself', () => {
  assert.equal(isNow(PORT, { ...port, mtu: 9000 }), 'port');
  assert.equal(isNow(PORT, undefined), 'port');
  assert.equal(isNow(PORT, { ...port, master: undefined, slaveKind: undefined }), 'port');
  assert.equal(isNow(NEW, { ...port, ifIndex: NEW }), 'port');
  assert.equal(isNow(NEW, { ...port, ifIndex: NEW, master: undefined, slaveKind: undefined }), 'port');
});

it('a port of a bridge with a tunnel port that is not served may change that', () => {
  const there = { ...port, ifIndex: NEW, master: OTHER_BRIDGE };
  assert.equal(isNow(NEW, there), 'port', 'a bridge of containers, for instance');
  const tunnel = { ...linkOf(TUNNEL), ifIndex: 7 as IfIndex, master: OTHER_BRIDGE };
  const links = new Map([...known.observed.links, [tunnel.ifIndex, tunnel]]);
  const withTunnel = { ...known, observed: { links } };
  assert.equal(extentOfLink(withTunnel, NEW, there), 'machine');
  assert.equal(extentOfLink(withTunnel, PORT, { ...port, master: OTHER_BRIDGE }), 'machine');
  // A VRF has ports too, and is no bridge.
  assert.equal(extentOfLink(withTunnel, NEW, { ...there, slaveKind: 'vrf' }), 'port');
  assert.equal(extentOfLink(withTunnel, OTHER_BRIDGE, otherBridge), 'machine', 'the bridge itself');
});

it('what a firewall or containers have for themselves concerns itself', () => {
  const free = { ...port, ifIndex: NEW, master: undefined, slaveKind: undefined, link: PORT };
  assert.equal(isNow(OTHER_BRIDGE, otherBridge), 'port');
  for (const kind of ['vlan', 'macvlan', 'macvtap', 'bond']) {
    assert.equal(isNow(NEW, { ...free, kind }), 'port', `${kind} on an uplink`);
    assert.equal(isNow(NEW, { ...port, ifIndex: NEW, kind, link: PORT, master: OTHER_BRIDGE }), 'port', kind);
  }
  const links = new Map([...known.observed.links, [OTHER_BRIDGE, otherBridge]]);
  const withBridge = { ...known, observed: { links } };
  assert.equal(extentOfLink(withBridge, OTHER_BRIDGE, undefined), 'port');
  assert.equal(
    extentOfLink(withBridge, OTHER_BRIDGE, { ...otherBridge, name: 'docker1' }),
    'port',
    'renamed',
  );
  assert.equal(isMoreThanPort(withBridge, OTHER_BRIDGE), false, 'its qdisc');
});

it('a port with another name, a bond and a bridge that is configured concern the machine', () => {
  assert.equal(isNow(PORT, { ...port, name: 'other1' }), 'machine');
  assert.equal(isNow(NEW, { ...port, ifIndex: NEW, kind: 'bond' }), 'machine');
  const { name } = linkOf(BRIDGE);
  assert.equal(
    isNow(NEW, { ...port, ifIndex: NEW, name, master: undefined, slaveKind: undefined }),
    'machine',
  );
});

it('bridges, tunnel ports and devices with addresses of their own concern the machine', () => {
  const free = { ...port, ifIndex: NEW, master: undefined, slaveKind: undefined, link: BRIDGE };
  assert.equal(isNow(BRIDGE, { ...linkOf(BRIDGE), mac: '02:ff:00:00:00:09' as Mac }), 'machine');
  assert.equal(isNow(BRIDGE, undefined), 'machine');
  assert.equal(isNow(TUNNEL, { ...linkOf(TUNNEL), up: !linkOf(TUNNEL).up }), 'machine');
  for (const kind of ['vlan', 'vxlan', 'geneve', 'macvlan', 'ipvlan', 'vrf']) {
    assert.equal(isNow(NEW, { ...free, kind }), 'machine', kind);
  }
});

it('of a bridge and a tunnel port more depends than themselves', () => {
  for (const ifIndex of [BRIDGE, TUNNEL]) assert.equal(isMoreThanPort(known, ifIndex), true);
  for (const ifIndex of [PORT, NEW]) assert.equal(isMoreThanPort(known, ifIndex), false);
});

it('addresses concern hosts on a neighbor device and on what is stacked on one, and nowhere else', () => {
  const free = { ...port, ifIndex: NEW, master: undefined, slaveKind: undefined };
  const has = (link: Link): boolean => {
    const links = new Map([...known.observed.links, [link.ifIndex, link]]);
    return hasOwnAddresses({ ...known, observed: { links } }, link.ifIndex);
  };
  assert.equal(has(linkOf(BRIDGE)), true);
  // An anycast gateway.
  assert.equal(has({ ...free, kind: 'macvlan', link: BRIDGE }), true);
  assert.equal(has({ ...free, kind: 'macvlan', link: PORT }), false, 'on an uplink');
  // A device in a VLAN that is no neighbor device: the bridge is not VLAN-aware.
  assert.equal(has({ ...free, kind: 'vlan', link: BRIDGE }), false);
  assert.equal(has({ ...free, kind: 'veth', link: BRIDGE }), false);
  for (const link of [otherBridge, port, linkOf(TUNNEL)]) assert.equal(has(link), false, link.name);
  assert.equal(hasOwnAddresses(known, NEW), false, 'an unknown one');
});
