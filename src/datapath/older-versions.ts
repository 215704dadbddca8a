// The pins of other versions, as far as this one reads them. This version's own layouts are generated.
//
// ABI 1: struct snoopy_binding ends with frozen_until_ns, after 48 bytes. Everything else is as in ABI 2.
// ABI 2: there are no maps of hints. Bindings are as in ABI 3.

import { LAYOUT } from '../generated/layouts.ts';
import { type MapName, type MapShape, mismatchesOf, shapeOf } from './maps.ts';

/** sizeof(struct snoopy_binding) of ABI 1, the smallest: later versions only add fields at the end. */
const FIRST_BINDING_SIZE = 48;

/** True for bindings of any version: the key and the first fields are the same in all. */
export function holdsBindings(map: MapShape): boolean {
  return isOfAnyVersion(map, 'bindings', FIRST_BINDING_SIZE);
}

/** True for a layout record of any version: a later one may be longer, but begins with the same fields. */
export function holdsLayout(map: MapShape): boolean {
  return isOfAnyVersion(map, 'layout', LAYOUT.size);
}

/** True for a map that differs from ours only in its number of entries or in the size of its values. */
function isOfAnyVersion(map: MapShape, name: MapName, leastValueSize: number): boolean {
  const mismatches = mismatchesOf(map, shapeOf(name, map.maxEntries));
  return mismatches.every((field) => field === 'valueSize') && map.valueSize >= leastValueSize;
}
