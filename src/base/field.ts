// Fields of C structures, at offsets that the build generates. Each reader takes only fields of its own width.

import { decodeMac, encodeMac, type IfIndex, type Mac } from './address.ts';
import {
  readU8,
  readU16,
  readU32,
  readU64AsNumber,
  requireBytes,
  writeU8,
  writeU16,
  writeU32,
  writeU64,
} from './bytes.ts';

/** Offset of a field in its structure. `Kind` is its C type: `u32`, `u8[6]`, or the name of a structure. */
export type Field<Kind extends string> = number & { readonly __kind: Kind };

// `at` is where the structure begins. All throw SnoopyError `malformed` when the bytes end before the field does.

export function getU8(bytes: Uint8Array, at: number, field: Field<'u8'>): number {
  return readU8(bytes, at + field);
}

export function getU16(bytes: Uint8Array, at: number, field: Field<'u16'>): number {
  return readU16(bytes, at + field);
}

export function getU32(bytes: Uint8Array, at: number, field: Field<'u32'>): number {
  return readU32(bytes, at + field);
}

/** An ifindex; 0 when the structure has none. */
export function getIfIndex(bytes: Uint8Array, at: number, field: Field<'u32'>): IfIndex {
  return readU32(bytes, at + field) as IfIndex;
}

/** Exact up to 2^53, rounded above. */
export function getU64(bytes: Uint8Array, at: number, field: Field<'u64'>): number {
  return readU64AsNumber(bytes, at + field);
}

export function getMac(bytes: Uint8Array, at: number, field: Field<'u8[6]'>): Mac {
  return decodeMac(bytes, at + field);
}

export function setU8(bytes: Uint8Array, at: number, field: Field<'u8'>, value: number): void {
  writeU8(bytes, at + field, value);
}

export function setU16(bytes: Uint8Array, at: number, field: Field<'u16'>, value: number): void {
  writeU16(bytes, at + field, value);
}

export function setU32(bytes: Uint8Array, at: number, field: Field<'u32'>, value: number): void {
  writeU32(bytes, at + field, value);
}

export function setU64(bytes: Uint8Array, at: number, field: Field<'u64'>, value: bigint): void {
  writeU64(bytes, at + field, value);
}

export function setMac(bytes: Uint8Array, at: number, field: Field<'u8[6]'>, mac: Mac): void {
  requireBytes(bytes, at + field, 6);
  encodeMac(mac, bytes, at + field);
}
