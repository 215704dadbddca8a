// Forwarding entries of bridges: struct ndmsg with AF_BRIDGE (linux/neighbour.h).

import { AF_BRIDGE, encodeMac, type IfIndex, type Mac } from '../base/address.ts';
import { readI32, readU8, readU16, writeU8, writeU32 } from '../base/bytes.ts';
import { type ForwardingKey, ForwardingTable } from './forwarding-table.ts';
import { CLOCK_TICK_MS } from './link.ts';
import { AttributeIndex, Attributes, type Message, PayloadWriter, type Request } from './message.ts';
import {
  NDA_CACHEINFO,
  NDA_FLAGS_EXT,
  NDA_LLADDR,
  NDA_MASTER,
  NDA_VLAN,
  NDMSG_SIZE,
  NTF_EXT_LOCKED,
  NTF_SELF,
  NUD_PERMANENT,
  RTM_DELNEIGH,
  RTM_GETNEIGH,
  RTM_NEWNEIGH,
} from './neighbor.ts';
import type { NetlinkSocket } from './socket.ts';

export interface FdbEntry {
  /** The port; the bridge itself for its own addresses. */
  readonly ifIndex: IfIndex;
  readonly bridge: IfIndex;
  readonly mac: Mac;
  /** 0: no VLAN. */
  readonly vlan: number;
  /** NUD_*: PERMANENT local, NOARP static, REACHABLE dynamic, STALE expired but not collected yet. */
  readonly state: number;
  /** NTF_* */
  readonly flags: number;
  /** An address of the port itself (NUD_PERMANENT). */
  readonly isLocal: boolean;
}

/** Reused for each message. */
const INDEX = new AttributeIndex(NDA_FLAGS_EXT);

/**
 * undefined for messages that are not entries of a bridge: neighbors, and a VXLAN device's own entries (NTF_SELF). Also
 * for a locked MAC (NTF_EXT_LOCKED), whose frames the bridge does not accept yet.
 */
export function decodeFdbEntry(message: Message): FdbEntry | undefined {
  if (message.type !== RTM_NEWNEIGH && message.type !== RTM_DELNEIGH) return undefined;
  const { payload } = message;
  if (readU8(payload, 0) !== AF_BRIDGE) return undefined;
  const flags = readU8(payload, 10);
  if ((flags & NTF_SELF) !== 0) return undefined;
  const attributes = new Attributes(payload, NDMSG_SIZE, payload.length, INDEX);
  // fdb_fill_info (net/bridge/br_fdb.c) always has the bridge; a message without it is not a bridge's entry.
  const bridge = attributes.u32(NDA_MASTER);
  if (((attributes.u32(NDA_FLAGS_EXT) ?? 0) & NTF_EXT_LOCKED) !== 0) return undefined;
  const mac = attributes.mac(NDA_LLADDR);
  if (bridge === undefined || mac === undefined) return undefined;
  const state = readU16(payload, 8);
  return {
    ifIndex: readI32(payload, 4) as IfIndex,
    bridge: bridge as IfIndex,
    mac,
    vlan: attributes.u16(NDA_VLAN) ?? 0,
    state,
    flags,
    isLocal: (state & NUD_PERMANENT) !== 0,
  };
}

export function fdbDump(bridge: IfIndex): Request {
  const writer = new PayloadWriter(NDMSG_SIZE + 8);
  writeU8(writer.structure(NDMSG_SIZE), 0, AF_BRIDGE);
  writer.u32(NDA_MASTER, bridge);
  return { type: RTM_GETNEIGH, flags: 0, payload: writer.finish() };
}

const ENTRIES = 'forwarding entries';
/** IEEE 802.1Q reserves the VLAN ID after it. */
const LAST_VLAN = 4094;

function randomSeed(): number {
  return Math.floor(Math.random() * 2 ** 32);
}

/** The MACs that one bridge forwards to its ports, without the ports' own addresses, which are the node's. */
export function readForwarding(socket: NetlinkSocket, bridge: IfIndex): ForwardingTable {
  return socket.dumpInto(fdbDump(bridge), ENTRIES, {
    begin: () => new ForwardingTable(randomSeed()),
    add: (table, message) => {
      const entry = entryOf(bridge, message);
      if (entry === undefined || entry.isLocal) return;
      table.push({ vlan: entry.vlan, mac: entry.mac, port: entry.ifIndex });
    },
  });
}

/**
 * Where a bridge forwards each of these MACs: a request for each, hundreds in a datagram, so the cost does not grow with what
 * else the bridge has learned. From Linux 5.0 on (rtnl_fdb_get).
 */
export function lookUpForwarding(
  socket: Pick<NetlinkSocket, 'lookUp'>,
  bridge: IfIndex,
  keys: Iterable<ForwardingKey>,
): ForwardingTable {
  const table = ForwardingTable.forKeys(keys, randomSeed());
  socket.lookUp(encodeGets(bridge, table.keys()), ENTRIES, (message) => {
    const entry = decodeFdbEntry(message);
    if (entry === undefined || entry.isLocal) return;
    table.push({ vlan: entry.vlan, mac: entry.mac, port: entry.ifIndex });
  });
  return table;
}

/** A guest may have sent a frame of VLAN 4095. No bridge forwards that, and the kernel refuses to look it up (fdb_vid_parse). */
function* encodeGets(bridge: IfIndex, keys: Iterable<ForwardingKey>): Generator<Request> {
  for (const key of keys) if (key.vlan <= LAST_VLAN) yield fdbGet(bridge, key);
}

/** NTF_SELF: the device is the bridge itself, and ENODEV when it is gone. */
function fdbGet(bridge: IfIndex, { vlan, mac }: ForwardingKey): Request {
  const writer = new PayloadWriter(NDMSG_SIZE + 20);
  const header = writer.structure(NDMSG_SIZE);
  writeU8(header, 0, AF_BRIDGE);
  writeU32(header, 4, bridge);
  writeU8(header, 10, NTF_SELF);
  writer.fill(NDA_LLADDR, 6, (bytes, offset) => encodeMac(mac, bytes, offset));
  if (vlan !== 0) writer.u16(NDA_VLAN, vlan);
  return { type: RTM_GETNEIGH, flags: 0, payload: writer.finish(), answered: true };
}

/** The kernel also lists other bridges' own addresses. */
function entryOf(bridge: IfIndex, message: Message): FdbEntry | undefined {
  const entry = decodeFdbEntry(message);
  return entry?.bridge === bridge ? entry : undefined;
}

/**
 * Milliseconds since the bridge last saw a frame from this MAC in one VLAN (0: no VLAN); undefined when it does not
 * know the MAC. `br_fdb_update` of net/bridge/br_fdb.c writes the time.
 */
export function fdbAgeMs(socket: NetlinkSocket, bridge: IfIndex, vlan: number, mac: Mac): number | undefined {
  let ageMs: number | undefined;
  socket.lookUp([fdbGet(bridge, { vlan, mac })], ENTRIES, (message) => {
    const entry = decodeFdbEntry(message);
    if (entry === undefined || entry.isLocal) return;
    const ticks = new Attributes(message.payload, NDMSG_SIZE).u32(NDA_CACHEINFO, 8);
    ageMs = ticks === undefined ? undefined : ticks * CLOCK_TICK_MS;
  });
  return ageMs;
}
