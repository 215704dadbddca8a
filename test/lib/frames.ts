// Ethernet frames as bytes, and a sender for them, including frames that no well-behaved host sends.
import { inNetns, sendRaw } from './libc.ts';
import type { Netns } from './netns.ts';

/** Local experimental EtherType (IEEE 802), for frames that only show that they got through. */
export const ETH_P_MARKER = 0x88b5;

const BROADCAST = 'ff:ff:ff:ff:ff:ff';
const ETH_P_ARP = 0x0806;
const ETH_P_IPV6 = 0x86dd;

export interface ArpFields {
  readonly operation: 'request' | 'reply';
  readonly senderMac: string;
  readonly senderIp: string;
  readonly targetIp: string;
  readonly targetMac?: string;
  /** Ethernet source; the sender's MAC by default. */
  readonly source?: string;
  readonly destination?: string;
}

/** An ARP message (RFC 826) for IPv4 on Ethernet. */
export function arpFrame(arp: ArpFields): Buffer {
  return Buffer.concat([
    ethernet(arp.destination ?? BROADCAST, arp.source ?? arp.senderMac, ETH_P_ARP),
    Buffer.from([0, 1, 8, 0, 6, 4, 0, arp.operation === 'request' ? 1 : 2]),
    mac(arp.senderMac),
    ipv4(arp.senderIp),
    mac(arp.targetMac ?? '00:00:00:00:00:00'),
    ipv4(arp.targetIp),
  ]);
}

/** What qemu sends for a guest that it has moved: a reverse ARP request for its own MAC (RFC 903), without an address. */
export function rarpFrame(address: string): Buffer {
  const body = Buffer.concat([mac(address), Buffer.alloc(4), mac(address), Buffer.alloc(4 + 18)]);
  return Buffer.concat([ethernet(BROADCAST, address, 0x8035), Buffer.from([0, 1, 8, 0, 6, 4, 0, 3]), body]);
}

export interface NaFields {
  readonly target: string;
  /** The target link-layer address option; null leaves it out. */
  readonly targetMac: string | null;
  readonly source?: string;
  readonly sourceIp?: string;
  readonly destination?: string;
  readonly destinationIp?: string;
  readonly router?: boolean;
  readonly solicited?: boolean;
  readonly override?: boolean;
  readonly hopLimit?: number;
}

/** A Neighbor Advertisement (RFC 4861, section 4.4); unsolicited to all nodes by default. */
export function naFrame(na: NaFields): Buffer {
  const flags =
    (na.router === true ? 0x80 : 0) | (na.solicited === true ? 0x40 : 0) | (na.override === false ? 0 : 0x20);
  const option =
    na.targetMac === null ? Buffer.alloc(0) : Buffer.concat([Buffer.from([2, 1]), mac(na.targetMac)]);
  const message = Buffer.concat([Buffer.from([136, 0, 0, 0, flags, 0, 0, 0]), ipv6(na.target), option]);
  const from = na.source ?? na.targetMac ?? '00:00:00:00:00:00';
  return Buffer.concat([
    ethernet(na.destination ?? '33:33:00:00:00:01', from, ETH_P_IPV6),
    icmpv6(na.sourceIp ?? na.target, na.destinationIp ?? 'ff02::1', message, na.hopLimit),
  ]);
}

/** A Neighbor Solicitation with its source's link-layer address (RFC 4861, section 4.3), to all nodes. */
export function nsFrame(ns: {
  readonly source: string;
  readonly sourceMac: string;
  readonly target: string;
}): Buffer {
  const option = Buffer.concat([Buffer.from([1, 1]), mac(ns.sourceMac)]);
  const message = Buffer.concat([Buffer.from([135, 0, 0, 0, 0, 0, 0, 0]), ipv6(ns.target), option]);
  return Buffer.concat([
    ethernet('33:33:00:00:00:01', ns.sourceMac, ETH_P_IPV6),
    icmpv6(ns.source, 'ff02::1', message),
  ]);
}

/** An IPv6 packet with an ICMPv6 message, whose checksum it sets. */
function icmpv6(from: string, to: string, message: Buffer, hopLimit = 255): Buffer {
  const source = ipv6(from);
  const destination = ipv6(to);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(message.length);
  const pseudo = Buffer.concat([source, destination, length, Buffer.from([0, 0, 0, 58])]);
  message.writeUInt16BE(internetChecksum(Buffer.concat([pseudo, message])), 2);
  const header = Buffer.from([0x60, 0, 0, 0, 0, 0, 58, hopLimit]);
  header.writeUInt16BE(message.length, 4);
  return Buffer.concat([header, source, destination, message]);
}

/** A frame that only shows that every frame before it has passed. */
export function markerFrame(source: string, destination = BROADCAST): Buffer {
  return Buffer.concat([ethernet(destination, source, ETH_P_MARKER), Buffer.alloc(46)]);
}

/** Sends frames unchanged, in this order, out of a device of a namespace. */
export function sendFrames(netns: Netns, device: string, frames: readonly Buffer[]): void {
  inNetns(netns.path, () => sendRaw(device, frames));
}

/** Sends one frame given as a scapy expression: an encoder that is not ours. */
export function sendScapy(netns: Netns, device: string, expression: string): void {
  netns.run(
    '/usr/bin/python3',
    '-c',
    `from scapy.all import *\nsendp(${expression}, iface='${device}', verbose=False)`,
  );
}

function ethernet(destination: string, source: string, type: number): Buffer {
  return Buffer.concat([mac(destination), mac(source), Buffer.from([type >> 8, type & 0xff])]);
}

function mac(text: string): Buffer {
  return Buffer.from(text.replaceAll(':', ''), 'hex');
}

function ipv4(text: string): Buffer {
  return Buffer.from(text.split('.').map(Number));
}

function ipv6(text: string): Buffer {
  const [head = '', tail = ''] = text.split('::');
  const left = head.split(':').filter(Boolean);
  const right = tail.split(':').filter(Boolean);
  const zeroes = Array.from({ length: 8 - left.length - right.length }, () => '0');
  return Buffer.from([...left, ...zeroes, ...right].map((group) => group.padStart(4, '0')).join(''), 'hex');
}

/** RFC 1071. */
function internetChecksum(bytes: Buffer): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
