// Properties that hold for any input. Inputs are seeded, so a failure can be reproduced.
import fc from 'fast-check';
import { sample } from '../lib/depth.ts';

/** Every run has the same inputs, unless FUZZ_SEED says otherwise. */
const SEED = numberOf('FUZZ_SEED', 20_240_817);
/** Factor for the number of inputs of a whole file. */
const SCALE = numberOf('FUZZ_SCALE', sample(0.3, 1));

function numberOf(name: string, otherwise: number): number {
  const text = process.env[name];
  if (text === undefined || text === '') return otherwise;
  const value = Number(text);
  if (!Number.isFinite(value)) throw new Error(`${name} is ${text}, not a number`);
  return value;
}

/** The number of inputs for a property that gets `count` in a whole file. */
export function scaled(count: number): number {
  return Math.max(1, Math.round(count * SCALE));
}

/**
 * Tries a property with `count` inputs. A failure has the smallest failing input and the command that reproduces it.
 */
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

/** Changes to bytes, such as a bad sender or bad memory makes. */
export interface Damage {
  /** The position, as a fraction of the length, and the new value. */
  readonly writes: readonly (readonly [at: number, value: number])[];
  /** The length that is left, as a fraction of the length. */
  readonly left: number;
}

const place = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true });
// Lengths and counts break at their extremes.
const byte = fc.oneof(fc.constantFrom(0, 1, 2, 3, 4, 5, 0x7f, 0x80, 0xfe, 0xff), fc.nat(255));

export const anyDamage: fc.Arbitrary<Damage> = fc.record({
  writes: fc.array(fc.tuple(place, byte), { maxLength: 8 }),
  left: fc.oneof(fc.constant(1), place),
});

/** A damaged copy in memory of its own, so that a read past its end is a read past the end of the memory. */
export function damaged(bytes: Uint8Array, { writes, left }: Damage): Uint8Array {
  const copy = new Uint8Array(bytes.slice(0, Math.ceil(bytes.length * left)));
  for (const [at, value] of writes) {
    if (copy.length > 0) copy[Math.floor(at * copy.length)] = value;
  }
  return copy;
}
