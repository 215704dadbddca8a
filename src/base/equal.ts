// Comparing values.

import { isDeepStrictEqual } from 'node:util';

/** True when two plain values have the same parts, also in lists, Maps and Sets (those of a Map or Set in any order). */
export function isEqual(one: unknown, other: unknown): boolean {
  return isDeepStrictEqual(one, other);
}
