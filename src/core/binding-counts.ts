// How many bindings a port has, as the program counts them: gained - lost - released (bpf/snoopy.h), and what its limits
// have cost. Pure.

import type { IfIndex } from '../base/address.ts';
import type { Binding } from '../datapath/records/binding.ts';
import type { PortPolicy, PortState } from '../datapath/records/port.ts';

/** The fraction of max_bindings from which the operator is warned. */
export const NEARLY_FULL = 0.9;

/**
 * The policies that must change: those of `inReport`, the ports whose limits this run reports about, when the limits have
 * cost something; and those whose `released` must change, so that the program's count for a port equals the number of its
 * bindings in the map. Only the program adds and only user space subtracts, so neither overwrites the other. A binding
 * that was created while the map was read makes a count wrong until the next run.
 */
export function correctCounts(
  policies: ReadonlyMap<IfIndex, PortPolicy>,
  states: ReadonlyMap<IfIndex, PortState>,
  bindings: readonly Binding[],
  inReport: ReadonlySet<IfIndex>,
): Map<IfIndex, PortPolicy> {
  const counts = countByPort(bindings);
  const corrected = new Map<IfIndex, PortPolicy>();
  for (const [ifIndex, policy] of policies) {
    const state = states.get(ifIndex);
    const released = (state?.gained ?? 0) - (state?.lost ?? 0) - (counts.get(ifIndex) ?? 0);
    const reported = (inReport.has(ifIndex) ? state?.limited : undefined) ?? policy.reported;
    if (released !== policy.released || reported !== policy.reported) {
      corrected.set(ifIndex, { ...policy, released, reported });
    }
  }
  return corrected;
}

/** How many messages the limits of a port have cost since a run reported them. */
export function limitedSince(policy: PortPolicy | undefined, state: PortState | undefined): number {
  // A port that has come back counts from zero again.
  return Math.max(0, (state?.limited ?? 0) - (policy?.reported ?? 0));
}

/** Number of bindings by port. */
export function countByPort(bindings: readonly Binding[]): Map<IfIndex, number> {
  const counts = new Map<IfIndex, number>();
  for (const { port } of bindings) counts.set(port, (counts.get(port) ?? 0) + 1);
  return counts;
}
