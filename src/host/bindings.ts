// The end of bindings and the ports' binding counts: what a run writes to the maps beside the plan.

import type { IfIndex } from '../base/address.ts';
import type { Pins } from '../datapath/pins.ts';
import { type Binding, isSeenSince } from '../datapath/records/binding.ts';
import type { PortPolicy } from '../datapath/records/port.ts';

/**
 * Deletes bindings that have ended, and returns which; a host is learned again when it sends. They go from the maps
 * that are still migrated as well, or they would come back. A binding that was seen after it was read stays: the
 * decision that it has ended did not know that. Those whose end `isFinal` go all the same: the program refreshes a
 * binding with each message, and a host that sends all the time would keep for ever what it may not have.
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

/** Writes bindings as they shall be from now on; one that was deleted meanwhile stays deleted. */
export function rewriteBindings({ tables, oldBindings }: Pins, bindings: readonly Binding[]): void {
  if (tables.bindings === undefined) return;
  for (const binding of bindings) {
    // From a map that was replaced it would come back as it was.
    for (const table of oldBindings) table.delete(binding);
    tables.bindings.set(binding, binding, 'existing');
  }
}

/** Writes policies whose `released` was corrected. */
export function writePolicies({ tables }: Pins, policies: ReadonlyMap<IfIndex, PortPolicy>): void {
  for (const [ifIndex, policy] of policies) tables.ports?.set(ifIndex, policy);
}
