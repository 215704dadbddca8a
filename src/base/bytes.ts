// Bounds-checked integers in bytes: host order, and `be` for network order.

import { malformed, type SnoopyError } from './errors.ts';

const HOST_IS_LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

/** Throws `malformed` unless `bytes` has `length` bytes from `offset` on. */
export function requireBytes(bytes: Uint8Array, offset: number, length: number): void {
  if (offset < 0 || length < 0 || offset + length > bytes.length) throw cutShort(bytes, offset, length);
}

function cutShort(bytes: Uint8Array, offset: number, length: number): SnoopyError {
  return malformed('bytes', `read ${length} bytes at offset ${offset}`, `there are ${bytes.length}`);
}

// Nearly every integer of a run is read here, often before V8 has compiled the caller, so each saved call counts.
// A read outside of a typed array returns undefined.

export function readU8(bytes: Uint8Array, offset: number): number {
  const value = bytes[offset];
  if (value === undefined) throw cutShort(bytes, offset, 1);
  return value;
}

export function readU16(bytes: Uint8Array, offset: number): number {
  const first = bytes[offset];
  const second = bytes[offset + 1];
  if (first === undefined || second === undefined) throw cutShort(bytes, offset, 2);
  return HOST_IS_LITTLE_ENDIAN ? first | (second << 8) : (first << 8) | second;
}

export function readBe16(bytes: Uint8Array, offset: number): number {
  const first = bytes[offset];
  const second = bytes[offset + 1];
  if (first === undefined || second === undefined) throw cutShort(bytes, offset, 2);
  return (first << 8) | second;
}

export function readU32(bytes: Uint8Array, offset: number): number {
  const a = bytes[offset];
  const d = bytes[offset + 3];
  if (a === undefined || d === undefined) throw cutShort(bytes, offset, 4);
  const b = bytes[offset + 1] ?? 0;
  const c = bytes[offset + 2] ?? 0;
  return (
    (HOST_IS_LITTLE_ENDIAN ? a | (b << 8) | (c << 16) | (d << 24) : (a << 24) | (b << 16) | (c << 8) | d) >>>
    0
  );
}

export function readI32(bytes: Uint8Array, offset: number): number {
  return readU32(bytes, offset) | 0;
}

export function readU64(bytes: Uint8Array, offset: number): bigint {
  const first = BigInt(readU32(bytes, offset));
  const second = BigInt(readU32(bytes, offset + 4));
  return HOST_IS_LITTLE_ENDIAN ? first | (second << 32n) : (first << 32n) | second;
}

/** A u64 as a number: exact up to 2^53, rounded above. */
export function readU64AsNumber(bytes: Uint8Array, offset: number): number {
  const first = readU32(bytes, offset);
  const second = readU32(bytes, offset + 4);
  return HOST_IS_LITTLE_ENDIAN ? first + second * 2 ** 32 : first * 2 ** 32 + second;
}

export function writeU8(bytes: Uint8Array, offset: number, value: number): void {
  requireBytes(bytes, offset, 1);
  bytes[offset] = value;
}

export function writeU16(bytes: Uint8Array, offset: number, value: number): void {
  requireBytes(bytes, offset, 2);
  bytes[offset] = HOST_IS_LITTLE_ENDIAN ? value : value >> 8;
  bytes[offset + 1] = HOST_IS_LITTLE_ENDIAN ? value >> 8 : value;
}

export function writeBe16(bytes: Uint8Array, offset: number, value: number): void {
  requireBytes(bytes, offset, 2);
  bytes[offset] = value >> 8;
  bytes[offset + 1] = value;
}

export function writeU32(bytes: Uint8Array, offset: number, value: number): void {
  requireBytes(bytes, offset, 4);
  bytes[offset] = HOST_IS_LITTLE_ENDIAN ? value : value >> 24;
  bytes[offset + 1] = HOST_IS_LITTLE_ENDIAN ? value >> 8 : value >> 16;
  bytes[offset + 2] = HOST_IS_LITTLE_ENDIAN ? value >> 16 : value >> 8;
  bytes[offset + 3] = HOST_IS_LITTLE_ENDIAN ? value >> 24 : value;
}

export function writeU64(bytes: Uint8Array, offset: number, value: bigint): void {
  const low = Number(value & 0xffffffffn);
  const high = Number((value >> 32n) & 0xffffffffn);
  writeU32(bytes, offset, HOST_IS_LITTLE_ENDIAN ? low : high);
  writeU32(bytes, offset + 4, HOST_IS_LITTLE_ENDIAN ? high : low);
}

/** The text before the first NUL within `length` bytes. */
export function readText(bytes: Uint8Array, offset: number, length: number): string {
  requireBytes(bytes, offset, length);
  let end = offset;
  while (end < offset + length && bytes[end] !== 0) end++;
  let text = '';
  for (let i = offset; i < end; i++) {
    const byte = bytes[i] ?? 0;
    if (byte >= 0x80) return new TextDecoder().decode(bytes.subarray(offset, end));
    text += String.fromCharCode(byte);
  }
  return text;
}

/** Two hex digits for each byte. */
export function formatHex(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += byte.toString(16).padStart(2, '0');
  return text;
}
