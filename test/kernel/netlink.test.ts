// src/netlink against this kernel, with iproute2 as the oracle, in a namespace of its own.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { AF_INET, AF_INET6, type IfIndex, type IpAddress, type Mac } from '../../src/base/address.ts';
import { errnoOf } from '../../src/base/errors.ts';
import { programInfo } from '../../src/ffi/info.ts';
import { poll } from '../../src/ffi/libc.ts';
import { loadObject } from '../../src/ffi/object.ts';
import { dumpAddresses } from '../../src/netlink/address.ts';
import type { Received } from '../../src/netlink/descriptor.ts';
import { lookUpForwarding, readForwarding } from '../../src/netlink/fdb.ts';
import { decodeLink, dumpLinks, type Link, lookUpLinks } from '../../src/netlink/link.ts';
import type { Message, Request } from '../../src/netlink/message.ts';
import {
  decodeNeighbor,
  dumpNeighbors,
  lookUpNeighbors,
  type NeighborWrite,
  NTF_EXT_EXT_VALIDATED,
  NUD_NOARP,
  NUD_PERMANENT,
  NUD_STALE,
} from '../../src/netlink/neighbor.ts';
import { failureError, type NetlinkSocket, openNetlink } from '../../src/netlink/socket.ts';
import { RTNLGRP_LINK, RTNLGRP_NEIGH, type Subscription, subscribe } from '../../src/netlink/subscription.ts';
import {
  createQdisc,
  deleteFilter,
  deleteQdisc,
  dumpFilters,
  dumpQdiscs,
  type FilterPlace,
  filterOf,
  getFilter,
  putFilter,
} from '../../src/netlink/tc.ts';
import { dumpPortVlans } from '../../src/netlink/vlan.ts';
import { lookUpPortVlans } from '../../src/netlink/vlan-options.ts';
import { deleteNeighbor, putNeighbor } from '../lib/neighbor-requests.ts';
import { Netns } from '../lib/netns.ts';
import { listNeighbors } from '../lib/oracles.ts';
import { Scope } from '../lib/scope.ts';
import { enterNetns } from '../lib/setns.ts';
import { buildProbe } from './probe.ts';

const scope = new Scope();
let netns: Netns;
let socket: NetlinkSocket;
let bridge: IfIndex;

before(() => {
  netns = new Netns(scope, 'netlink');
  netns.ipBatch([
    'link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0 ageing_time 12300',
    'link add tap1 address 02:00:00:00:00:11 type veth peer name eth1',
    'link add tap2 type veth peer name eth2',
    'link add vx100 type vxlan id 100 local 127.0.0.1 dstport 4789 nolearning',
    'link add vx0 type vxlan external dstport 4790',
    'link add br9 mtu 1400 type bridge',
    'link set tap1 master br0',
    'link set tap2 master br0',
    'link set vx100 master br0',
    ...['br0', 'tap1', 'eth1', 'vx100', 'vx0'].map((name) => `link set ${name} up`),
    'address add 10.1.0.1/16 dev br0',
    'address add 2001:db8::1/64 dev br0 nodad',
    'address add 192.0.2.1 peer 192.0.2.2/32 dev br9',
  ]);
  netns.run('bridge', 'link', 'set', 'dev', 'vx100', 'neigh_suppress', 'on', 'learning', 'off');
  netns.run('bridge', 'link', 'set', 'dev', 'tap2', 'isolated', 'on');
  enterNetns(scope, netns);
  socket = openNetlink();
  bridge = indexOf('br0');
});

after(() => {
  socket?.close();
  scope.close();
});

function linkOf(name: string): Link {
  const link = dumpLinks(socket).find((one) => one.name === name);
  assert.ok(link !== undefined, `no link ${name}`);
  return link;
}

function indexOf(name: string): IfIndex {
  return linkOf(name).ifIndex;
}

function entryOf(number: number, change: Partial<NeighborWrite> = {}): NeighborWrite {
  const low = (number & 0xff).toString(16).padStart(2, '0');
  const high = (number >> 8).toString(16).padStart(2, '0');
  return {
    ifIndex: bridge,
    ip: `10.1.${number >> 8}.${number & 0xff}` as IpAddress,
    mac: `02:00:00:01:${high}:${low}` as Mac,
    state: NUD_NOARP,
    flags: 0,
    extFlags: 0,
    protocol: 115,
    ...change,
  };
}

describe('links', () => {
  interface LinkLine {
    readonly ifindex: number;
    readonly ifname: string;
    readonly address?: string;
    readonly mtu: number;
    readonly flags: readonly string[];
    readonly master?: string;
    readonly link?: string;
    readonly linkinfo?: {
      readonly info_kind?: string;
      readonly info_data?: { readonly ageing_time?: number };
      readonly info_slave_kind?: string;
      readonly info_slave_data?: {
        readonly learning?: boolean;
        readonly neigh_suppress?: boolean;
        readonly isolated?: boolean;
      };
    };
  }

  it('are looked up one by one, however much one of them has', () => {
    netns.run('ip', 'link', 'add', 'named', 'type', 'veth', 'peer', 'name', 'named2');
    try {
      const names = Array.from({ length: 400 }, (_, i) => `${i}-${'n'.repeat(116)}`);
      netns.ipBatch(names.map((name) => `link property add dev named altname ${name}`));
      const dumped = linkOf('named');
      assert.deepEqual(lookUpLinks(socket, [dumped.ifIndex, bridge]), [dumped, linkOf('br0')]);
    } finally {
      netns.run('ip', 'link', 'del', 'named');
    }
  });

  it('agree with ip -d', () => {
    const theirs = netns.json<LinkLine[]>('ip', '-json', '-d', 'link', 'show');
    const ours = dumpLinks(socket);
    const nameOf = (index: IfIndex | undefined): string | undefined =>
      ours.find(({ ifIndex }) => ifIndex === index)?.name;
    assert.equal(ours.length, theirs.length);
    for (const line of theirs) {
      const link = linkOf(line.ifname);
      const info = line.linkinfo;
      assert.equal(link.ifIndex, line.ifindex);
      assert.equal(link.kind, info?.info_kind);
      assert.equal(link.slaveKind, info?.info_slave_kind);
      assert.equal(link.mac, line.address);
      assert.equal(link.mtu, line.mtu);
      assert.equal(link.up, line.flags.includes('UP'));
      assert.equal(link.lowerUp, line.flags.includes('LOWER_UP'));
      assert.equal(nameOf(link.master), line.master);
      assert.equal(nameOf(link.link), line.link);
      if (link.bridge !== undefined) {
        assert.equal(link.bridge.ageingTimeMs, Number(info?.info_data?.ageing_time) * 10);
      }
      if (link.bridgePort !== undefined) {
        const data = info?.info_slave_data;
        assert.equal(link.bridgePort.learning, data?.learning);
        assert.equal(link.bridgePort.neighSuppress, data?.neigh_suppress);
        assert.equal(link.bridgePort.isolated, data?.isolated);
      }
    }
    assert.deepEqual(linkOf('vx100').vxlan, { vni: 100, learning: false, external: false });
    assert.equal(linkOf('vx0').vxlan?.external, true);
    assert.equal(linkOf('tap2').bridgePort?.isolated, true);
  });

  it('have no link when the peer is in another namespace', () => {
    const other = new Netns(scope, 'peer');
    netns.run('ip', 'link', 'add', 'far0', 'type', 'veth', 'peer', 'name', 'far1', 'netns', other.name);
    assert.equal(linkOf('far0').link, undefined);
    netns.run('ip', 'link', 'del', 'far0');
  });
});

describe('VLANs', () => {
  it('are at most the default PVID without VLAN filtering', () => {
    // A kernel with CONFIG_BRIDGE_VLAN_FILTERING gives every port the default PVID, whether the bridge filters or
    // not.
    const ranges = [{ start: 1, end: 1, untagged: true }];
    for (const vlans of dumpPortVlans(socket)) {
      assert.deepEqual(vlans, { ifIndex: vlans.ifIndex, pvid: 1, ranges, vnis: [] });
    }
  });

  it('agree with bridge vlan', (t) => {
    const made = netns.tryRun(['ip', 'link', 'add', 'brv', 'type', 'bridge', 'vlan_filtering', '1']);
    if (made.code !== 0) {
      t.skip('the kernel has no CONFIG_BRIDGE_VLAN_FILTERING');
      return;
    }
    netns.ipBatch(['link add tapv type veth peer name ethv', 'link set tapv master brv']);
    netns.run('bridge', 'vlan', 'add', 'dev', 'tapv', 'vid', '10-20');
    netns.run('bridge', 'vlan', 'add', 'dev', 'tapv', 'vid', '30', 'pvid', 'untagged');
    const vlans = dumpPortVlans(socket);
    const port = vlans.find(({ ifIndex }) => ifIndex === indexOf('tapv'));
    assert.equal(port?.pvid, 30);
    assert.deepEqual(port?.ranges, [
      { start: 1, end: 1, untagged: true },
      { start: 10, end: 20, untagged: false },
      { start: 30, end: 30, untagged: true },
    ]);
    const bridgeVlans = vlans.find(({ ifIndex }) => ifIndex === indexOf('brv'));
    assert.equal(bridgeVlans?.pvid, 1);
    // Each by itself; the second device is in no bridge, the last one is not there.
    const asked = ['tapv', 'ethv', 'brv'].map(indexOf);
    assert.deepEqual(lookUpPortVlans(socket, [...asked, 999_999 as IfIndex]), [port, bridgeVlans]);
    const { bridge } = linkOf('brv');
    assert.equal(bridge?.vlanFiltering, true);
    assert.equal(bridge?.vlanDefaultPvid, 1);
    // The kernel lets the VLANs after the PVID join its range.
    netns.run('bridge', 'vlan', 'add', 'dev', 'tapv', 'vid', '31-35', 'untagged');
    const [joined] = lookUpPortVlans(socket, [indexOf('tapv')]);
    assert.equal(joined?.pvid, 30);
    assert.deepEqual(joined?.ranges.slice(-2), [
      { start: 30, end: 30, untagged: true },
      { start: 31, end: 35, untagged: true },
    ]);
    assert.deepEqual(
      joined,
      dumpPortVlans(socket).find(({ ifIndex }) => ifIndex === indexOf('tapv')),
    );
    netns.ipBatch(['link add link brv name brv.10 type vlan id 10', 'link set brv up']);
    assert.equal(linkOf('brv.10').vlanId, 10);
    assert.equal(linkOf('brv.10').link, indexOf('brv'));
    netns.run('bridge', 'fdb', 'add', '02:00:00:00:03:03', 'dev', 'tapv', 'master', 'static', 'vlan', '10');
    const table = readForwarding(socket, indexOf('brv'));
    assert.equal(table.portOf(10, '02:00:00:00:03:03' as Mac), indexOf('tapv'));
    assert.equal(table.portOf(0, '02:00:00:00:03:03' as Mac), undefined);

    netns.ipBatch(['link add vxv type vxlan external dstport 4791', 'link set vxv master brv']);
    netns.run('bridge', 'link', 'set', 'dev', 'vxv', 'vlan_tunnel', 'on');
    netns.run('bridge', 'vlan', 'add', 'dev', 'vxv', 'vid', '10-20');
    netns.run('bridge', 'vlan', 'add', 'dev', 'vxv', 'vid', '10-12', 'tunnel_info', 'id', '1010-1012');
    netns.run('bridge', 'vlan', 'add', 'dev', 'vxv', 'vid', '15', 'tunnel_info', 'id', '16777215');
    const tunnel = dumpPortVlans(socket).find(({ ifIndex }) => ifIndex === indexOf('vxv'));
    assert.deepEqual(tunnel?.vnis, [
      { start: 10, end: 12, vni: 1010 },
      { start: 15, end: 15, vni: 16_777_215 },
    ]);
    assert.deepEqual(tunnel?.ranges.at(-1), { start: 10, end: 20, untagged: false });
    netns.ipBatch(['link del brv', 'link del tapv', 'link del vxv']);
  });
});

describe('addresses', () => {
  it('agree with ip addr', () => {
    interface AddressLine {
      readonly ifindex: number;
      readonly addr_info: readonly {
        readonly local: string;
        readonly address?: string;
        readonly prefixlen: number;
      }[];
    }
    const theirs = netns
      .json<AddressLine[]>('ip', '-json', 'addr', 'show')
      .flatMap((line) =>
        line.addr_info.map((address) => `${line.ifindex} ${address.local}/${address.prefixlen}`),
      );
    const ours = dumpAddresses(socket);
    assert.deepEqual(
      ours.map(({ ifIndex, ip, prefixLength }) => `${ifIndex} ${ip}/${prefixLength}`).sort(),
      theirs.sort(),
    );
    const pointToPoint = ours.find(({ ip }) => ip === '192.0.2.1');
    assert.deepEqual(pointToPoint?.connected, { ip: '192.0.2.2', length: 32 });
  });
});

const hexByte = (byte: number): string => byte.toString(16).padStart(2, '0');

describe('forwarding entries', () => {
  it('agree with bridge fdb', () => {
    netns.run('bridge', 'fdb', 'add', '02:00:00:00:01:01', 'dev', 'tap1', 'master', 'static');
    netns.run('bridge', 'fdb', 'add', '02:00:00:00:01:02', 'dev', 'tap1', 'master', 'dynamic');
    netns.run('bridge', 'fdb', 'add', '02:00:00:00:02:02', 'dev', 'vx100', 'master', 'extern_learn');
    netns.run('bridge', 'fdb', 'append', '00:00:00:00:00:00', 'dev', 'vx100', 'dst', '127.0.0.2');
    interface Line {
      readonly mac: string;
      readonly ifname: string;
      readonly master?: string;
      readonly state: string;
      /** A kernel with VLANs has each static entry in the default VLAN as well. */
      readonly vlan?: number;
    }
    const theirs = netns
      .json<Line[]>('bridge', '-json', 'fdb', 'show', 'br', 'br0')
      .filter(({ master }) => master === 'br0');
    const table = readForwarding(socket, indexOf('br0'));
    assert.deepEqual(
      [...table].map(({ vlan, mac, port }) => `${vlan} ${mac} ${port}`).sort(),
      theirs
        .filter(({ state }) => state !== 'permanent')
        .map(({ vlan, mac, ifname }) => `${vlan ?? 0} ${mac} ${indexOf(ifname)}`)
        .sort(),
    );
    assert.equal(table.portOf(0, '02:00:00:00:02:02' as Mac), indexOf('vx100'));
    const own = theirs.filter(({ state }) => state === 'permanent').map(({ mac }) => mac as Mac);
    assert.ok(own.length >= 2);
    assert.ok(own.every((mac) => table.portOf(0, mac) === undefined));

    const unknown = '02:00:00:00:09:09' as Mac;
    const macs = [...theirs.map(({ mac }) => mac as Mac), unknown];
    // Twice, and often enough for several datagrams.
    const others = Array.from(
      { length: 2_000 },
      (_, i) => `06:00:00:00:1${i >> 8}:${hexByte(i & 0xff)}` as Mac,
    );
    const asked = lookUpForwarding(
      socket,
      indexOf('br0'),
      [...macs, ...others, ...macs].map((mac) => ({ vlan: 0, mac })),
    );
    assert.equal(asked.size, new Set([...macs, ...others]).size);
    for (const mac of macs) assert.equal(asked.portOf(0, mac), table.portOf(0, mac), mac);
    assert.ok(others.every((mac) => asked.portOf(0, mac) === undefined));
    assert.throws(() => asked.portOf(0, '02:00:00:00:07:07' as Mac), /was not looked up/);
  });

  it('of a VLAN that no bridge forwards are none, and no error for the others', () => {
    const mac = '02:00:00:00:02:02' as Mac;
    const asked = lookUpForwarding(socket, indexOf('br0'), [
      { vlan: 4095, mac },
      { vlan: 0, mac },
    ]);
    assert.equal(asked.portOf(4095, mac), undefined);
    assert.equal(asked.portOf(0, mac), indexOf('vx100'));
  });

  it('of a bridge that is gone are an error', () => {
    const keys = [{ vlan: 0, mac: '02:00:00:00:09:09' as Mac }];
    assert.throws(
      () => lookUpForwarding(socket, 0x7fff_0000 as IfIndex, keys),
      (thrown) => errnoOf(thrown) === 'ENODEV',
    );
  });
});

describe('neighbors', () => {
  it('are written in batches, and agree with ip neigh', (t) => {
    const count = 5_000;
    // Permanent entries: beyond gc_thresh3 garbage collection would take others.
    const entries = Array.from({ length: count }, (_, index) =>
      entryOf(index + 256, { state: NUD_PERMANENT }),
    );
    const started = performance.now();
    const results = socket.batch(entries.map((entry) => putNeighbor(entry, 'create')));
    const written = performance.now();
    const ours = dumpNeighbors(socket, AF_INET, indexOf('br0'));
    const read = performance.now();
    t.diagnostic(
      `${count} neighbors: ${perItem(written - started)} us to write, ${perItem(read - written)} us to read, each`,
    );
    assert.equal(results.length, count);
    assert.ok(results.every(({ ok }) => ok));
    const theirs = listNeighbors(netns, 'br0').filter(({ protocol }) => protocol === '115');
    const lines = ours.map(({ ip, mac, state, protocol }) => `${ip} ${mac} ${state} ${protocol}`);
    assert.deepEqual(
      lines.sort(),
      theirs.map((line) => `${line.dst} ${line.lladdr} ${NUD_PERMANENT} 115`).sort(),
    );
    assert.equal(lines.length, count);
    const absent = { ifIndex: indexOf('br0'), ip: '2001:db8::99' as IpAddress };
    const asked = lookUpNeighbors(socket, [absent, ...entries]);
    assert.deepEqual(
      asked.map(({ ip, mac, state, protocol }) => `${ip} ${mac} ${state} ${protocol}`).sort(),
      lines,
    );
    const gone = { ...absent, ifIndex: 0x7fff_0000 as IfIndex };
    assert.equal(lookUpNeighbors(socket, [gone, ...entries]).length, count, 'a device that is gone has none');
    const deleted = socket.batch(entries.map(({ ifIndex, ip }) => deleteNeighbor(ifIndex, ip)));
    assert.ok(deleted.every(({ ok }) => ok));
    assert.deepEqual(dumpNeighbors(socket, AF_INET, indexOf('br0')), []);

    function perItem(ms: number): string {
      return ((ms * 1000) / count).toFixed(2);
    }
  });

  it('have every field, of both families', () => {
    const written = [
      entryOf(11, { state: NUD_STALE, protocol: 7 }),
      entryOf(12, { ip: '2001:db8::2' as IpAddress, flags: 0x80 }),
    ];
    for (const result of socket.batch(written.map((entry) => putNeighbor(entry, 'replace'))))
      assert.ok(result.ok);
    const found = [AF_INET, AF_INET6].flatMap((family) => dumpNeighbors(socket, family as typeof AF_INET));
    for (const entry of written) {
      const neighbor = found.find(({ ip }) => ip === entry.ip);
      assert.ok(neighbor !== undefined, `no neighbor ${entry.ip}`);
      const { confirmedMs, updatedMs, ...rest } = neighbor;
      assert.deepEqual(rest, entry);
      assert.ok(confirmedMs >= 0 && updatedMs >= 0 && updatedMs < 60_000);
    }
    assert.deepEqual(dumpNeighbors(socket, AF_INET, indexOf('tap1')), []);
    socket.batch(written.map(({ ifIndex, ip }) => deleteNeighbor(ifIndex, ip)));
  });

  it('of which one is refused keep the order of the results', () => {
    const good = (number: number): Request => putNeighbor(entryOf(number), 'create');
    const missing = deleteNeighbor(indexOf('br0'), '10.1.9.9' as IpAddress);
    const results = socket.batch([good(11), missing, good(12), good(11), missing]);
    assert.deepEqual(
      results.map((result) => (result.ok ? 'ok' : result.name)),
      ['ok', 'ENOENT', 'ok', 'EEXIST', 'ENOENT'],
    );
    socket.batch([11, 12].map((number) => deleteNeighbor(indexOf('br0'), entryOf(number).ip)));
  });

  it('are refused with the kernel’s text', () => {
    const entry = entryOf(11, { extFlags: 1 << 31 });
    const [result] = socket.batch([putNeighbor(entry, 'create')]);
    assert.ok(result !== undefined && !result.ok);
    const error = failureError(result, {
      operation: 'add neighbor 10.1.0.11 on "br0"',
      object: '10.1.0.11',
      code: 'neighbor_failed',
    });
    assert.match(
      error.message,
      /^Cannot add neighbor 10\.1\.0\.11 on "br0": EINVAL \(kernel: reserved bit set\); run /,
    );
    assert.equal(error.code, 'neighbor_failed');
  });

  it('accept NTF_EXT_EXT_VALIDATED from Linux 6.17 on', (t) => {
    const entry = entryOf(5, { extFlags: NTF_EXT_EXT_VALIDATED });
    const [result] = socket.batch([putNeighbor(entry, 'create')]);
    if (result?.ok === false && result.name === 'EINVAL') {
      t.skip('the kernel has no NTF_EXT_EXT_VALIDATED (6.17)');
      return;
    }
    assert.equal(result?.ok, true);
    const found = dumpNeighbors(socket, AF_INET, indexOf('br0')).find(({ ip }) => ip === entry.ip);
    assert.equal(found?.extFlags, NTF_EXT_EXT_VALIDATED);
    socket.batch([deleteNeighbor(entry.ifIndex, entry.ip)]);
  });

  it('that are all refused do not overrun the buffer', () => {
    const missing = deleteNeighbor(indexOf('br0'), '10.1.9.9' as IpAddress);
    const results = socket.batch(Array.from({ length: 20_000 }, () => missing));
    assert.equal(results.length, 20_000);
    assert.ok(results.every((result) => !result.ok && result.name === 'ENOENT'));
  });
});

describe('dumps', () => {
  it('still work after a decoder has thrown', () => {
    const fails = (): never => {
      throw new Error('on purpose');
    };
    assert.throws(
      () => socket.dump({ type: 18, flags: 0, payload: new Uint8Array(16) }, 'links', fails),
      /on purpose/,
    );
    assert.ok(dumpLinks(socket).length > 3);
  });

  it('of a missing device are an error that says so', () => {
    const request: Request = {
      type: 30,
      flags: 0,
      payload: Uint8Array.from([2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]),
    };
    assert.throws(
      () => socket.dump(request, 'neighbors', () => undefined),
      /^SnoopyError: Cannot read the neighbors: EINVAL \(kernel: /,
    );
  });

  it('read hundreds of links while others come and go', () => {
    netns.ipBatch(
      Array.from({ length: 150 }, (_, index) => `link add d${index} type veth peer name e${index}`),
    );
    const churn = netns.start('sh', '-c', 'while :; do ip link add x0 type bridge; ip link del x0; done');
    for (let i = 0; i < 20; i++) {
      const names = new Set(dumpLinks(socket).map(({ name }) => name));
      for (let index = 0; index < 150; index++) assert.ok(names.has(`d${index}`));
    }
    churn.kill();
  });
});

describe('traffic control', () => {
  const NAME = 'snoopy';

  it('lists all filters of an ingress qdisc, whichever parent the last of them was added to', () => {
    const { fd } = loadProbe();
    const place: FilterPlace = { ifIndex: indexOf('tap1'), direction: 'ingress', pref: 10, handle: 7 };
    const listed = (): string[] =>
      dumpFilters(socket, place.ifIndex, 'ingress').map(({ kind, pref }) => `${kind} ${pref}`);
    assert.ok(single(createQdisc(place.ifIndex, 'ingress')).ok);
    const theirs = ['u32', 'match', 'u32', '0', '0', 'classid', ':1'];
    netns.run('tc', 'filter', 'add', 'dev', 'tap1', 'parent', 'ffff:', 'prio', '50', ...theirs);
    // A hash table, and a filter of it.
    assert.deepEqual(listed(), ['u32 50', 'u32 50']);
    assert.ok(single(putFilter(place, { fd, name: NAME }, 'create')).ok);
    assert.deepEqual(listed(), ['bpf 10', 'u32 50', 'u32 50']);
    netns.run('tc', 'filter', 'add', 'dev', 'tap1', 'parent', 'ffff:', 'prio', '60', ...theirs);
    assert.deepEqual(listed(), ['bpf 10', 'u32 50', 'u32 50', 'u32 60', 'u32 60']);
    assert.equal(filterOf(single(getFilter(place)))?.bpf?.name, NAME);
    assert.ok(single(deleteQdisc(place.ifIndex)).ok);
  });

  it('attaches, reads, replaces and detaches', () => {
    const { fd, id, tag } = loadProbe();
    const place: FilterPlace = { ifIndex: indexOf('tap1'), direction: 'ingress', pref: 31_000, handle: 7 };
    assert.equal(filterOf(single(getFilter(place))), undefined);
    const made = socket.batch([
      createQdisc(place.ifIndex, 'clsact'),
      putFilter(place, { fd, name: NAME }, 'create'),
    ]);
    assert.ok(made.every(({ ok }) => ok));
    const expected = {
      ...place,
      kind: 'bpf',
      protocol: 3,
      chain: 0,
      bpf: { id, tag, name: NAME, directAction: true },
    };
    assert.deepEqual(filterOf(single(getFilter(place))), expected);
    assert.deepEqual(dumpFilters(socket, place.ifIndex, 'ingress'), [expected]);
    assert.deepEqual(dumpFilters(socket, place.ifIndex, 'egress'), []);
    interface Line {
      readonly pref: number;
      readonly protocol: string;
      readonly options?: {
        readonly handle: string;
        readonly 'direct-action': boolean;
        readonly prog: { readonly id: number };
      };
    }
    const [theirs] = netns
      .json<Line[]>('tc', '-json', 'filter', 'show', 'dev', 'tap1', 'ingress')
      .filter(({ options }) => options !== undefined);
    assert.equal(theirs?.pref, 31_000);
    assert.equal(theirs?.protocol, 'all');
    assert.equal(theirs?.options?.handle, '0x7');
    assert.equal(theirs?.options?.['direct-action'], true);
    assert.equal(theirs?.options?.prog.id, id);

    assert.equal(nameOf(single(putFilter(place, { fd, name: NAME }, 'create'))), 'EEXIST');
    const other = loadProbe();
    assert.ok(single(putFilter(place, { fd: other.fd, name: NAME }, 'replace')).ok);
    assert.deepEqual(
      dumpFilters(socket, place.ifIndex, 'ingress').map(({ bpf }) => bpf?.id),
      [other.id],
    );
    const qdiscs = dumpQdiscs(socket).filter(({ ifIndex }) => ifIndex === place.ifIndex);
    assert.ok(qdiscs.some(({ kind }) => kind === 'clsact'));
    assert.equal(nameOf(single(createQdisc(place.ifIndex, 'clsact'))), 'EEXIST');

    assert.ok(single(deleteFilter(place)).ok);
    assert.equal(filterOf(single(getFilter(place))), undefined);
    assert.equal(nameOf(single(deleteFilter(place))), 'ENOENT');
    assert.ok(single(deleteQdisc(place.ifIndex)).ok);
    assert.equal(filterOf(single(getFilter({ ...place, ifIndex: 9_999 as IfIndex }))), undefined);
  });

  it('reads the filters of 200 ports in one batch', (t) => {
    const { fd, id } = loadProbe();
    netns.ipBatch(
      Array.from({ length: 200 }, (_, index) => `link add f${index} type veth peer name g${index}`),
    );
    const ports = dumpLinks(socket).filter(({ name }) => /^f\d+$/.test(name));
    const places = ports.map(
      ({ ifIndex }) => ({ ifIndex, direction: 'ingress', pref: 5, handle: 1 }) as const,
    );
    const started = performance.now();
    const attached = socket.batch(
      places.flatMap((place) => [
        createQdisc(place.ifIndex, 'clsact'),
        putFilter(place, { fd, name: NAME }, 'create'),
      ]),
    );
    const middle = performance.now();
    const filters = socket.batch(places.map(getFilter)).map(filterOf);
    const ended = performance.now();
    t.diagnostic(
      `200 ports: ${((middle - started) * 5).toFixed(0)} us to attach, ${((ended - middle) * 5).toFixed(0)} us to read, each`,
    );
    assert.ok(attached.every(({ ok }) => ok));
    assert.deepEqual(
      filters.map((filter) => filter?.bpf?.id),
      places.map(() => id),
    );
  });

  function single(request: Request): ReturnType<NetlinkSocket['batch']>[number] {
    const [result] = socket.batch([request]);
    assert.ok(result !== undefined);
    return result;
  }

  function nameOf(result: ReturnType<typeof single>): string {
    return result.ok ? 'ok' : result.name;
  }

  /** A program that does nothing, until the scope ends. */
  function loadProbe(): { fd: number; id: number; tag: string } {
    const options = { program: 'probe', maxEntries: new Map(), reuse: new Map() };
    const loaded = loadObject(readFileSync(buildProbe(scope)), options);
    scope.defer(() => loaded.close());
    const { id, tag } = programInfo(loaded.programFd);
    return { fd: loaded.programFd, id, tag };
  }
});

describe('notifications', () => {
  it('tell our own writes from those of others', () => {
    const subscription = subscribe([RTNLGRP_NEIGH]);
    try {
      const entry = entryOf(7);
      socket.batch([putNeighbor(entry, 'create')]);
      netns.run('ip', 'neigh', 'del', entry.ip, 'dev', 'br0');
      const received = drain(subscription).filter((message) => decodeNeighbor(message)?.ip === entry.ip);
      assert.deepEqual(
        received.filter((message) => message.portId === socket.portId).map(({ type }) => type),
        [28],
      );
      // The kernel announces the end of an entry first as a change, then as a deletion.
      assert.equal(received.at(-1)?.type, 29);
      assert.notEqual(received.at(-1)?.portId, socket.portId);
    } finally {
      subscription.close();
    }
  });

  it('report links', () => {
    const subscription = subscribe([RTNLGRP_LINK]);
    try {
      netns.run('ip', 'link', 'add', 'note0', 'type', 'bridge');
      assert.equal(poll([subscription.fd], 1_000).kind, 'ready');
      assert.ok(drain(subscription).some((message) => decodeLink(message)?.name === 'note0'));
      assert.deepEqual(poll([subscription.fd], 0), { kind: 'timeout' });
    } finally {
      subscription.close();
      netns.run('ip', 'link', 'del', 'note0');
    }
  });

  it('that were lost are reported as an overrun', () => {
    const subscription = subscribe([RTNLGRP_NEIGH]);
    try {
      const entries = Array.from({ length: 5_000 }, (_, index) =>
        entryOf(index + 256, { state: NUD_PERMANENT }),
      );
      for (let round = 0; round < 3; round++) {
        socket.batch(entries.map((entry) => putNeighbor(entry, 'create')));
        socket.batch(entries.map(({ ifIndex, ip }) => deleteNeighbor(ifIndex, ip)));
      }
      const kinds = new Set<string>();
      for (
        let received = subscription.receive();
        received.kind !== 'empty';
        received = subscription.receive()
      ) {
        kinds.add(received.kind);
      }
      assert.deepEqual([...kinds].sort(), ['messages', 'overrun']);
    } finally {
      subscription.close();
    }
  });

  function drain(subscription: Subscription): Message[] {
    const messages: Message[] = [];
    for (;;) {
      const received: Received = subscription.receive();
      if (received.kind === 'empty') return messages;
      assert.equal(received.kind, 'messages');
      if (received.kind === 'messages') messages.push(...received.messages);
    }
  }
});

describe('descriptors', () => {
  it('are all closed again', () => {
    const count = (): number => readdirSync('/proc/self/fd').length;
    const before = count();
    for (let i = 0; i < 50; i++) {
      const own = openNetlink();
      dumpLinks(own);
      own.close();
      own.close();
      subscribe([RTNLGRP_LINK]).close();
      assert.throws(() => subscribe([9_999]), /group 9999/);
    }
    assert.equal(count(), before);
  });
});
