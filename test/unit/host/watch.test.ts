// Notifications that wake a listening run: those that may give it work, and no others.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { it } from 'node:test';
import type { IfIndex, IpAddress, Mac } from '../../../src/base/address.ts';
import type { ObservedHosts } from '../../../src/core/observed.ts';
import { Watchlist } from '../../../src/core/watchlist.ts';
import type { Binding } from '../../../src/datapath/records/binding.ts';
import type { Hint } from '../../../src/datapath/records/hint.ts';
import { meaningOf } from '../../../src/host/watch.ts';
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
import { fdbPayload } from '../../lib/fdb-message.ts';
import { deleteNeighbor, putNeighbor } from '../../lib/neighbor-requests.ts';
import { readCase } from '../core/case.ts';
import { outcomeOf } from '../core/outcome.ts';
import { ROOT } from '../golden.ts';

const OURS = 4711;
const { topology, hosts, observed, desired } = readCase(join(ROOT, 'test/unit/core/cases/none'));
const BRIDGE = 1 as IfIndex;
const PORT = 2 as IfIndex;
const TUNNEL = 4 as IfIndex;
const KNOWN = '10.0.0.1' as IpAddress;
const OTHER = '10.0.0.2' as IpAddress;
const MAC = '02:00:00:00:00:01' as Mac;
const HINTED = '02:00:00:00:00:02' as Mac;

const HERE = { bridge: BRIDGE, vlan: 0, ip: KNOWN };
const THERE = { bridge: BRIDGE, vlan: 0, ip: '10.0.0.9' as IpAddress };
const BINDING: Binding = {
  ...HERE,
  mac: MAC,
  router: false,
  port: PORT,
  moves: 0,
  firstSeenMs: hosts.nowMs,
  lastSeenMs: hosts.nowMs,
  windowMs: 0,
  owner: null,
  frozenUntilMs: 0,
};
const HINT: Hint = { ...THERE, mac: HINTED, kind: 'ended', probes: 0, seenMs: hosts.nowMs, probedMs: 0 };

/** After a pass that has found these. */
function watching(found: Partial<ObservedHosts>): Watchlist {
  return new Watchlist(outcomeOf(topology, { ...hosts, ...found }));
}

const watchlist = watching({ bindings: [BINDING], hints: [HINT] });

/** What a notification means, and the addresses that it names. */
function meaning(one: Message, after = watchlist): string {
  const { meaning, names = [] } = meaningOf(one, { watchlist: after, machine: undefined }, OURS);
  return [meaning, ...names.map(({ ip }) => ip)].join(' ');
}

function message(type: number, payload: Uint8Array = new Uint8Array(0), portId = 0): Message {
  return { type, flags: 0, sequence: 0, portId, payload };
}

function neighbor(device: IfIndex, ip: IpAddress, over: Partial<NeighborWrite> = {}): Uint8Array {
  const entry = { ifIndex: device, ip, mac: MAC, state: NUD_NOARP, flags: 0, extFlags: 0, protocol: 115 };
  return putNeighbor({ ...entry, ...over }, 'create').payload;
}

it('links, addresses, and the loss of a qdisc or a filter wake it', () => {
  for (const type of [RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_DELADDR, RTM_DELQDISC, RTM_DELTFILTER]) {
    assert.equal(meaning(message(type)), 'machine', `${type}`);
  }
});

it('where the machine is known, a port of its own is named, and a block that devices share is not', () => {
  const machine = { topology, observed, desired };
  const of = (device: number, type = RTM_DELTFILTER): unknown => {
    const payload = new Uint8Array(20);
    new DataView(payload.buffer).setInt32(4, device, true);
    const { meaning, port } = meaningOf(message(type, payload), { watchlist, machine }, OURS);
    return [meaning, port];
  };
  assert.deepEqual(of(PORT), ['ports', PORT]);
  assert.deepEqual(of(TUNNEL), ['machine', undefined]);
  assert.deepEqual(of(PORT, RTM_NEWADDR), ['nothing', undefined]);
  assert.deepEqual(of(BRIDGE, RTM_NEWADDR), ['machine', undefined]);
  // TCM_IFINDEX_MAGIC_BLOCK
  assert.deepEqual(of(-1), ['nothing', undefined]);
});

it('new qdiscs and filters do not', () => {
  for (const type of [RTM_NEWQDISC, RTM_NEWTFILTER]) {
    assert.equal(meaning(message(type)), 'nothing', `${type}`);
  }
});

it('a neighbor wakes it on a device of ours with an address of ours', () => {
  for (const type of [RTM_NEWNEIGH, RTM_DELNEIGH]) {
    assert.equal(meaning(message(type, neighbor(BRIDGE, KNOWN))), `hosts ${KNOWN}`);
    assert.equal(meaning(message(type, neighbor(BRIDGE, OTHER))), 'nothing');
    assert.equal(meaning(message(type, neighbor(3 as IfIndex, KNOWN))), 'nothing');
  }
  const gone = deleteNeighbor(BRIDGE, KNOWN).payload;
  assert.equal(meaning(message(RTM_DELNEIGH, gone)), `hosts ${KNOWN}`);
});

it('a state that the kernel sets does not wake it, unless the neighbor is another or not valid', () => {
  // Of the kernel: left as it is.
  const kernels = { state: NUD_STALE, protocol: 0 };
  const seen = decodeNeighbor(message(RTM_NEWNEIGH, neighbor(BRIDGE, KNOWN, kernels)));
  assert.ok(seen !== undefined);
  const after = watching({ bindings: [BINDING], neighbors: [seen] });
  const wakes = (over: Partial<NeighborWrite>, type = RTM_NEWNEIGH): boolean =>
    meaning(message(type, neighbor(BRIDGE, KNOWN, { ...kernels, ...over })), after) === `hosts ${KNOWN}`;
  for (const state of [NUD_STALE, NUD_DELAY, NUD_PROBE, NUD_REACHABLE]) assert.equal(wakes({ state }), false);
  assert.equal(wakes({ state: NUD_FAILED }), true);
  assert.equal(wakes({ state: NUD_STALE, mac: HINTED }), true);
  assert.equal(wakes({ state: NUD_STALE, protocol: 11 }), true);
  assert.equal(wakes({ state: NUD_NOARP, flags: NTF_EXT_LEARNED }), true);
  assert.equal(wakes({ state: NUD_STALE }, RTM_DELNEIGH), true);
});

it('an entry of zebra for a host of another node wakes it when the address is known with another MAC', () => {
  const remote = { flags: NTF_EXT_LEARNED, protocol: 11 };
  const before = decodeNeighbor(message(RTM_NEWNEIGH, neighbor(BRIDGE, KNOWN, remote)));
  assert.ok(before !== undefined);
  const there = watching({ neighbors: [before] });
  const gone = watching({ hints: [{ ...HINT, ip: KNOWN }] });
  const unknown = watching({});
  const of = (after: Watchlist, over: Partial<NeighborWrite>, type = RTM_NEWNEIGH): string =>
    meaning(message(type, neighbor(BRIDGE, KNOWN, { ...remote, ...over })), after);
  assert.equal(of(there, { mac: HINTED }), `hosts ${KNOWN}`);
  assert.equal(of(there, {}), 'nothing');
  assert.equal(of(there, { flags: NTF_EXT_LEARNED | NTF_ROUTER }), 'nothing');
  assert.equal(of(gone, { mac: HINTED }, RTM_DELNEIGH), 'nothing');
  assert.equal(of(gone, { mac: HINTED, flags: 0 }), 'nothing');
  assert.equal(of(gone, { mac: HINTED }), `hosts ${KNOWN}`);
  assert.equal(of(unknown, { mac: HINTED }), `soon ${KNOWN}`);
});

it('an entry of zebra that is deleted, or is no longer of zebra, is looked at soon', () => {
  const remote = { flags: NTF_EXT_LEARNED, protocol: 11 };
  const before = decodeNeighbor(message(RTM_NEWNEIGH, neighbor(BRIDGE, OTHER, remote)));
  assert.ok(before !== undefined);
  const there = watching({ neighbors: [before] });
  assert.equal(meaning(message(RTM_DELNEIGH, neighbor(BRIDGE, OTHER, remote)), there), `soon ${OTHER}`);
  assert.equal(
    meaning(message(RTM_NEWNEIGH, neighbor(BRIDGE, OTHER, { protocol: 0 })), there),
    `soon ${OTHER}`,
  );
});

it('a MAC that a bridge learns wakes it when a binding has that MAC', () => {
  for (const port of [PORT, TUNNEL]) {
    assert.equal(meaning(message(RTM_NEWNEIGH, fdbPayload(BRIDGE, port, MAC))), `hosts ${KNOWN}`);
    assert.equal(
      meaning(message(RTM_NEWNEIGH, fdbPayload(BRIDGE, port, '02:00:00:00:00:03' as Mac))),
      'nothing',
    );
  }
});

it('a MAC that is remembered wakes it on a local port alone', () => {
  assert.equal(meaning(message(RTM_NEWNEIGH, fdbPayload(BRIDGE, PORT, HINTED))), `hosts ${THERE.ip}`);
  assert.equal(meaning(message(RTM_NEWNEIGH, fdbPayload(BRIDGE, TUNNEL, HINTED))), 'nothing');
});

it('an unknown host of another node is looked at soon, with others like it', () => {
  const payload = neighbor(BRIDGE, OTHER, { flags: NTF_EXT_LEARNED });
  assert.equal(meaning(message(RTM_NEWNEIGH, payload)), `soon ${OTHER}`);
  assert.equal(meaning(message(RTM_DELNEIGH, payload)), 'nothing');
  const known = neighbor(BRIDGE, KNOWN, { flags: NTF_EXT_LEARNED });
  assert.equal(meaning(message(RTM_NEWNEIGH, known)), `hosts ${KNOWN}`);
});

it('the echo of our own request never does', () => {
  assert.equal(meaning(message(RTM_NEWNEIGH, neighbor(BRIDGE, KNOWN), OURS)), 'nothing');
  assert.equal(meaning(message(RTM_NEWLINK, undefined, OURS)), 'nothing');
});
