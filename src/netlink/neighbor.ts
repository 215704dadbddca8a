// Neighbors: struct ndmsg with AF_INET and AF_INET6 (linux/neighbour.h).

import {
  AF_INET,
  AF_INET6,
  addressLength,
  encodeMac,
  type Family,
  familyOf,
  type IfIndex,
  type IpAddress,
  type Mac,
  writeIp,
} from '../base/address.ts';
import { readI32, readU8, readU16, writeU8, writeU16, writeU32 } from '../base/bytes.ts';
import { CLOCK_TICK_MS } from './link.ts';
import {
  AttributeIndex,
  Attributes,
  align,
  type Message,
  NLM_F_CREATE,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  PayloadWriter,
  type Request,
  RTA_HDRLEN,
  writeAttributeHeader,
} from './message.ts';
import { lookUpAll, type NetlinkSocket, type Result } from './socket.ts';

export const RTM_NEWNEIGH = 28;
export const RTM_DELNEIGH = 29;
export const RTM_GETNEIGH = 30;

/** sizeof(struct ndmsg): u8 family, u8 and u16 padding, s32 ifindex, u16 state, u8 flags, u8 type. */
export const NDMSG_SIZE = 12;

const NDA_DST = 1;
export const NDA_LLADDR = 2;
/** struct nda_cacheinfo: u32 confirmed, used, updated, refcnt; times are ages in clock_t. */
export const NDA_CACHEINFO = 3;
export const NDA_VLAN = 5;
const NDA_IFINDEX = 8;
export const NDA_MASTER = 9;
export const NDA_PROTOCOL = 12;
export const NDA_FDB_EXT_ATTRS = 14;
export const NDA_FLAGS_EXT = 15;

/**
 * ndmsg.ndm_type of a multicast group. That of a host is RTN_UNICAST, or RTN_BROADCAST in a namespace that has never
 * had an IPv4 address, because it has no local routing table (__inet_dev_addr_type).
 */
const RTN_MULTICAST = 5;

// ndmsg.ndm_state
export const NUD_NONE = 0x00;
export const NUD_INCOMPLETE = 0x01;
export const NUD_REACHABLE = 0x02;
export const NUD_STALE = 0x04;
export const NUD_DELAY = 0x08;
export const NUD_PROBE = 0x10;
export const NUD_FAILED = 0x20;
export const NUD_NOARP = 0x40;
export const NUD_PERMANENT = 0x80;

// ndmsg.ndm_flags
export const NTF_SELF = 1 << 1;
const NTF_PROXY = 1 << 3;
export const NTF_EXT_LEARNED = 1 << 4;
export const NTF_ROUTER = 1 << 7;

// NDA_FLAGS_EXT
/** Of a bridge's entry, from Linux 6.2 on: the bridge knows the MAC but does not accept its frames yet (MAB). */
export const NTF_EXT_LOCKED = 1 << 1;
/** Linux 6.17 and later: neither garbage collection nor loss of carrier deletes the entry. */
export const NTF_EXT_EXT_VALIDATED = 1 << 2;

export interface Neighbor {
  readonly ifIndex: IfIndex;
  readonly ip: IpAddress;
  /** Undefined while there is none (INCOMPLETE, FAILED), or when it is not an Ethernet address. */
  readonly mac: Mac | undefined;
  /** NUD_* */
  readonly state: number;
  /** NTF_* */
  readonly flags: number;
  /** NTF_EXT_* (NDA_FLAGS_EXT), 0 when the kernel has none. */
  readonly extFlags: number;
  /** NDA_PROTOCOL: the program that wrote it, 0 for the kernel. */
  readonly protocol: number;
  /** Time since it was confirmed (a write of a connected state does), and since it was written. */
  readonly confirmedMs: number;
  readonly updatedMs: number;
}

/** The data of an entry in RTM_NEWNEIGH. */
export type NeighborWrite = Omit<Neighbor, 'mac' | 'confirmedMs' | 'updatedMs'> & { readonly mac: Mac };

/** Reused for each message. */
const INDEX = new AttributeIndex(NDA_FLAGS_EXT);

/** undefined for messages that are not about neighbors: FDB entries, proxy entries, multicast. */
export function decodeNeighbor(message: Message): Neighbor | undefined {
  if (message.type !== RTM_NEWNEIGH && message.type !== RTM_DELNEIGH) return undefined;
  const { payload } = message;
  const family = readU8(payload, 0);
  if (family !== AF_INET && family !== AF_INET6) return undefined;
  const flags = readU8(payload, 10);
  if ((flags & NTF_PROXY) !== 0 || readU8(payload, 11) === RTN_MULTICAST) return undefined;
  const attributes = new Attributes(payload, NDMSG_SIZE, payload.length, INDEX);
  const ip = attributes.ip(NDA_DST, family);
  if (ip === undefined) return undefined;
  return {
    ifIndex: readI32(payload, 4) as IfIndex,
    ip,
    mac: attributes.mac(NDA_LLADDR),
    state: readU16(payload, 8),
    flags,
    extFlags: attributes.u32(NDA_FLAGS_EXT) ?? 0,
    protocol: attributes.u8(NDA_PROTOCOL) ?? 0,
    confirmedMs: (attributes.u32(NDA_CACHEINFO, 0) ?? 0) * CLOCK_TICK_MS,
    updatedMs: (attributes.u32(NDA_CACHEINFO, 8) ?? 0) * CLOCK_TICK_MS,
  };
}

/** With `device` the kernel leaves out those of other devices. */
export function neighborDump(family: Family, device?: IfIndex): Request {
  const writer = new PayloadWriter(NDMSG_SIZE + 8);
  // With NETLINK_GET_STRICT_CHK the rest of the structure must be zero; the device is an attribute.
  writeU8(writer.structure(NDMSG_SIZE), 0, family);
  if (device !== undefined) writer.u32(NDA_IFINDEX, device);
  return { type: RTM_GETNEIGH, flags: 0, payload: writer.finish() };
}

/** Neighbors of a family, of all devices or of one. */
export function dumpNeighbors(socket: NetlinkSocket, family: Family, device?: IfIndex): Neighbor[] {
  return socket.dump(neighborDump(family, device), 'neighbors', (message) => {
    const neighbor = decodeNeighbor(message);
    // Kernels before 5.0 ignore the filter.
    return device === undefined || neighbor?.ifIndex === device ? neighbor : undefined;
  });
}

/** An address on a device. */
export type NeighborKey = Pick<Neighbor, 'ifIndex' | 'ip'>;

/**
 * The neighbors of these addresses, of those that have one: a request for each, hundreds in a datagram (neigh_get). A device
 * that is deleted meanwhile has none.
 */
export function lookUpNeighbors(
  socket: Pick<NetlinkSocket, 'lookUp'>,
  keys: Iterable<NeighborKey>,
): Neighbor[] {
  return lookUpAll(socket, encodeGets(keys), 'neighbors', decodeNeighbor, ['ENOENT', 'ENODEV']);
}

function* encodeGets(keys: Iterable<NeighborKey>): Generator<Request> {
  for (const { ifIndex, ip } of keys) {
    yield { type: RTM_GETNEIGH, flags: 0, payload: encodeKey(ifIndex, ip), answered: true };
  }
}

/** Length of an attribute in a message: header and padded payload. */
const attributeSize = (length: number): number => align(RTA_HDRLEN + length);
const MAC_LENGTH = 6;

/** A change of a neighbor. */
export type NeighborRequest =
  /** `create`: EEXIST when there is an entry. `replace`: creates or overwrites it. */
  | { readonly kind: 'create' | 'replace'; readonly entry: NeighborWrite }
  /** ENOENT when there is none. */
  | { readonly kind: 'delete'; readonly ifIndex: IfIndex; readonly ip: IpAddress };

/** Sends the requests in order, as NetlinkSocket.batch() does: one result for each. */
export function changeNeighbors(
  socket: Pick<NetlinkSocket, 'batch'>,
  requests: Iterable<NeighborRequest>,
): Result[] {
  return socket.batch(encodeAll(requests));
}

function* encodeAll(requests: Iterable<NeighborRequest>): Generator<Request> {
  const encoder = new PutEncoder();
  for (const request of requests) {
    switch (request.kind) {
      case 'create':
      case 'replace':
        yield encoder.encode(request.entry, request.kind);
        break;
      case 'delete':
        yield encodeDelete(request.ifIndex, request.ip);
        break;
      default:
        request satisfies never;
    }
  }
}

/**
 * Encodes each entry into the bytes of the previous one, so that tens of thousands cost no memory.
 * NetlinkSocket.batch() copies a request before it takes the next; the bytes are used nowhere else.
 */
class PutEncoder {
  /** Payloads by length, which determines the attributes in them: their headers are written only once. */
  readonly #payloads = new Map<number, Uint8Array>();

  encode(entry: NeighborWrite, mode: 'create' | 'replace'): Request {
    const family = familyOf(entry.ip);
    const macAt = NDMSG_SIZE + attributeSize(addressLength(family));
    const protocolAt = macAt + attributeSize(MAC_LENGTH);
    const extFlagsAt = protocolAt + attributeSize(1);
    const end = entry.extFlags === 0 ? extFlagsAt : extFlagsAt + attributeSize(4);
    let payload = this.#payloads.get(end);
    if (payload === undefined) {
      payload = new Uint8Array(end);
      writeU8(payload, 0, family);
      writeAttributeHeader(payload, NDMSG_SIZE, NDA_DST, addressLength(family));
      writeAttributeHeader(payload, macAt, NDA_LLADDR, MAC_LENGTH);
      writeAttributeHeader(payload, protocolAt, NDA_PROTOCOL, 1);
      if (end > extFlagsAt) writeAttributeHeader(payload, extFlagsAt, NDA_FLAGS_EXT, 4);
      this.#payloads.set(end, payload);
    }
    writeU32(payload, 4, entry.ifIndex);
    writeU16(payload, 8, entry.state);
    writeU8(payload, 10, entry.flags);
    writeIp(entry.ip, payload, NDMSG_SIZE + RTA_HDRLEN);
    encodeMac(entry.mac, payload, macAt + RTA_HDRLEN);
    writeU8(payload, protocolAt + RTA_HDRLEN, entry.protocol);
    if (end > extFlagsAt) writeU32(payload, extFlagsAt + RTA_HDRLEN, entry.extFlags);
    const flags = NLM_F_CREATE | (mode === 'create' ? NLM_F_EXCL : NLM_F_REPLACE);
    return { type: RTM_NEWNEIGH, flags, payload };
  }
}

function encodeDelete(ifIndex: IfIndex, ip: IpAddress): Request {
  return { type: RTM_DELNEIGH, flags: 0, payload: encodeKey(ifIndex, ip) };
}

/** The payload of a request about one neighbor. */
function encodeKey(ifIndex: IfIndex, ip: IpAddress): Uint8Array {
  const length = addressLength(familyOf(ip));
  const writer = new PayloadWriter(NDMSG_SIZE + attributeSize(length));
  const header = writer.structure(NDMSG_SIZE);
  writeU8(header, 0, familyOf(ip));
  writeU32(header, 4, ifIndex);
  writer.fill(NDA_DST, length, (bytes, offset) => writeIp(ip, bytes, offset));
  return writer.finish();
}
