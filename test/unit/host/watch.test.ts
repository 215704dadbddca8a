// Notifications that wake a listening run: those that may give it work, and no others.

import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { IfIndex, IpAddress, Mac } from '../../../src/base/address.ts';
import { type Interest, meaningOf } from '../../../src/host/watch.ts';
import { RTM_DELADDR, RTM_NEWADDR } from '../../../src/netlink/address.ts';
import { RTM_DELLINK, RTM_NEWLINK } from '../../../src/netlink/link.ts';
import type { Message } from '../../../src/netlink/message.ts';
import {
  decodeNeighbor,
  type NeighborWrite,
  NTF_EXT_LEARNED,
  NTF_ROUTER,
  NUD_DELAY,
  NUD_FAILED,
  NUD_NOARP,
  NUD_PROBE,
  NUD_REACHABLE,
  NUD_STALE,
  RTM_DELNEIGH,
  RTM_NEWNEIGH,
} from '../../../src/netlink/neighbor.ts';
import { RTM_DELQDISC, RTM_DELTFILTER, RTM_NEWQDISC, RTM_NEWTFILTER } from '../../../src/netlink/tc.ts';
import { deleteNeighbor, putNeighbor } from '../../lib/neighbor-requests.ts';

/** ndmsg.ndm_flags of an entry that a bridge has for its port. */
const NTF_MASTER = 1 << 2;

const OURS = 4711;
const BRIDGE = 2 as IfIndex;
const KNOWN = '10.0.0.1' as IpAddress;
const MAC = '02:00:00:00:00:01' as Mac;
const PORT = 7 as IfIndex;
const HINTED = '02:00:00:00:00:02' as Mac;
const interest: Interest = {
  macs: new Set([MAC]),
  ips: new Set([KNOWN]),
  remembered: new Set(),
  devices: new Set([BRIDGE]),
  hinted: new Set([HINTED]),
  ports: new Set([PORT]),
  entryOf: () => undefined,
};

function message(type: number, payload: Uint8Array = new Uint8Array(0), portId = 0): Message {
  return { type, flags: 0, sequence: 0, portId, payload };
}

function neighbor(device: IfIndex, ip: IpAddress, over: Partial<NeighborWrite> = {}): Uint8Array {
  const entry = { ifIndex: device, ip, mac: MAC, state: NUD_NOARP, flags: 0, extFlags: 0, protocol: 115 };
  return putNeighbor({ ...entry, ...over }, 'create').payload;
}

/** struct ndmsg with AF_BRIDGE, NDA_LLADDR and NDA_MASTER, as the kernel sends it when a bridge learns a MAC. */
function fdb(mac: Mac, port = 3): Uint8Array {
  const bytes = new Uint8Array(12 + 12 + 8);
  const data = new DataView(bytes.buffer);
  data.setUint8(0, 7);
  data.setInt32(4, port, true);
  data.setUint16(8, NUD_REACHABLE, true);
  data.setUint8(10, NTF_MASTER);
  data.setUint16(12, 10, true);
  data.setUint16(14, 2, true);
  for (const [i, part] of mac.split(':').entries()) bytes[16 + i] = Number.parseInt(part, 16);
  data.setUint16(24, 8, true);
  data.setUint16(26, 9, true);
  data.setUint32(28, BRIDGE, true);
  return bytes;
}

it('links, addresses, and the loss of a qdisc or a filter wake it', () => {
  for (const type of [RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_DELADDR, RTM_DELQDISC, RTM_DELTFILTER]) {
    assert.equal(meaningOf(message(type), interest, OURS), 'machine', `${type}`);
  }
});

it('new qdiscs and filters do not', () => {
  for (const type of [RTM_NEWQDISC, RTM_NEWTFILTER]) {
    assert.equal(meaningOf(message(type), interest, OURS), 'nothing', `${type}`);
  }
});

it('a neighbor wakes it on a device of ours with an address of ours', () => {
  for (const type of [RTM_NEWNEIGH, RTM_DELNEIGH]) {
    assert.equal(meaningOf(message(type, neighbor(BRIDGE, KNOWN)), interest, OURS), 'hosts');
    assert.equal(
      meaningOf(message(type, neighbor(BRIDGE, '10.0.0.2' as IpAddress)), interest, OURS),
      'nothing',
    );
    assert.equal(meaningOf(message(type, neighbor(3 as IfIndex, KNOWN)), interest, OURS), 'nothing');
  }
  const gone = deleteNeighbor(BRIDGE, KNOWN).payload;
  assert.equal(meaningOf(message(RTM_DELNEIGH, gone), interest, OURS), 'hosts');
});

it('a state that the kernel sets does not wake it, unless the neighbor is another or not valid', () => {
  const seen = decodeNeighbor(message(RTM_NEWNEIGH, neighbor(BRIDGE, KNOWN, { state: NUD_STALE })));
  const after: Interest = {
    ...interest,
    entryOf: (device, ip) => (device === BRIDGE && ip === KNOWN ? seen : undefined),
  };
  const wakes = (over: Partial<NeighborWrite>, type = RTM_NEWNEIGH): boolean =>
    meaningOf(message(type, neighbor(BRIDGE, KNOWN, over)), after, OURS) === 'hosts';
  for (const state of [NUD_STALE, NUD_DELAY, NUD_PROBE, NUD_REACHABLE]) assert.equal(wakes({ state }), false);
  assert.equal(wakes({ state: NUD_FAILED }), true);
  assert.equal(wakes({ state: NUD_STALE, mac: '02:00:00:00:00:02' as Mac }), true);
  assert.equal(wakes({ state: NUD_STALE, protocol: 11 }), true);
  assert.equal(wakes({ state: NUD_NOARP, flags: NTF_EXT_LEARNED }), true);
  assert.equal(wakes({ state: NUD_STALE }, RTM_DELNEIGH), true);
});

it('an entry of zebra for a host of another node wakes it when the address is known with another MAC', () => {
  const remote = { flags: NTF_EXT_LEARNED, protocol: 11 };
  const before = decodeNeighbor(message(RTM_NEWNEIGH, neighbor(BRIDGE, KNOWN, remote)));
  const there: Interest = { ...interest, ips: new Set(), entryOf: () => before };
  const gone: Interest = { ...interest, ips: new Set(), remembered: new Set([KNOWN]) };
  const unknown: Interest = { ...interest, ips: new Set() };
  const other = '02:00:00:00:00:02' as Mac;
  const wakes = (after: Interest, over: Partial<NeighborWrite>, type = RTM_NEWNEIGH): boolean =>
    meaningOf(message(type, neighbor(BRIDGE, KNOWN, { ...remote, ...over })), after, OURS) === 'hosts';
  assert.equal(wakes(there, { mac: other }), true);
  assert.equal(wakes(there, {}), false);
  assert.equal(wakes(there, { flags: NTF_EXT_LEARNED | NTF_ROUTER }), false);
  assert.equal(wakes(there, { mac: other }, RTM_DELNEIGH), false);
  assert.equal(wakes(there, { mac: other, flags: 0 }), false);
  assert.equal(wakes(gone, { mac: other }), true);
  assert.equal(wakes(unknown, { mac: other }), false);
});

it('a MAC that a bridge learns wakes it when a binding has that MAC', () => {
  assert.equal(meaningOf(message(RTM_NEWNEIGH, fdb(MAC)), interest, OURS), 'hosts');
  assert.equal(meaningOf(message(RTM_NEWNEIGH, fdb('02:00:00:00:00:02' as Mac)), interest, OURS), 'nothing');
});

it('a MAC that is remembered wakes it on a local port alone', () => {
  assert.equal(meaningOf(message(RTM_NEWNEIGH, fdb(HINTED, PORT)), interest, OURS), 'hosts');
  assert.equal(meaningOf(message(RTM_NEWNEIGH, fdb(HINTED)), interest, OURS), 'nothing');
});

it('an unknown host of another node is looked at soon, with others like it', () => {
  const payload = neighbor(BRIDGE, '10.0.0.2' as IpAddress, { flags: NTF_EXT_LEARNED });
  assert.equal(meaningOf(message(RTM_NEWNEIGH, payload), interest, OURS), 'soon');
  assert.equal(meaningOf(message(RTM_DELNEIGH, payload), interest, OURS), 'nothing');
  const known = neighbor(BRIDGE, KNOWN, { flags: NTF_EXT_LEARNED });
  assert.equal(meaningOf(message(RTM_NEWNEIGH, known), interest, OURS), 'hosts');
});

it('the echo of our own request never does', () => {
  assert.equal(meaningOf(message(RTM_NEWNEIGH, neighbor(BRIDGE, KNOWN), OURS), interest, OURS), 'nothing');
  assert.equal(meaningOf(message(RTM_NEWLINK, undefined, OURS), interest, OURS), 'nothing');
});
