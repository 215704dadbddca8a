// planProbes(topology, hosts, plan) -> every probe that a pass sends. Pure.

import type { HostIndex } from '../host-index.ts';
import type { ObservedHosts } from '../observed.ts';
import type { Scope } from '../plan.ts';
import type { Topology } from '../topology.ts';
import { type HostProbe, type Probeable, planHostProbes } from './ageing.ts';
import { type HintProbe, hintsByStatus } from './hints.ts';
import { type Conflict, chooseConflicts, findConflicts } from './owners.ts';

/** The probes of a pass, by what they are for. */
export interface ProbePlan {
  /** All conflicts, with those whose owners are not checked in this pass. */
  readonly conflicts: readonly Conflict[];
  /** Owner checks (RFC 9161, section 3.7b). */
  readonly owners: readonly Conflict[];
  /** Hosts that were hinted at. */
  readonly hints: readonly HintProbe[];
  /** Bound hosts that an answer would give a neighbor. */
  readonly doubtful: readonly HostProbe[];
  /** Bound hosts that have been silent for long (RFC 9161, section 3.5). */
  readonly silent: readonly HostProbe[];
}

export interface ProbeOptions extends Scope {
  /** NDA_PROTOCOL of our own entries. */
  readonly protocol: number;
}

/** The probes that are due. `index` is an index of `hosts`; `plan` is what would be done without them. */
export function planProbes(
  topology: Topology,
  hosts: ObservedHosts,
  index: HostIndex,
  plan: Probeable,
  options: ProbeOptions,
): ProbePlan {
  const conflicts = findConflicts(topology, hosts, options.protocol, index);
  return {
    conflicts,
    owners: chooseConflicts(conflicts),
    hints: hintsByStatus(topology, hosts, index, options).probes,
    ...planHostProbes(topology, plan, hosts),
  };
}
