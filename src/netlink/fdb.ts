// Forwarding entries of bridges: struct ndmsg with AF_BRIDGE (linux/neighbour.h).

import { AF_BRIDGE, type IfIndex, type Mac } from '../base/address.ts';
import { readI32, readU8, readU16, writeU8, writeU16, writeU32 } from '../base/bytes.ts';
import { type Activity, type ForwardingKey, ForwardingTable } from './forwarding-table.ts';
import { CLOCK_TICK_MS } from './link.ts';
import {
  AttributeIndex,
  Attributes,
  align,
  type Message,
  PayloadWriter,
  type Request,
  RTA_HDRLEN,
  writeAttributeHeader,
} from './message.ts';
import {
  NDA_CACHEINFO,
  NDA_FDB_EXT_ATTRS,
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
  readonly activity: Activity;
}

// Within NDA_FDB_EXT_ATTRS, and the bits of NFEA_ACTIVITY_NOTIFY (linux/neighbour.h).
const NFEA_ACTIVITY_NOTIFY = 1;
const FDB_NOTIFY_INACTIVE_BIT = 2;

/** Reused for each message. */
const INDEX = new AttributeIndex(NDA_FLAGS_EXT);

/**
 * undefined for messages that are not entries of a bridge: neighbors, and a VXLAN device's own entries (NTF_SELF). Also
 * for a locked MAC (NTF_EXT_LOCKED), whose frames the bridge does not accept yet.
 */
export function decodeFdbEntry(message: Message): FdbEntry | undefined {
  const attributes = attributesOf(message);
  const mac = attributes?.mac(NDA_LLADDR);
  if (attributes === undefined || mac === undefined) return undefined;
  const { payload } = message;
  return {
    ifIndex: portOf(message),
    bridge: attributes.u32(NDA_MASTER) as IfIndex,
    mac,
    vlan: attributes.u16(NDA_VLAN) ?? 0,
    state: readU16(payload, 8),
    flags: readU8(payload, 10),
    isLocal: isLocal(message),
    activity: activityOf(attributes),
  };
}

/** The attributes of an entry, until the next call; undefined as for `decodeFdbEntry`. */
function attributesOf({ type, payload }: Message): Attributes | undefined {
  if (type !== RTM_NEWNEIGH && type !== RTM_DELNEIGH) return undefined;
  if (readU8(payload, 0) !== AF_BRIDGE || (readU8(payload, 10) & NTF_SELF) !== 0) return undefined;
  const attributes = new Attributes(payload, NDMSG_SIZE, payload.length, INDEX);
  // fdb_fill_info (net/bridge/br_fdb.c) always has the bridge; a message without it is not a bridge's entry.
  if (!attributes.has(NDA_MASTER)) return undefined;
  return ((attributes.u32(NDA_FLAGS_EXT) ?? 0) & NTF_EXT_LOCKED) === 0 ? attributes : undefined;
}

function portOf({ payload }: Message): IfIndex {
  return readI32(payload, 4) as IfIndex;
}

function isLocal({ payload }: Message): boolean {
  return (readU16(payload, 8) & NUD_PERMANENT) !== 0;
}

/** The kernel leaves the attribute out where it does not track the activity. */
function activityOf(attributes: Attributes): Activity {
  const notify = attributes.nested(NDA_FDB_EXT_ATTRS)?.u8(NFEA_ACTIVITY_NOTIFY);
  if (notify === undefined) return 'untracked';
  return (notify & FDB_NOTIFY_INACTIVE_BIT) === 0 ? 'active' : 'inactive';
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
      const { vlan, mac, ifIndex: port, activity } = entry;
      table.push({ vlan, mac, port, activity });
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
  // A guest may have sent a frame of VLAN 4095. No bridge forwards that, and the kernel refuses to look it up (fdb_vid_parse).
  const asked = indicesOf(table).filter((index) => table.vlanAt(index) <= LAST_VLAN);
  socket.lookUp(encodeGets(bridge, table, asked), ENTRIES, (message, request) => {
    const index = asked[request];
    const attributes = attributesOf(message);
    if (index === undefined || attributes === undefined || isLocal(message)) return;
    table.setPortAt(index, portOf(message), activityOf(attributes));
  });
  return table;
}

function indicesOf({ size }: ForwardingTable): number[] {
  return Array.from({ length: size }, (_, index) => index);
}

/** Encodes each request into the bytes of the previous one of its kind: see PutEncoder in neighbor.ts. */
function* encodeGets(
  bridge: IfIndex,
  table: ForwardingTable,
  indices: readonly number[],
): Generator<Request> {
  const untagged = fdbGet(bridge, false);
  const tagged = fdbGet(bridge, true);
  for (const index of indices) {
    const vlan = table.vlanAt(index);
    const request = vlan === 0 ? untagged : tagged;
    table.writeMacAt(index, request.payload, MAC_AT);
    if (vlan !== 0) writeU16(request.payload, VLAN_AT, vlan);
    yield request;
  }
}

// Where a request has its MAC and its VLAN.
const MAC_AT = NDMSG_SIZE + RTA_HDRLEN;
const VLAN_AT = MAC_AT + align(6) + RTA_HDRLEN;

/** A request without its MAC and VLAN. NTF_SELF: the device is the bridge itself, and ENODEV when it is gone. */
function fdbGet(bridge: IfIndex, isTagged: boolean): Request {
  const payload = new Uint8Array(isTagged ? VLAN_AT + align(2) : MAC_AT + align(6));
  writeU8(payload, 0, AF_BRIDGE);
  writeU32(payload, 4, bridge);
  writeU8(payload, 10, NTF_SELF);
  writeAttributeHeader(payload, MAC_AT - RTA_HDRLEN, NDA_LLADDR, 6);
  if (isTagged) writeAttributeHeader(payload, VLAN_AT - RTA_HDRLEN, NDA_VLAN, 2);
  return { type: RTM_GETNEIGH, flags: 0, payload, answered: true };
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
  const table = ForwardingTable.forKeys([{ vlan, mac }], randomSeed());
  socket.lookUp(encodeGets(bridge, table, [0]), ENTRIES, (message) => {
    if (attributesOf(message) === undefined || isLocal(message)) return;
    const ticks = new Attributes(message.payload, NDMSG_SIZE).u32(NDA_CACHEINFO, 8);
    ageMs = ticks === undefined ? undefined : ticks * CLOCK_TICK_MS;
  });
  return ageMs;
}
