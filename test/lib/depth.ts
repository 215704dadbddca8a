// How deep a run goes: `npm test` takes a sample of what takes long, everything else takes all of it.
import { test } from 'node:test';

/** True in `npm test` without arguments. A file that is run by itself, or chosen by its path, runs as a whole. */
export const QUICK = process.env['SNOOPY_TESTS'] === 'quick';

/** How much of something is tried: `few` in `npm test`, else `all`. */
export function sample<T>(few: T, all: T): T {
  return QUICK ? few : all;
}

/** A test of `npm run test:all` alone. */
export const deepTest: typeof test = QUICK ? (((): Promise<void> => Promise.resolve()) as typeof test) : test;
