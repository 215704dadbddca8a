// The end of bindings, the ports' binding counts and the hints: map writes of a run that are not steps of its plan.

import type { IfIndex } from '../base/address.ts';
import { errnoOf } from '../base/errors.ts';
import { countByPort } from '../core/binding-counts.ts';
import { readBinding } from '../datapath/migrate.ts';
import type { Pins } from '../datapath/pins.ts';
import { type Binding, isSeenSince } from '../datapath/records/binding.ts';
import type { BindingKey } from '../datapath/records/binding-key.ts';
import type { Hint } from '../datapath/records/hint.ts';
import type { PortPolicy } from '../datapath/records/port.ts';
import type { SeenHint } from '../datapath/records/seen-hint.ts';
import { deleteSeenHint } from './seen-hints.ts';

/**
 * Deletes bindings that have ended, and returns the deleted ones; a host is learned again when it sends. They are also
 * deleted from maps that are still migrated, or they would come back. A binding that was seen after it was read stays,
 * because that message was unknown when its end was decided. But one whose end `isFinal` is deleted in any case: the
 * program refreshes a binding with each message, so a busy host would keep an address that it may not have.
 */
export function forgetBindings(
  { tables, oldBindings }: Pins,
  bindings: readonly Binding[],
  isFinal: (binding: Binding) => boolean,
): Binding[] {
  if (tables.bindings === undefined) return [];
  const all = [tables.bindings, ...oldBindings];
  const forgotten: Binding[] = [];
  for (const binding of bindings) {
    if (!isFinal(binding) && all.some((table) => isSeenSince(table.get(binding), binding))) continue;
    for (const table of all) table.delete(binding);
    tables.probes?.delete(binding);
    forgotten.push(binding);
  }
  return forgotten;
}

/**
 * Writes changed bindings. One that was deleted, or that the program has moved or frozen meanwhile, stays as it is; with
 * `unfreezes` only one that has another MAC or port.
 */
export function rewriteBindings(
  { tables, oldBindings }: Pins,
  bindings: readonly Binding[],
  { unfreezes = false }: { readonly unfreezes?: boolean } = {},
): void {
  if (tables.bindings === undefined) return;
  for (const binding of bindings) {
    // Otherwise the old binding would come back from a replaced map.
    for (const table of oldBindings) table.delete(binding);
    const now = tables.bindings.get(binding);
    if (now?.firstSeenMs !== binding.firstSeenMs || now.mac !== binding.mac || now.port !== binding.port)
      continue;
    if (!unfreezes && now.frozenUntilMs > binding.frozenUntilMs) continue;
    tables.bindings.set(binding, { ...binding, lastSeenMs: now.lastSeenMs }, 'existing');
  }
}

/** Writes policies with a corrected `released`. */
export function writePolicies({ tables }: Pins, policies: ReadonlyMap<IfIndex, PortPolicy>): void {
  for (const [ifIndex, policy] of policies) tables.ports?.set(ifIndex, policy);
}

/** Adds to `released` of each port the number of its bindings that were deleted. */
export function releaseBindings({ tables }: Pins, counts: ReadonlyMap<IfIndex, number>): void {
  for (const [ifIndex, count] of counts) {
    const policy = tables.ports?.get(ifIndex);
    if (policy === undefined) continue;
    tables.ports?.set(ifIndex, { ...policy, released: policy.released + count }, 'existing');
  }
}

/**
 * Adds the bindings of these keys to the counts of ports that have come back, where the program counts from zero. What it has
 * learned since then is in its count already.
 */
export function recountBindings(pins: Pins, ports: readonly IfIndex[], keys: readonly BindingKey[]): void {
  const bindings = keys.flatMap((key) => readBinding(pins, key) ?? []);
  const counts = countByPort(bindings.filter(({ port }) => ports.includes(port)));
  releaseBindings(pins, new Map([...counts].map(([port, count]) => [port, -count])));
}

/** Hints to write and to delete; `seenHints` are of the program's map. */
export interface HintWrites {
  readonly remember: readonly Hint[];
  readonly forget: readonly Hint[];
  readonly seenHints: readonly SeenHint[];
}

/** Writes hints. A full map costs those that have no room: they are found again while their cause lasts. */
export function writeHints(pins: Pins, { remember, forget, seenHints }: HintWrites): void {
  const { tables } = pins;
  for (const hint of seenHints) deleteSeenHint(pins, hint);
  for (const hint of forget) tables.hints?.delete(hint);
  try {
    if (remember.length > 0) tables.hints?.setAll(remember.map((hint) => [hint, hint]));
  } catch (thrown) {
    if (errnoOf(thrown) !== 'E2BIG') throw thrown;
  }
}
