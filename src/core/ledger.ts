// How many bindings a port has, by the program's own arithmetic: gained - lost - released (bpf/snoopy.h).

import type { IfIndex } from '../base/address.ts';
import type { Binding } from '../datapath/records/binding.ts';
import type { PortPolicy, PortState } from '../datapath/records/port.ts';

/** From this part of max_bindings on there is something to do before it is too late. */
export const NEARLY_FULL = 0.9;

/**
 * The policies whose `released` must change so that the program's count of a port's bindings is the number of
 * those that are there. The program alone adds and user space alone subtracts, so neither overwrites the other;
 * a binding created while the map was read is put right by the next run.
 */
export function correctLedger(
  policies: ReadonlyMap<IfIndex, PortPolicy>,
  states: ReadonlyMap<IfIndex, PortState>,
  bindings: readonly Binding[],
): Map<IfIndex, PortPolicy> {
  const counts = countByPort(bindings);
  const corrected = new Map<IfIndex, PortPolicy>();
  for (const [ifIndex, policy] of policies) {
    const state = states.get(ifIndex);
    const released = (state?.gained ?? 0) - (state?.lost ?? 0) - (counts.get(ifIndex) ?? 0);
    if (released !== policy.released) corrected.set(ifIndex, { ...policy, released });
  }
  return corrected;
}

/** Number of bindings by port. */
export function countByPort(bindings: readonly Binding[]): Map<IfIndex, number> {
  const counts = new Map<IfIndex, number>();
  for (const { port } of bindings) counts.set(port, (counts.get(port) ?? 0) + 1);
  return counts;
}
