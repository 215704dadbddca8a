// Writes to the hints that the program has taken from messages. Since a run has read a hint, the program may have put
// another one into its slot, so a write looks at the slot first. Only a hint that comes between the two is lost.

import type { Pins } from '../datapath/pins.ts';
import { hintId } from '../datapath/records/hint.ts';
import type { SeenHint } from '../datapath/records/seen-hint.ts';

type WithTables = Pick<Pins, 'tables'>;

/** Counts a probe of a hint. The entry keeps the kind and the time of the last message. */
export function countProbe(pins: WithTables, hint: SeenHint, nowMs: number): void {
  const entry = entryOf(pins, hint);
  if (entry === undefined) return;
  pins.tables.seen?.set(hint, { ...entry, probes: hint.probes + 1, probedMs: nowMs }, 'existing');
}

/** Deletes a hint, unless a message has repeated it since it was read. */
export function deleteSeenHint(pins: WithTables, hint: SeenHint): void {
  if (entryOf(pins, hint)?.seenMs === hint.seenMs) pins.tables.seen?.delete(hint);
}

/** The entry of a hint as it is now; undefined when its slot is empty or has another hint. */
function entryOf({ tables }: WithTables, hint: SeenHint): SeenHint | undefined {
  const entry = tables.seen?.get(hint);
  return entry !== undefined && hintId(entry) === hintId(hint) ? entry : undefined;
}
