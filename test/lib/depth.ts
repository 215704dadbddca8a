// How deep a run goes: `npm test` takes a sample of the slow tests, every other run takes all of them.
import { test } from 'node:test';

/** True in `npm test` without arguments. A file that is run by itself, or chosen by its path, runs as a whole. */
export const QUICK = process.env['SNOOPY_TESTS'] === 'quick';

/** The amount to try: `few` in `npm test`, else `all`. */
export function sample<T>(few: T, all: T): T {
  return QUICK ? few : all;
}

/** A test that only `npm run test:all` runs. */
export const deepTest: typeof test = QUICK ? (((): Promise<void> => Promise.resolve()) as typeof test) : test;
