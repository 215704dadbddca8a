// The frames that are sent: probes, which are a unicast ARP request (RFC 826) or Neighbor Solicitation (RFC 4861, 4.3),
// and announcements, which are a gratuitous ARP (RFC 5227, section 3) or an unsolicited Neighbor Advertisement (7.2.6).

import { AF_INET, encodeIp, encodeMac, familyOf, type IpAddress, type Mac } from '../base/address.ts';

/** The addresses of a request: its sender, and the MAC that is probed for an address. */
export interface ProbeMessage {
  readonly sourceMac: Mac;
  /** Null stands for 0.0.0.0, an ARP Probe (RFC 5227, section 2.1.1). Only for IPv4. */
  readonly sourceIp: IpAddress | null;
  readonly targetMac: Mac;
  readonly targetIp: IpAddress;
  /** VLAN ID of an 802.1Q tag; null: none. */
  readonly tag: number | null;
}

/** What is announced to all hosts of a port: the MAC that has an address. */
export interface Notice {
  readonly ip: IpAddress;
  readonly mac: Mac;
  /** Of an IPv6 router. */
  readonly router: boolean;
  /** VLAN ID of an 802.1Q tag; null: none. */
  readonly tag: number | null;
}

const ETH_HLEN = 14;
const ETH_P_ARP = 0x0806;
const ETH_P_8021Q = 0x8100;
const ETH_P_IPV6 = 0x86dd;
/** Minimum length of an Ethernet frame without its checksum. */
const ETH_ZLEN = 60;

const ARP_LENGTH = 28;
const IPV6_LENGTH = 40;
/** A solicitation or an advertisement, with its link-layer option. */
const MESSAGE_LENGTH = 24 + 8;
const IPPROTO_ICMPV6 = 58;
const ND_NEIGHBOR_SOLICIT = 135;
const ND_NEIGHBOR_ADVERT = 136;
const ND_OPT_SOURCE_LINKADDR = 1;
const ND_OPT_TARGET_LINKADDR = 2;
// Of the byte after the checksum of an advertisement.
const ND_NA_FLAG_ROUTER = 0x80;
const ND_NA_FLAG_OVERRIDE = 0x20;

const BROADCAST = 'ff:ff:ff:ff:ff:ff' as Mac;
/** ff02::1, and the MAC of its group (RFC 2464, section 7). */
const ALL_NODES = 'ff02::1' as IpAddress;
const ALL_NODES_MAC = '33:33:00:00:00:01' as Mac;

/** The whole Ethernet frame of the request, addressed to `targetMac` alone. */
export function encodeProbe(message: ProbeMessage): Uint8Array {
  return familyOf(message.targetIp) === AF_INET ? encodeArpRequest(message) : encodeSolicitation(message);
}

/**
 * The whole Ethernet frame of an announcement. Its source is the announced MAC, so that a bridge in a guest learns the
 * direction of that MAC from it.
 */
export function encodeNotice(notice: Notice): Uint8Array {
  return familyOf(notice.ip) === AF_INET ? encodeGratuitousArp(notice) : encodeAdvertisement(notice);
}

/** The fields of the Ethernet header. */
type Addresses = Pick<ProbeMessage, 'sourceMac' | 'targetMac' | 'tag'>;

/** A frame with its Ethernet header, and a view of the bytes after it. */
function beginFrame(
  { sourceMac, targetMac, tag }: Addresses,
  protocol: number,
  length: number,
): { frame: Uint8Array; body: DataView; bytes: Uint8Array } {
  const header = ETH_HLEN + (tag === null ? 0 : 4);
  const frame = new Uint8Array(Math.max(ETH_ZLEN, header + length));
  const data = new DataView(frame.buffer);
  encodeMac(targetMac, frame, 0);
  encodeMac(sourceMac, frame, 6);
  if (tag !== null) {
    data.setUint16(12, ETH_P_8021Q);
    data.setUint16(14, tag);
  }
  data.setUint16(header - 2, protocol);
  const bytes = frame.subarray(header, header + length);
  return { frame, body: new DataView(frame.buffer, header, length), bytes };
}

function encodeArpRequest(message: ProbeMessage): Uint8Array {
  const { frame, body, bytes } = beginFrame(message, ETH_P_ARP, ARP_LENGTH);
  body.setUint16(0, 1); // Ethernet
  body.setUint16(2, 0x0800); // IPv4
  body.setUint8(4, 6);
  body.setUint8(5, 4);
  body.setUint16(6, 1); // request
  encodeMac(message.sourceMac, bytes, 8);
  if (message.sourceIp !== null) bytes.set(encodeIp(message.sourceIp), 14);
  bytes.set(encodeIp(message.targetIp), 24);
  return frame;
}

/** An ARP Announcement: a request whose sender asks for its own address. */
function encodeGratuitousArp({ ip, mac, tag }: Notice): Uint8Array {
  const addresses = { sourceMac: mac, sourceIp: ip, targetMac: BROADCAST, targetIp: ip };
  return encodeArpRequest({ ...addresses, tag });
}

/**
 * A solicitation to the solicited-node group in a unicast frame (RFC 6085). Its answer must have the MAC: one to a
 * solicitation sent to a unicast address may omit it (RFC 4861, section 7.2.4), and Linux does.
 */
function encodeSolicitation(message: ProbeMessage): Uint8Array {
  const { sourceIp, targetIp } = message;
  if (sourceIp === null)
    throw new RangeError('a solicitation without a source is Duplicate Address Detection');
  return encodeNdMessage(message, {
    type: ND_NEIGHBOR_SOLICIT,
    flags: 0,
    source: encodeIp(sourceIp),
    destination: solicitedNode(targetIp),
    target: targetIp,
    option: ND_OPT_SOURCE_LINKADDR,
  });
}

function encodeAdvertisement({ ip, mac, router, tag }: Notice): Uint8Array {
  const addresses = { sourceMac: mac, targetMac: ALL_NODES_MAC, tag };
  return encodeNdMessage(addresses, {
    type: ND_NEIGHBOR_ADVERT,
    flags: ND_NA_FLAG_OVERRIDE | (router ? ND_NA_FLAG_ROUTER : 0),
    source: encodeIp(ip),
    destination: encodeIp(ALL_NODES),
    target: ip,
    option: ND_OPT_TARGET_LINKADDR,
  });
}

/** What tells a solicitation from an advertisement. */
interface NdMessage {
  readonly type: number;
  /** The byte after the checksum. */
  readonly flags: number;
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  readonly target: IpAddress;
  /** The type of the option that has the frame's source MAC. */
  readonly option: number;
}

function encodeNdMessage(addresses: Addresses, message: NdMessage): Uint8Array {
  const { frame, body, bytes } = beginFrame(addresses, ETH_P_IPV6, IPV6_LENGTH + MESSAGE_LENGTH);
  body.setUint8(0, 6 << 4);
  body.setUint16(4, MESSAGE_LENGTH);
  body.setUint8(6, IPPROTO_ICMPV6);
  body.setUint8(7, 255);
  bytes.set(message.source, 8);
  bytes.set(message.destination, 24);
  body.setUint8(IPV6_LENGTH, message.type);
  body.setUint8(IPV6_LENGTH + 4, message.flags);
  bytes.set(encodeIp(message.target), IPV6_LENGTH + 8);
  body.setUint8(IPV6_LENGTH + 24, message.option);
  body.setUint8(IPV6_LENGTH + 25, 1);
  encodeMac(addresses.sourceMac, bytes, IPV6_LENGTH + 26);
  body.setUint16(IPV6_LENGTH + 2, checksum(body));
  return frame;
}

/** ff02::1:ff00:0/104 and the last three bytes of the address (RFC 4291, section 2.7.1). */
function solicitedNode(ip: IpAddress): Uint8Array {
  return Uint8Array.from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, ...encodeIp(ip).subarray(13)]);
}

/** RFC 4443, section 2.3: over the pseudo header of RFC 8200, section 8.1, and the message. */
function checksum(packet: DataView): number {
  let sum = MESSAGE_LENGTH + IPPROTO_ICMPV6;
  // The addresses (offset 8 to 40) and the message are adjacent.
  for (let at = 8; at < packet.byteLength; at += 2) sum += packet.getUint16(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}
