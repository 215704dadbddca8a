// A digest of a set of addresses: equal sets have equal digests, in whatever order their entries come. Pure.

import type { IpAddress, Mac } from '../base/address.ts';

/** What is compared of an entry. */
export interface Pair {
  readonly ip: IpAddress;
  readonly mac: Mac;
}

const FNV_OFFSET = 0x811c9dc5;
const FNV_PRIME = 0x01000193;
/** Another odd multiplier, for the second half. */
const OTHER_PRIME = 0x2c1b3c6d;

/** Two sums of 32 bits. */
interface Sum {
  readonly high: number;
  readonly low: number;
}

const ZERO: Sum = { high: 0, low: 0 };

/**
 * 64 bits in hexadecimal: the sum of a hash of each entry, so that no order matters. It finds differences between nodes of
 * one fabric; addresses can be chosen to make two different sets look alike.
 */
export function digestOf(entries: Iterable<Pair>): string {
  return format(sumOf(entries));
}

/** Of more entries only all or none are tried. */
const MOST_OPTIONAL = 8;

/** The digests of the entries together with any of the optional ones. */
export function digestsWith(entries: Iterable<Pair>, optional: readonly Pair[]): ReadonlySet<string> {
  const parts = optional.length > MOST_OPTIONAL ? [sumOf(optional)] : optional.map((entry) => sumOf([entry]));
  const sums = [sumOf(entries)];
  for (const part of parts) sums.push(...sums.map((sum) => add(sum, part)));
  return new Set(sums.map(format));
}

function sumOf(entries: Iterable<Pair>): Sum {
  let sum = ZERO;
  for (const { ip, mac } of entries) {
    const text = `${ip} ${mac}`;
    let first = FNV_OFFSET;
    let second = FNV_OFFSET;
    for (let at = 0; at < text.length; at++) {
      const code = text.charCodeAt(at);
      first = Math.imul(first ^ code, FNV_PRIME);
      second = Math.imul(second ^ code, OTHER_PRIME);
    }
    sum = add(sum, { high: spread(second ^ first), low: spread(first) });
  }
  return sum;
}

function add(a: Sum, b: Sum): Sum {
  return { high: (a.high + b.high) >>> 0, low: (a.low + b.low) >>> 0 };
}

function format({ high, low }: Sum): string {
  return hex(high) + hex(low);
}

/** The finalizer of MurmurHash3: every bit of the input changes half of the output, so that sums do not cancel out. */
function spread(value: number): number {
  let mixed = value ^ (value >>> 16);
  mixed = Math.imul(mixed, 0x85ebca6b);
  mixed ^= mixed >>> 13;
  mixed = Math.imul(mixed, 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

function hex(value: number): string {
  return value.toString(16).padStart(8, '0');
}
