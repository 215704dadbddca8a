// Times and durations: the program counts nanoseconds, user space milliseconds.

import { readU64AsNumber } from '../../base/bytes.ts';
import { type Field, setU64 } from '../../base/field.ts';

const NS_PER_MS = 1e6;

/** A field of nanoseconds, in milliseconds. */
export function getMs(bytes: Uint8Array, at: number, field: Field<'u64'>): number {
  return readU64AsNumber(bytes, at + field) / NS_PER_MS;
}

/** Writes whole milliseconds, rounded down: a time never becomes later by being written and read. */
export function setMs(bytes: Uint8Array, at: number, field: Field<'u64'>, ms: number): void {
  setU64(bytes, at, field, BigInt(Math.floor(ms)) * 1_000_000n);
}
