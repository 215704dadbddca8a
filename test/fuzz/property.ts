// Properties that hold for whatever is given: seeded, so that what failed once can be had again.
import fc from 'fast-check';
import { sample } from '../lib/depth.ts';

/** The same inputs with every run, unless FUZZ_SEED says otherwise. */
const SEED = numberOf('FUZZ_SEED', 20_240_817);
/** How many times as many inputs as a whole file tries. */
const SCALE = numberOf('FUZZ_SCALE', sample(0.3, 1));

function numberOf(name: string, otherwise: number): number {
  const text = process.env[name];
  if (text === undefined || text === '') return otherwise;
  const value = Number(text);
  if (!Number.isFinite(value)) throw new Error(`${name} is ${text}, no number`);
  return value;
}

/** How many inputs a property is tried with that has `count` in a whole file. */
export function scaled(count: number): number {
  return Math.max(1, Math.round(count * SCALE));
}

/** Tries a property with `count` inputs; a failure says how to have it again, with the least input that fails. */
export function check<T>(input: fc.Arbitrary<T>, count: number, holds: (value: T) => void): void {
  const runs = scaled(count);
  const found = fc.check(
    fc.property(input, (value) => {
      holds(value);
    }),
    { seed: SEED, numRuns: runs },
  );
  if (!found.failed) return;
  const cause = found.errorInstance;
  const why = cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
  throw new Error(
    `failed with ${fc.stringify(found.counterexample?.[0])}\n` +
      `again: FUZZ_SEED=${SEED} FUZZ_SCALE=${SCALE} node test/run.mjs fuzz\n${why}`,
  );
}

/** Bytes of any length up to `most`. */
export function anyBytes(most: number): fc.Arbitrary<Uint8Array> {
  return fc.uint8Array({ maxLength: most });
}

/** Changes to bytes: what a bad sender, or a bad memory, would make of them. */
export interface Damage {
  /** Where, as a part of the length, and what is written there. */
  readonly writes: readonly (readonly [at: number, value: number])[];
  /** How much of it is left, as a part of the length. */
  readonly left: number;
}

const place = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true });
// Lengths and counts break at their ends.
const byte = fc.oneof(fc.constantFrom(0, 1, 2, 3, 4, 5, 0x7f, 0x80, 0xfe, 0xff), fc.nat(255));

export const anyDamage: fc.Arbitrary<Damage> = fc.record({
  writes: fc.array(fc.tuple(place, byte), { maxLength: 8 }),
  left: fc.oneof(fc.constant(1), place),
});

/** A damaged copy, in memory of its own so that a step past its end is a step past the memory's. */
export function damaged(bytes: Uint8Array, { writes, left }: Damage): Uint8Array {
  const copy = new Uint8Array(bytes.slice(0, Math.ceil(bytes.length * left)));
  for (const [at, value] of writes) {
    if (copy.length > 0) copy[Math.floor(at * copy.length)] = value;
  }
  return copy;
}
