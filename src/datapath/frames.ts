// The two frames that are ever sent: a unicast ARP request (RFC 826) and Neighbor Solicitation (RFC 4861, 4.3).

import { AF_INET, encodeIp, encodeMac, familyOf, type IpAddress, type Mac } from '../base/address.ts';

/** The addresses of a request: its sender, and the MAC that is probed for an address. */
export interface Question {
  readonly sourceMac: Mac;
  /** Null stands for 0.0.0.0, an ARP Probe (RFC 5227, section 2.1.1). Only for IPv4. */
  readonly sourceIp: IpAddress | null;
  readonly targetMac: Mac;
  readonly targetIp: IpAddress;
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
/** The solicitation and its source link-layer option. */
const SOLICITATION_LENGTH = 24 + 8;
const IPPROTO_ICMPV6 = 58;
const ND_NEIGHBOR_SOLICIT = 135;
const ND_OPT_SOURCE_LINKADDR = 1;

/** The whole Ethernet frame of the request, addressed to `targetMac` alone. */
export function encodeQuestion(question: Question): Uint8Array {
  return familyOf(question.targetIp) === AF_INET ? encodeArpRequest(question) : encodeSolicitation(question);
}

/** A frame with its Ethernet header, and a view of the bytes after it. */
function beginFrame(
  { sourceMac, targetMac, tag }: Question,
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

function encodeArpRequest(question: Question): Uint8Array {
  const { frame, body, bytes } = beginFrame(question, ETH_P_ARP, ARP_LENGTH);
  body.setUint16(0, 1); // Ethernet
  body.setUint16(2, 0x0800); // IPv4
  body.setUint8(4, 6);
  body.setUint8(5, 4);
  body.setUint16(6, 1); // request
  encodeMac(question.sourceMac, bytes, 8);
  if (question.sourceIp !== null) bytes.set(encodeIp(question.sourceIp), 14);
  bytes.set(encodeIp(question.targetIp), 24);
  return frame;
}

/**
 * A solicitation to the solicited-node group in a unicast frame (RFC 6085). Its answer must have the MAC: one to a
 * solicitation sent to a unicast address may omit it (RFC 4861, section 7.2.4), and Linux does.
 */
function encodeSolicitation(question: Question): Uint8Array {
  const { sourceMac, sourceIp, targetIp } = question;
  if (sourceIp === null)
    throw new RangeError('a solicitation without a source is Duplicate Address Detection');
  const { frame, body, bytes } = beginFrame(question, ETH_P_IPV6, IPV6_LENGTH + SOLICITATION_LENGTH);
  body.setUint8(0, 6 << 4);
  body.setUint16(4, SOLICITATION_LENGTH);
  body.setUint8(6, IPPROTO_ICMPV6);
  body.setUint8(7, 255);
  bytes.set(encodeIp(sourceIp), 8);
  bytes.set(solicitedNode(targetIp), 24);
  body.setUint8(IPV6_LENGTH, ND_NEIGHBOR_SOLICIT);
  bytes.set(encodeIp(targetIp), IPV6_LENGTH + 8);
  body.setUint8(IPV6_LENGTH + 24, ND_OPT_SOURCE_LINKADDR);
  body.setUint8(IPV6_LENGTH + 25, 1);
  encodeMac(sourceMac, bytes, IPV6_LENGTH + 26);
  body.setUint16(IPV6_LENGTH + 2, checksum(body));
  return frame;
}

/** ff02::1:ff00:0/104 and the last three bytes of the address (RFC 4291, section 2.7.1). */
function solicitedNode(ip: IpAddress): Uint8Array {
  return Uint8Array.from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, ...encodeIp(ip).subarray(13)]);
}

/** RFC 4443, section 2.3: over the pseudo header of RFC 8200, section 8.1, and the message. */
function checksum(packet: DataView): number {
  let sum = SOLICITATION_LENGTH + IPPROTO_ICMPV6;
  // The addresses (offset 8 to 40) and the message are adjacent.
  for (let at = 8; at < packet.byteLength; at += 2) sum += packet.getUint16(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}
