// Codecs of src/netlink against bytes that a kernel and iproute2 wrote.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AF_INET, AF_INET6, type IfIndex, type IpAddress, type Mac } from '../../../src/base/address.ts';
import { SnoopyError } from '../../../src/base/errors.ts';
import { addressDump, decodeAddress } from '../../../src/netlink/address.ts';
import { decodeFdbEntry, fdbDump } from '../../../src/netlink/fdb.ts';
import { decodeLink, linkDump, RTM_NEWLINK } from '../../../src/netlink/link.ts';
import { Attributes, decodeMessages, type Message, PayloadWriter } from '../../../src/netlink/message.ts';
import {
  decodeNeighbor,
  type NeighborWrite,
  NTF_EXT_EXT_VALIDATED,
  NTF_EXT_LEARNED,
  NTF_ROUTER,
  NUD_NOARP,
  NUD_PERMANENT,
  NUD_STALE,
  neighborDump,
} from '../../../src/netlink/neighbor.ts';
import { decodeFailure, failureError } from '../../../src/netlink/socket.ts';
import {
  createQdisc,
  decodeFilter,
  decodeQdisc,
  deleteFilter,
  filterOf,
  getFilter,
  putFilter,
} from '../../../src/netlink/tc.ts';
import { decodePortVlans } from '../../../src/netlink/vlan.ts';
import { decodeVlanOptions, RTM_NEWVLAN, vlanOptionsDump } from '../../../src/netlink/vlan-options.ts';
import { deleteNeighbor, putNeighbor } from '../../lib/neighbor-requests.ts';
import * as captures from './captures.ts';

const BR0 = 2 as IfIndex;
const ETH0 = 3 as IfIndex;
const TAP1 = 4 as IfIndex;

function decodeAll<T>(datagram: Uint8Array, decode: (message: Message) => T | undefined): T[] {
  return decodeMessages(datagram)
    .map(decode)
    .filter((item) => item !== undefined);
}

function only<T>(items: readonly T[]): T {
  const [item] = items;
  assert.equal(items.length, 1);
  assert.ok(item !== undefined);
  return item;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

/** A message as a socket delivers it. */
function messageOf(type: number, payload: Uint8Array): Message {
  return { type, flags: 0, sequence: 1, portId: 1, payload };
}

function isMalformed(thrown: unknown): boolean {
  return thrown instanceof SnoopyError && thrown.code === 'malformed';
}

const DECODERS: readonly ((message: Message) => unknown)[] = [
  decodeLink,
  decodePortVlans,
  decodeVlanOptions,
  decodeAddress,
  decodeNeighbor,
  decodeFdbEntry,
  decodeQdisc,
  decodeFilter,
];

describe('links', () => {
  it('decodes a bridge', () => {
    const link = only(decodeAll(captures.LINK_BRIDGE, decodeLink));
    assert.deepEqual(
      { ...link, flags: 0, mac: undefined },
      {
        ifIndex: BR0,
        name: 'br0',
        kind: 'bridge',
        slaveKind: undefined,
        master: undefined,
        link: undefined,
        mac: undefined,
        flags: 0,
        up: true,
        lowerUp: true,
        mtu: 1500,
        bridge: { vlanFiltering: false, vlanDefaultPvid: 0, vlanProtocol: 0x8100, ageingTimeMs: 200_000 },
        vlanId: undefined,
        vxlan: undefined,
        bridgePort: undefined,
      },
    );
  });

  it('decodes a port and the peer of a veth', () => {
    const link = only(decodeAll(captures.LINK_PORT, decodeLink));
    assert.equal(link.name, 'tap1');
    assert.equal(link.kind, 'veth');
    assert.equal(link.slaveKind, 'bridge');
    assert.equal(link.master, BR0);
    assert.equal(link.link, ETH0);
    assert.equal(link.mac, '02:00:00:00:00:11');
    assert.deepEqual(link.bridgePort, {
      learning: true,
      neighSuppress: false,
      neighVlanSuppress: false,
      isolated: false,
      state: 3,
    });
  });

  it('decodes a VXLAN port', () => {
    const link = only(decodeAll(captures.LINK_VXLAN, decodeLink));
    assert.equal(link.kind, 'vxlan');
    assert.deepEqual(link.vxlan, { vni: 100, learning: false, external: false });
    assert.deepEqual(link.bridgePort, {
      learning: false,
      neighSuppress: true,
      neighVlanSuppress: false,
      isolated: false,
      state: 3,
    });
  });

  it('leaves out the link that is in another namespace', () => {
    const writer = new PayloadWriter(64);
    writer.structure(16);
    writer.text(3, 'eth0');
    writer.u32(5, 7);
    writer.u32(37, 0);
    const message = messageOf(RTM_NEWLINK, writer.finish());
    assert.equal(decodeLink(message)?.link, undefined);
  });

  it('requests all links without their counters', () => {
    assert.equal(hex(linkDump().payload), '0000000000000000000000000000000008001d0008000000');
  });
});

describe('VLANs of ports', () => {
  it('finds none on a kernel without VLAN filtering', () => {
    assert.deepEqual(decodeAll(captures.PORT_VLANS_NONE, decodePortVlans), []);
    assert.deepEqual(decodeAll(captures.PORT_VLANS_NONE, decodeLink), []);
  });

  it('decodes single VLANs, ranges and the PVID', () => {
    const { ifIndex, pvid, ranges } = vlans([0x06, 1], [0x08, 10], [0x10, 20], [0x0c, 30], [0x14, 31]) ?? {};
    assert.equal(ifIndex, TAP1);
    assert.equal(pvid, 1);
    assert.deepEqual(ranges, [
      { start: 1, end: 1, untagged: true },
      { start: 10, end: 20, untagged: false },
      { start: 30, end: 31, untagged: true },
    ]);
  });

  it('has PVID 0 where untagged frames have no VLAN', () => {
    assert.equal(vlans([0, 5])?.pvid, 0);
  });

  it('rejects a range without a start', () => {
    assert.throws(() => vlans([0x10, 20]), isMalformed);
    assert.throws(() => tunnel([0x10, 20, 1020]), isMalformed);
  });

  it('decodes the VNIs of a single VXLAN device', () => {
    assert.deepEqual(tunnel([0x08, 10, 1010], [0x10, 12, 1012], [0, 15, 5])?.vnis, [
      { start: 10, end: 12, vni: 1010 },
      { start: 15, end: 15, vni: 5 },
    ]);
    assert.deepEqual(vlans([0x06, 1])?.vnis, []);
  });

  it('decodes the options of VLANs, a range in one entry, and requests those of one port', () => {
    const writer = new PayloadWriter(128);
    writer.structure(8)[0] = 7;
    // As br_vlan_fill_vids of net/bridge/br_vlan.c lays it out.
    writer.nest(1, () => {
      writer.u32(1, 0x06 | (10 << 16));
      writer.u16(2, 12);
      writer.u8(3, 3);
      writer.u8(9, 1);
    });
    writer.nest(1, () => {
      writer.u32(1, 20 << 16);
      writer.u8(9, 0);
    });
    assert.deepEqual(decodeVlanOptions(messageOf(RTM_NEWVLAN, writer.finish())), [
      { start: 10, end: 12, untagged: true, isPvid: true, neighSuppress: true },
      { start: 20, end: 20, untagged: false, isPvid: false, neighSuppress: false },
    ]);
    assert.equal(
      hex(vlanOptionsDump(TAP1 as IfIndex).payload),
      `07000000${TAP1.toString(16).padStart(2, '0')}000000`,
    );
  });

  /** An AF_BRIDGE message of tap1 with struct bridge_vlan_info of [flags, VLAN] each, as br_fill_ifinfo lays it out. */
  function vlans(...infos: readonly (readonly [number, number])[]): ReturnType<typeof decodePortVlans> {
    const writer = new PayloadWriter(64);
    const header = writer.structure(16);
    header[0] = 7;
    header[4] = TAP1;
    writer.nest(26, () => {
      for (const [flags, vlan] of infos) writer.u32(2, flags | (vlan << 16));
    });
    return decodePortVlans(messageOf(RTM_NEWLINK, writer.finish()));
  }

  /** The same in VLAN 1, with nested attributes of [flags, VLAN, VNI] each, as br_fill_vlan_tinfo lays them out. */
  function tunnel(
    ...infos: readonly (readonly [number, number, number])[]
  ): ReturnType<typeof decodePortVlans> {
    const writer = new PayloadWriter(256);
    const header = writer.structure(16);
    header[0] = 7;
    header[4] = TAP1;
    writer.nest(26, () => {
      writer.u32(2, 0x06 | (1 << 16));
      for (const [flags, vlan, vni] of infos) {
        writer.nest(3, () => {
          writer.u32(1, vni);
          writer.u16(2, vlan);
          writer.u16(3, flags);
        });
      }
    });
    return decodePortVlans(messageOf(RTM_NEWLINK, writer.finish()));
  }
});

describe('addresses', () => {
  it('decodes both families and a point-to-point address', () => {
    const found = decodeAll(captures.ADDRESSES, decodeAddress);
    const lines = found.map(({ ifIndex, ip, prefixLength, connected }) => {
      return `${ifIndex} ${ip}/${prefixLength} ${connected.ip}/${connected.length}`;
    });
    assert.deepEqual(lines.slice(0, 5), [
      '1 127.0.0.1/8 127.0.0.0/8',
      '2 10.0.0.1/24 10.0.0.0/24',
      '3 10.9.0.1/32 10.9.0.2/32',
      '1 ::1/128 ::1/128',
      '2 2001:db8::1/64 2001:db8::/64',
    ]);
  });

  it('requests all families', () => {
    assert.equal(hex(addressDump().payload), '0000000000000000');
  });
});

describe('forwarding entries', () => {
  it('decodes the bridge’s entries and leaves out those of the devices', () => {
    const found = decodeAll(captures.FDB, decodeFdbEntry).map(
      ({ ifIndex, mac, state, isLocal, flags }) => `${ifIndex} ${mac} ${state} ${isLocal} ${flags}`,
    );
    assert.deepEqual(found.sort(), [
      `4 02:00:00:00:00:11 ${NUD_PERMANENT} true 0`,
      `4 02:00:00:00:01:01 ${NUD_NOARP} false 0`,
      `5 02:00:00:00:00:99 ${NUD_PERMANENT} true 0`,
      `5 02:00:00:00:02:02 2 false ${NTF_EXT_LEARNED}`,
    ]);
  });

  it('decodes the activity of the MACs of Ethernet segments', () => {
    const activities = (capture: Uint8Array): string[] =>
      decodeAll(capture, decodeFdbEntry).map(({ mac, activity }) => `${mac} ${activity}`);
    assert.deepEqual(activities(captures.FDB_ACTIVITY), [
      '02:00:00:00:aa:02 inactive',
      '02:00:00:00:aa:01 active',
    ]);
    assert.ok(activities(captures.FDB).every((line) => line.endsWith(' untracked')));
  });

  it('requests one bridge', () => {
    assert.equal(hex(fdbDump(BR0).payload), '0700000000000000000000000800090002000000');
  });
});

describe('neighbors', () => {
  it('decodes IPv4, with protocol and flags', () => {
    const found = decodeAll(captures.NEIGHBORS_IPV4, decodeNeighbor);
    const ours = found.find((neighbor) => neighbor.ip === '10.0.0.10');
    const remote = found.find((neighbor) => neighbor.ip === '10.0.0.11');
    assert.deepEqual(
      { ...ours, confirmedMs: 0, updatedMs: 0 },
      {
        ifIndex: BR0,
        ip: '10.0.0.10',
        mac: '02:00:00:00:01:01',
        state: NUD_NOARP,
        flags: 0,
        extFlags: 0,
        protocol: 115,
        confirmedMs: 0,
        updatedMs: 0,
      },
    );
    assert.equal(remote?.flags, NTF_EXT_LEARNED);
    assert.equal(remote?.protocol, 11);
    assert.ok((ours?.updatedMs ?? 0) > 0);
  });

  it('decodes IPv6 and leaves multicast out', () => {
    const neighbor = only(decodeAll(captures.NEIGHBORS_IPV6, decodeNeighbor));
    assert.equal(neighbor.ip, '2001:db8::10');
    assert.equal(neighbor.state, NUD_STALE);
    assert.equal(neighbor.flags, NTF_ROUTER);
  });

  it('encodes the same bytes as iproute2', () => {
    const theirs = only(decodeMessages(captures.NEIGHBOR_REPLACE));
    const request = putNeighbor(
      { ifIndex: BR0, ip: ip('10.0.0.10'), mac: MAC, state: NUD_NOARP, flags: 0, extFlags: 0, protocol: 115 },
      'replace',
    );
    assert.equal(request.type, theirs.type);
    // The socket adds NLM_F_REQUEST and NLM_F_ACK.
    assert.equal(request.flags | 5, theirs.flags);
    const withType = (payload: Uint8Array): Uint8Array => {
      // The kernel fills in RTN_UNICAST; a request has 0.
      const bytes = new Uint8Array(payload);
      bytes[11] = 1;
      return bytes;
    };
    const decode = (payload: Uint8Array): unknown => decodeNeighbor(messageOf(28, withType(payload)));
    assert.deepEqual(decode(request.payload), decode(theirs.payload));
  });

  it('can make create fail where an entry exists', () => {
    const entry = {
      ifIndex: BR0,
      ip: ip('10.0.0.1'),
      mac: MAC,
      state: 0x40,
      flags: 0,
      extFlags: 0,
      protocol: 1,
    };
    assert.equal(putNeighbor(entry, 'create').flags, 0x600);
    assert.equal(putNeighbor(entry, 'replace').flags, 0x500);
  });

  it('encodes every kind of entry so that it decodes to the same', () => {
    let seed = 1;
    const random = (below: number): number => {
      seed = (seed * 1_103_515_245 + 12_345) & 0x7fffffff;
      return (seed >> 8) % below;
    };
    for (let i = 0; i < 2_000; i++) {
      const address =
        random(2) === 0
          ? `10.${random(256)}.${random(256)}.${random(256)}`
          : `2001:db8::${(random(0xffff) + 1).toString(16)}`;
      const entry: NeighborWrite = {
        ifIndex: (random(100_000) + 1) as IfIndex,
        ip: ip(address),
        mac: `02:00:00:00:00:${random(256).toString(16).padStart(2, '0')}` as Mac,
        state: 1 << random(8),
        flags: random(2) === 0 ? 0 : NTF_ROUTER,
        extFlags: random(2) === 0 ? 0 : NTF_EXT_EXT_VALIDATED,
        protocol: random(256),
      };
      const { payload } = putNeighbor(entry, 'replace');
      payload[11] = 1;
      assert.deepEqual(decodeNeighbor(messageOf(28, payload)), { ...entry, confirmedMs: 0, updatedMs: 0 });
    }
  });

  it('deletes by device and address', () => {
    assert.equal(
      hex(deleteNeighbor(BR0, ip('10.0.0.77')).payload),
      '020000000200000000000000080001000a00004d',
    );
  });

  it('requests a family and a device', () => {
    assert.equal(hex(neighborDump(AF_INET6).payload), '0a0000000000000000000000');
    assert.equal(hex(neighborDump(AF_INET, BR0).payload), '0200000000000000000000000800080002000000');
  });

  const MAC = '02:00:00:00:01:01' as Mac;
  function ip(text: string): IpAddress {
    return text as IpAddress;
  }
});

describe('traffic control', () => {
  const PLACE = { ifIndex: TAP1, direction: 'ingress', pref: 5, handle: 1 } as const;

  it('decodes qdiscs', () => {
    const found = decodeAll(captures.QDISCS, decodeQdisc).filter(({ kind }) => kind === 'clsact');
    const clsact = { ifIndex: TAP1, kind: 'clsact', handle: 0xffff0000, parent: 0xfffffff1 };
    assert.deepEqual(found, [{ ...clsact, sharesIngress: false }]);
  });

  it('creates clsact as tc does', () => {
    const theirs = only(decodeMessages(captures.CLSACT_ADD));
    const ours = createQdisc(TAP1, 'clsact');
    assert.equal(ours.type, theirs.type);
    assert.equal(ours.flags | 5, theirs.flags);
    // Some versions of tc add an unused TCA_OPTIONS. Only the structure and the kind are compared.
    assert.equal(hex(theirs.payload.subarray(0, 20)), hex(ours.payload.subarray(0, 20)));
    assert.equal(new Attributes(theirs.payload, 20).text(1), new Attributes(ours.payload, 20).text(1));
  });

  it('decodes a filter and leaves out the line for its pref', () => {
    const { bpf, ...filter } = only(decodeAll(captures.FILTERS, decodeFilter));
    assert.deepEqual(filter, { ...PLACE, kind: 'bpf', protocol: 3, chain: 0 });
    assert.ok(bpf !== undefined && bpf.id > 0);
    assert.match(bpf.tag, /^[0-9a-f]{16}$/);
    assert.equal(bpf.directAction, true);
  });

  it('attaches as tc does', () => {
    const theirs = only(decodeMessages(captures.FILTER_ADD));
    const options = new Attributes(theirs.payload, 20).nested(2);
    const fd = options?.u32(6) ?? 0;
    const name = options?.text(7) ?? '';
    const ours = putFilter(PLACE, { fd, name }, 'create');
    assert.equal(ours.type, theirs.type);
    assert.equal(ours.flags | 5, theirs.flags);
    assert.equal(hex(ours.payload.subarray(0, 20)), hex(theirs.payload.subarray(0, 20)));
    const own = new Attributes(ours.payload, 20).nested(2);
    for (const { type, payload } of options ?? [])
      assert.equal(hex(own?.bytes(type) ?? new Uint8Array()), hex(payload));
  });

  it('creates or replaces', () => {
    assert.equal(putFilter(PLACE, { fd: 3, name: 'x' }, 'create').flags, 0x600);
    assert.equal(putFilter(PLACE, { fd: 3, name: 'x' }, 'replace').flags, 0x400);
  });

  it('gets and deletes at the same place', () => {
    assert.equal(hex(getFilter(PLACE).payload), hex(deleteFilter(PLACE).payload));
    assert.equal(getFilter(PLACE).answered, true);
  });

  it('decodes the answer to a get', () => {
    const replies = decodeMessages(captures.FILTERS);
    assert.equal(filterOf({ ok: true, replies })?.pref, 5);
    for (const errno of [2, 19, 22]) {
      assert.equal(filterOf({ ok: false, errno, name: '', message: undefined }), undefined);
    }
    assert.throws(() => filterOf({ ok: false, errno: 105, name: 'ENOBUFS', message: undefined }), /ENOBUFS/);
  });
});

describe('refusals', () => {
  it('have the errno and the kernel’s text', () => {
    const failure = decodeFailure(only(decodeMessages(captures.CLSACT_EEXIST)));
    assert.deepEqual(failure, {
      ok: false,
      errno: 17,
      name: 'EEXIST',
      message: 'Exclusivity flag on, cannot modify',
    });
  });

  it('may have no text', () => {
    const failure = decodeFailure(only(decodeMessages(captures.NEIGHBOR_DELETE_ENOENT)));
    assert.deepEqual(failure, { ok: false, errno: 2, name: 'ENOENT', message: undefined });
  });

  it('name operation, object, errno and the kernel’s text', () => {
    const failure = { ok: false, errno: 22, name: 'EINVAL', message: 'reserved bit set' } as const;
    const error = failureError(failure, { operation: 'add neighbor 10.0.0.1 on "br0"', object: '10.0.0.1' });
    assert.match(
      error.message,
      /^Cannot add neighbor 10\.0\.0\.1 on "br0": EINVAL \(kernel: reserved bit set\); run /,
    );
    assert.equal(error.code, 'netlink_failed');
    assert.equal(error.errno, 'EINVAL');
  });

  it('name the missing capability', () => {
    const failure = { ok: false, errno: 1, name: 'EPERM', message: undefined } as const;
    const error = failureError(failure, { operation: 'attach to port "tap1"', object: 'tap1' });
    assert.equal(error.code, 'not_permitted');
    assert.equal(error.message, 'Cannot attach to port "tap1": EPERM; run as root or with CAP_NET_ADMIN');
  });
});

describe('bytes cut short', () => {
  for (const [name, datagram] of Object.entries(captures)) {
    it(`is an error for ${name} at every length except between messages`, () => {
      const ends = new Set<number>([0]);
      let end = 0;
      for (const message of decodeMessages(datagram)) {
        // The padding behind the last message may be missing.
        for (
          let at = end + 16 + message.payload.length;
          at <= end + ((19 + message.payload.length) & ~3);
          at++
        ) {
          ends.add(at);
        }
        end += (19 + message.payload.length) & ~3;
      }
      for (let length = 0; length < datagram.length; length++) {
        const part = datagram.slice(0, length);
        if (ends.has(length)) assert.doesNotThrow(() => decodeMessages(part));
        else assert.throws(() => decodeMessages(part), isMalformed, `at ${length}`);
      }
    });

    it(`never reads past the payloads of ${name}`, () => {
      for (const { payload, ...header } of decodeMessages(datagram)) {
        for (let length = 0; length < payload.length; length++) {
          // The bytes behind the cut are poison: decoding must not depend on them.
          const padded = new Uint8Array(payload.length + 64).fill(0xff);
          padded.set(payload.subarray(0, length));
          for (const decode of DECODERS) {
            const outcomes = [padded.subarray(0, length), payload.slice(0, length)].map((bytes) =>
              outcomeOf(() => decode({ ...header, payload: bytes })),
            );
            assert.deepEqual(outcomes[0], outcomes[1]);
          }
        }
      }
    });
  }

  /** The result of a decoder. An error that is not `malformed` is a bug. */
  function outcomeOf(decode: () => unknown): unknown {
    try {
      return decode();
    } catch (thrown) {
      if (!isMalformed(thrown)) throw thrown;
      return 'malformed';
    }
  }

  it('gives a `malformed` error or nothing for random bytes', () => {
    let seed = 7;
    const next = (): number => {
      seed = (seed * 1_103_515_245 + 12_345) & 0x7fffffff;
      return (seed >> 8) & 0xff;
    };
    for (let round = 0; round < 2_000; round++) {
      const bytes = Uint8Array.from({ length: next() }, next);
      outcomeOf(() => decodeMessages(bytes));
      for (const type of [16, 20, 28, 36, 44]) {
        for (const decode of DECODERS) outcomeOf(() => decode(messageOf(type, bytes)));
      }
    }
  });
});
