// planProbes(topology, hosts, plan) -> every probe that a pass sends. Pure.

import { splitByBudget } from '../frame-budget.ts';
import type { HostIndex } from '../host-index.ts';
import type { ObservedHosts } from '../observed.ts';
import type { Topology } from '../topology.ts';
import { type HostProbe, type Probeable, planHostProbes } from './ageing.ts';
import type { HintProbe, HintsByStatus } from './hints.ts';
import { type Conflict, findConflicts } from './owners.ts';

/** The probes of a pass, by what they are for. */
export interface ProbePlan {
  /** All conflicts, with those whose owners are not checked in this pass. */
  readonly conflicts: readonly Conflict[];
  /** Owner checks (RFC 9161, section 3.7b). The owners of the other conflicts keep their addresses until the next run. */
  readonly owners: readonly Conflict[];
  /** Hosts that were hinted at. */
  readonly hints: readonly HintProbe[];
  /** Bound hosts that an answer would give a neighbor. */
  readonly doubtful: readonly HostProbe[];
  /** Bound hosts that have been silent for long (RFC 9161, section 3.5). */
  readonly silent: readonly HostProbe[];
  /** Bound hosts that this pass does not probe, because there are too many. */
  readonly left: readonly HostProbe[];
}

/**
 * The probes that are due. `plan` and `byStatus` are what would become of the hosts and of the hints without them,
 * `protocol` is NDA_PROTOCOL of our own entries, and `index` an index of `hosts`.
 */
export function planProbes(
  topology: Topology,
  hosts: ObservedHosts,
  index: HostIndex,
  plan: Probeable,
  byStatus: Pick<HintsByStatus, 'probes'>,
  protocol: number,
): ProbePlan {
  const conflicts = findConflicts(topology, hosts, protocol, index);
  return {
    conflicts,
    owners: checkable(conflicts),
    hints: byStatus.probes,
    ...planHostProbes(topology, plan, hosts),
  };
}

/** The owner checks alone of these conflicts. */
export function planOwnerChecks(conflicts: readonly Conflict[]): ProbePlan {
  return { conflicts, owners: checkable(conflicts), hints: [], doubtful: [], silent: [], left: [] };
}

function checkable(conflicts: readonly Conflict[]): readonly Conflict[] {
  return splitByBudget(conflicts, ({ probes }) => probes.length).now;
}
