// Owner checks: before an address goes to another MAC, its owner is probed (RFC 9161, section 3.7b).

import { type Problem, problemOf } from '../base/errors.ts';
import {
  type Conflict,
  chooseConflicts,
  findConflicts,
  keepForOwners,
  surelyUnanswered,
  warningOfKept,
  warningsOfUnprobed,
} from '../core/conflicts.ts';
import { HostIndex } from '../core/host-index.ts';
import type { KeptByOwner } from '../core/neighbors/claim.ts';
import type { ObservedHosts } from '../core/observed.ts';
import { type Confirms, NO_CONFIRMS } from '../core/report.ts';
import type { Warning } from '../core/warning.ts';
import { type Drained, NOTHING_DRAINED, type Ring } from '../datapath/ring.ts';
import { observeCounters } from '../host/observe.ts';
import { checkOwners } from '../host/prober.ts';
import { type Machine, retrieveHosts } from './retrieve.ts';
import type { Run } from './run.ts';

/** The hosts after the owner checks of a pass, and the findings of these checks. */
interface Checked {
  readonly hosts: ObservedHosts;
  /** The index of these hosts. */
  readonly index: HostIndex;
  /** By bindingId: addresses that do not go to another MAC in this pass. */
  readonly kept: ReadonlyMap<string, KeptByOwner>;
  readonly confirms: Confirms;
  /** What was read from the ring meanwhile. */
  readonly drained: Drained;
  readonly warnings: readonly Warning[];
  readonly errors: readonly Problem[];
}

/**
 * Probes the owners of addresses that another MAC claims, as many as one pass can, and retrieves the hosts again. A
 * check, or a pass without a ring, probes no owner. Errors of probes are not thrown: an owner that could not be probed
 * keeps its address.
 */
export function checkConflicts(
  run: Run,
  machine: Machine,
  hosts: ObservedHosts,
  ring: Ring | undefined,
): Checked {
  const { session, options, stopwatch } = run;
  const index = new HostIndex(hosts);
  const unchecked: Checked = {
    hosts,
    index,
    kept: new Map(),
    confirms: NO_CONFIRMS,
    drained: NOTHING_DRAINED,
    warnings: [],
    errors: [],
  };
  if (options.check || ring === undefined) return unchecked;
  stopwatch.enter('confirm');
  const conflicts = findConflicts(machine.topology, hosts, session.runtime.neighborProtocol, index);
  const chosen = chooseConflicts(conflicts);
  if (chosen.length === 0) return unchecked;
  try {
    return probeOwners(run, machine, chosen, ring);
  } catch (thrown) {
    const kept = keepForOwners(conflicts, [], []);
    return { ...unchecked, kept, warnings: warningsOfUnprobed(kept), errors: [problemOf(thrown, 'probes')] };
  }
}

function probeOwners(
  { session, environment }: Run,
  machine: Machine,
  chosen: readonly Conflict[],
  ring: Ring,
): Checked {
  const { pins, runtime } = session;
  const droppedBefore = observeCounters(pins).ringDropped;
  const { probed, answered, drained } = checkOwners(chosen, ring, environment.now);
  const hosts = retrieveHosts(session, machine, environment.now);
  const index = new HostIndex(hosts);
  const left = findConflicts(machine.topology, hosts, runtime.neighborProtocol, index);
  // A record that was dropped by a full ring may have been an answer.
  const isCertain = observeCounters(pins).ringDropped === droppedBefore;
  const unanswered = isCertain ? probed : surelyUnanswered(probed, left);
  const kept = keepForOwners(left, unanswered, [...answered.keys()]);
  const answers = [...answered].map(([conflict, port]) => warningOfKept(conflict, port));
  return {
    hosts,
    index,
    kept,
    confirms: { sent: probed.length, answered: answered.size },
    drained,
    warnings: [...answers, ...warningsOfUnprobed(kept)],
    errors: [],
  };
}
