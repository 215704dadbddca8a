// MAC and IP addresses: text as the identity (lower case, RFC 5952), bytes at the kernel's edge.

import { requireBytes } from './bytes.ts';

/** A MAC address as text: lower case, colons. */
export type Mac = string & { readonly __brand: 'Mac' };
/** An IPv4 or IPv6 address as canonical text (RFC 5952 for IPv6). */
export type IpAddress = string & { readonly __brand: 'IpAddress' };
/** The kernel's number of a network interface. */
export type IfIndex = number & { readonly __brand: 'IfIndex' };

export const AF_UNSPEC = 0;
export const AF_INET = 2;
export const AF_BRIDGE = 7;
export const AF_INET6 = 10;

export type Family = typeof AF_INET | typeof AF_INET6;

/** An IP prefix: `ip` has no bits set behind `length`. */
export interface Prefix {
  readonly ip: IpAddress;
  /** Bits, 0 to 32 or 128. */
  readonly length: number;
}

/** Every byte as text, decimal. */
const DECIMAL: readonly string[] = Array.from({ length: 256 }, (_, byte) => String(byte));

function decimal(byte: number | undefined): string {
  return DECIMAL[byte ?? 0] ?? '0';
}

/** The character code of a hex digit. */
function hexDigit(value: number): number {
  return value < 10 ? 0x30 + value : 0x57 + value;
}

const COLON = 0x3a;

/** The all-zero MAC. In kernel structures it stands for none. */
export const NO_MAC = '00:00:00:00:00:00' as Mac;

/**
 * The MAC at `offset` of `bytes`. Throws SnoopyError `malformed` when fewer than six bytes are left. The string is made
 * from all its characters at once: joining pieces for tens of thousands of MACs would be the slowest part of a run.
 */
export function decodeMac(bytes: Uint8Array, offset: number): Mac {
  requireBytes(bytes, offset, 6);
  const a = bytes[offset] ?? 0;
  const b = bytes[offset + 1] ?? 0;
  const c = bytes[offset + 2] ?? 0;
  const d = bytes[offset + 3] ?? 0;
  const e = bytes[offset + 4] ?? 0;
  const f = bytes[offset + 5] ?? 0;
  return String.fromCharCode(
    hexDigit(a >> 4),
    hexDigit(a & 15),
    COLON,
    hexDigit(b >> 4),
    hexDigit(b & 15),
    COLON,
    hexDigit(c >> 4),
    hexDigit(c & 15),
    COLON,
    hexDigit(d >> 4),
    hexDigit(d & 15),
    COLON,
    hexDigit(e >> 4),
    hexDigit(e & 15),
    COLON,
    hexDigit(f >> 4),
    hexDigit(f & 15),
  ) as Mac;
}

/** Writes a MAC to `bytes` at `offset`. */
export function encodeMac(mac: Mac, bytes: Uint8Array, offset: number): void {
  for (let i = 0; i < 6; i++) {
    bytes[offset + i] = (nibble(mac.charCodeAt(i * 3)) << 4) | nibble(mac.charCodeAt(i * 3 + 1));
  }
}

/** The value of a hex digit, given as its character code. */
function nibble(code: number): number {
  return code <= 0x39 ? code - 0x30 : (code | 0x20) - 0x57;
}

/** Parses a MAC with colons or dashes, in upper or lower case; undefined when the text is not a MAC. */
export function parseMac(text: string): Mac | undefined {
  const lower = text.toLowerCase().replaceAll('-', ':');
  return /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(lower) ? (lower as Mac) : undefined;
}

/** True for a MAC that a host can have: not zero, and without the group bit (IEEE 802, I/G). */
export function isUnicastMac(mac: Mac): boolean {
  return mac !== '00:00:00:00:00:00' && (Number.parseInt(mac.slice(0, 2), 16) & 1) === 0;
}

export function familyOf(ip: IpAddress): Family {
  return ip.includes(':') ? AF_INET6 : AF_INET;
}

/** Length of an address in bytes. */
export function addressLength(family: Family): 4 | 16 {
  return family === AF_INET ? 4 : 16;
}

/** The address at `offset` of `bytes`. Throws SnoopyError `malformed` when too few bytes are left. */
export function decodeIp(bytes: Uint8Array, offset: number, family: Family): IpAddress {
  requireBytes(bytes, offset, addressLength(family));
  return family === AF_INET ? formatIpv4(bytes, offset) : formatIpv6(bytes, offset);
}

function formatIpv4(bytes: Uint8Array, offset: number): IpAddress {
  return (decimal(bytes[offset]) +
    '.' +
    decimal(bytes[offset + 1]) +
    '.' +
    decimal(bytes[offset + 2]) +
    '.' +
    decimal(bytes[offset + 3])) as IpAddress;
}

/** RFC 5952: lower case, no leading zeroes, the first longest run of two or more zero groups as `::`. */
function formatIpv6(bytes: Uint8Array, offset: number): IpAddress {
  const groups: number[] = [];
  for (let i = 0; i < 16; i += 2) groups.push(((bytes[offset + i] ?? 0) << 8) | (bytes[offset + i + 1] ?? 0));
  let bestStart = -1;
  let bestLength = 1;
  for (let i = 0; i < 8; i++) {
    let length = 0;
    while (i + length < 8 && groups[i + length] === 0) length++;
    if (length > bestLength) {
      bestStart = i;
      bestLength = length;
    }
    i += length;
  }
  // RFC 5952, section 5: an IPv4-mapped address keeps its dotted part.
  if (bestStart === 0 && bestLength === 5 && groups[5] === 0xffff) {
    return `::ffff:${formatIpv4(bytes, offset + 12)}` as IpAddress;
  }
  let text = '';
  for (let i = 0; i < 8; i++) {
    if (i === bestStart) {
      text += '::';
      i += bestLength - 1;
    } else {
      if (text !== '' && !text.endsWith(':')) text += ':';
      text += (groups[i] ?? 0).toString(16);
    }
  }
  return text as IpAddress;
}

/** The address as bytes: 4 or 16 of them, network order. */
export function encodeIp(ip: IpAddress): Uint8Array {
  const bytes = new Uint8Array(addressLength(familyOf(ip)));
  writeIp(ip, bytes, 0);
  return bytes;
}

/** Writes the 4 or 16 bytes of an address to `bytes` at `offset`. */
export function writeIp(ip: IpAddress, bytes: Uint8Array, offset: number): void {
  if (familyOf(ip) === AF_INET) writeIpv4(ip, bytes, offset);
  else writeIpv6(ip, bytes, offset);
}

function writeIpv4(text: string, bytes: Uint8Array, offset: number): void {
  let value = 0;
  let at = offset;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x2e) {
      bytes[at++] = value;
      value = 0;
    } else {
      value = value * 10 + code - 0x30;
    }
  }
  bytes[at] = value;
}

function writeIpv6(text: string, bytes: Uint8Array, offset: number): void {
  let at = offset;
  let gap = -1;
  let value = 0;
  let start = 0;
  for (let i = 0; i <= text.length; i++) {
    const code = i < text.length ? text.charCodeAt(i) : 0x3a;
    if (code === 0x3a) {
      if (i > start) {
        bytes[at++] = value >> 8;
        bytes[at++] = value & 0xff;
        value = 0;
      } else if (i > 0 && i < text.length) {
        gap = at;
      }
      start = i + 1;
    } else if (code === 0x2e) {
      writeIpv4(text.slice(start), bytes, at);
      at += 4;
      break;
    } else {
      value = (value << 4) | nibble(code);
    }
  }
  if (gap >= 0) {
    // The groups after `::` go to the end.
    const end = offset + 16;
    bytes.copyWithin(end - (at - gap), gap, at);
    bytes.fill(0, gap, end - (at - gap));
  }
}

/** Parses any spelling of an address, without zone or prefix length; undefined when the text is not an address. */
export function parseIp(text: string): IpAddress | undefined {
  if (/^(\d{1,3})(\.\d{1,3}){3}$/.test(text)) {
    const parts = text.split('.');
    const valid = parts.every((part) => Number(part) <= 255 && (part === '0' || !part.startsWith('0')));
    return valid ? (text as IpAddress) : undefined;
  }
  if (!isIpv6Text(text)) return undefined;
  const bytes = new Uint8Array(16);
  writeIpv6(text, bytes, 0);
  return formatIpv6(bytes, 0);
}

function isIpv6Text(text: string): boolean {
  if (!/^[0-9a-fA-F:.]{2,45}$/.test(text) || !text.includes(':')) return false;
  const halves = text.split('::');
  if (halves.length > 2) return false;
  let groups = 0;
  for (const [index, half] of halves.entries()) {
    if (half === '') {
      if (halves.length === 1) return false;
      continue;
    }
    const parts = half.split(':');
    for (const [at, part] of parts.entries()) {
      const isLast = index === halves.length - 1 && at === parts.length - 1;
      if (part.includes('.')) {
        if (!isLast || parseIp(part) === undefined) return false;
        groups += 2;
      } else {
        if (!/^[0-9a-fA-F]{1,4}$/.test(part)) return false;
        groups += 1;
      }
    }
  }
  return halves.length === 2 ? groups <= 7 : groups === 8;
}

/** Parses a prefix such as `10.0.0.0/8` and clears its host bits; undefined when the text is not a prefix. */
export function parsePrefix(text: string): Prefix | undefined {
  const [address = '', bits = '', rest] = text.split('/');
  const ip = parseIp(address);
  if (ip === undefined || rest !== undefined || !/^\d{1,3}$/.test(bits)) return undefined;
  const length = Number(bits);
  return length > addressLength(familyOf(ip)) * 8 ? undefined : prefixOf(ip, length);
}

/** The prefix of `length` bits that contains `ip`. */
export function prefixOf(ip: IpAddress, length: number): Prefix {
  const bytes = encodeIp(ip);
  for (let i = 0; i < bytes.length; i++) {
    const keep = Math.min(8, Math.max(0, length - i * 8));
    bytes[i] = (bytes[i] ?? 0) & (0xff << (8 - keep));
  }
  return { ip: decodeIp(bytes, 0, familyOf(ip)), length };
}

const SUBJECT = new Uint8Array(16);
const NETWORK = new Uint8Array(16);

/** True when `ip` lies within `prefix`. */
export function contains({ ip: network, length }: Prefix, ip: IpAddress): boolean {
  if (familyOf(network) !== familyOf(ip)) return false;
  writeIp(network, NETWORK, 0);
  writeIp(ip, SUBJECT, 0);
  for (let i = 0; i * 8 < length; i++) {
    const mask = 0xff << Math.max(0, (i + 1) * 8 - length);
    if ((((NETWORK[i] ?? 0) ^ (SUBJECT[i] ?? 0)) & mask & 0xff) !== 0) return false;
  }
  return true;
}

export function formatPrefix(prefix: Prefix): string {
  return `${prefix.ip}/${prefix.length}`;
}

/** fe80::/10 (RFC 4291, 2.5.6) and 169.254.0.0/16 (RFC 3927). */
export function isLinkLocal(ip: IpAddress): boolean {
  // The first character rules out nearly every address.
  if (ip[0] === '1') return ip.startsWith('169.254.');
  return ip[0] === 'f' && /^fe[89ab][0-9a-f]:/.test(ip);
}

/** The link-local address that a MAC gives: fe80::/64 and its modified EUI-64 (RFC 4291, appendix A). */
export function linkLocalOf(mac: Mac): IpAddress {
  const bytes = new Uint8Array(16);
  bytes.set([0xfe, 0x80]);
  encodeMac(mac, bytes, 8);
  bytes.copyWithin(13, 11, 14);
  bytes.set([(bytes[8] ?? 0) ^ 0x02], 8);
  bytes.set([0xff, 0xfe], 11);
  return decodeIp(bytes, 0, AF_INET6);
}

/** True for the MAC of a virtual router, 00:00:5e:00:01:xx or 00:00:5e:00:02:xx (RFC 9568, section 7.3), as CARP has it too. */
export function isVirtualRouter(mac: Mac): boolean {
  return mac.startsWith('00:00:5e:00:01:') || mac.startsWith('00:00:5e:00:02:');
}
