// The hosts of a pass: drain, check owners, decide, write neighbors, end bindings, probe.

import { type Problem, problemOf } from '../base/errors.ts';
import { correctCounts } from '../core/binding-counts.ts';
import type { Desired } from '../core/desired.ts';
import { type HostPlan, type NeighborChange, planHosts } from '../core/neighbors/plan.ts';
import { recoverBindings, unfreeze } from '../core/neighbors/recover.ts';
import type { Observed, ObservedHosts } from '../core/observed.ts';
import { planProbes } from '../core/probes.ts';
import { describeBridges } from '../core/summary.ts';
import { nextDue } from '../core/timers.ts';
import { resolveTopology, type Topology } from '../core/topology.ts';
import type { Warning } from '../core/warning.ts';
import { warningsOf, warningsOfTable } from '../core/warnings.ts';
import { keepsBindings } from '../datapath/pins.ts';
import type { Binding } from '../datapath/records/binding.ts';
import { bindingId } from '../datapath/records/binding-key.ts';
import { type Drained, NOTHING_DRAINED, type Ring, withRing } from '../datapath/ring.ts';
import { forgetBindings, rewriteBindings, writePolicies } from '../host/bindings.ts';
import { plannedNeighbors, refreshNeighbors, writeNeighbors } from '../host/neighbor-table.ts';
import { sendProbes } from '../host/prober.ts';
import type { Session } from '../host/session.ts';
import type { Interest } from '../host/watch.ts';
import { checkConflicts } from './owner-checks.ts';
import { type Machine, retrieveHosts } from './retrieve.ts';
import { type Pass, RETRY_MS, type Run, scopeOf } from './run.ts';

/** The hosts' part of the result of a pass. */
type HostPass = Pick<
  Pass,
  'changes' | 'total' | 'records' | 'probes' | 'confirms' | 'bridges' | 'warnings' | 'errors' | 'next'
>;

/**
 * Turns what the program saw into neighbors. The ring's records are consumed only when the neighbors are in the kernel.
 * Throws SnoopyError `netlink_failed` or `map_failed`; a failure of one neighbor or of probes is in the result.
 */
export function reconcileHosts(run: Run, machine: Machine): HostPass {
  return withRing(run.session.pins, (ring) => reconcileWith(run, machine, ring));
}

function reconcileWith(run: Run, machine: Machine, ring: Ring | undefined): HostPass {
  const { session, desired, options, stopwatch } = run;
  const { topology } = machine;
  const { neighborProtocol: protocol, maxBindings } = session.runtime;
  stopwatch.enter('drain');
  const { drained, ...found } = drain(run, machine, ring);
  const { hosts, index, ...checked } = checkConflicts(run, machine, found.hosts, ring);

  stopwatch.enter('decide');
  const decided = planHosts(topology, hosts, { protocol, ...scopeOf(run), kept: checked.kept }, index);

  const written = options.check
    ? { ...NOTHING_WRITTEN, changes: plannedNeighbors(decided.changes, protocol) }
    : write(run, machine, hosts, decided, ring);

  const isUnfinished = written.hasReturned || [...checked.kept.values()].some(({ isProbed }) => !isProbed);
  const moves = [...drained.changes, ...checked.drained.changes];
  const isDamaged = drained.damaged || checked.drained.damaged;
  return {
    changes: written.changes,
    total: decided.total,
    records: drained.records + checked.drained.records,
    probes: written.probes,
    confirms: checked.confirms,
    bridges: describeBridges(desired, topology, decided),
    warnings: [
      ...found.warnings,
      ...checked.warnings,
      ...warningsOf(decided, moves, isDamaged),
      ...warningsOfTable(hosts.bindings, maxBindings, topology),
    ],
    errors: [...topology.problems, ...checked.errors, ...written.errors],
    next: () => ({
      interest: interestOf(desired, topology, decided),
      dueMs: isUnfinished
        ? hosts.nowMs + RETRY_MS
        : nextDue(topology, hosts, { protocol, hasProbed: written.probes > 0 }),
    }),
  };
}

/** What the program saw. */
interface Found {
  readonly drained: Drained;
  readonly hosts: ObservedHosts;
  readonly warnings: readonly Warning[];
}

/** Reads the ring, then the map, which has the binding of each record by then; unfreezes what `--unfreeze` names. */
function drain(run: Run, machine: Machine, ring: Ring | undefined): Found {
  const { session, options, environment } = run;
  const drained = ring?.read('moves') ?? NOTHING_DRAINED;
  const retrieved = retrieveHosts(session, machine, environment.now);
  // Without a pinned map of bindings (a check, or a failed load) use the bindings that a load would recover.
  const hosts = keepsBindings(session.pins)
    ? retrieved
    : { ...retrieved, bindings: recoverHosts(run, machine) };
  if (options.unfreeze.length === 0) return { drained, hosts, warnings: [] };
  const unfrozen = unfreeze(hosts, options.unfreeze);
  if (!options.check) rewriteBindings(session.pins, unfrozen.rewritten);
  return { drained, hosts: unfrozen.hosts, warnings: unfrozen.warnings };
}

/**
 * Bindings for the neighbors of all configured bridges, including those that `--bridge` leaves out. For a load that
 * finds no bindings.
 */
export function recoverHosts({ session, everything, environment }: Run, { observed }: Machine): Binding[] {
  const machine: Machine = { observed, topology: resolveTopology(everything, observed) };
  const hosts = retrieveHosts(session, machine, environment.now);
  return recoverBindings(machine.topology, hosts, session.runtime.neighborProtocol);
}

/** What a pass wrote for its hosts. */
interface HostsWritten extends Pick<HostPass, 'changes' | 'probes' | 'errors'> {
  /** True when a host whose binding had ended was seen meanwhile: the next pass decides again. */
  readonly hasReturned: boolean;
}

const NOTHING_WRITTEN: HostsWritten = { changes: [], probes: 0, errors: [], hasReturned: false };

/** Writes neighbors, then ends bindings, then consumes the ring: the run after a killed one repeats these steps. */
function write(
  { session, stopwatch }: Run,
  { topology, observed }: Machine,
  hosts: ObservedHosts,
  decided: HostPlan,
  ring: Ring | undefined,
): HostsWritten {
  const { netlink, pins, runtime } = session;
  stopwatch.enter('write');
  const { reports, failed } = writeNeighbors(netlink, decided.changes, runtime.neighborProtocol);
  refreshNeighbors(netlink, decided.refresh, runtime.neighborProtocol);
  const hasReturned = endBindings(session, observed, hosts, decided, failed);
  ring?.commit();
  stopwatch.enter('probe');
  try {
    const probes = sendProbes(pins, planProbes(topology, decided, hosts));
    return { changes: reports, probes, errors: [], hasReturned };
  } catch (thrown) {
    const errors: Problem[] = [problemOf(thrown, 'probes')];
    return { changes: reports, probes: 0, errors, hasReturned };
  }
}

/**
 * Deletes the bindings that have ended and corrects the ports' binding counts. A neighbor that could not be removed
 * keeps its binding. Returns true when a host was seen meanwhile, so that its binding stays.
 */
function endBindings(
  session: Session,
  observed: Observed,
  hosts: ObservedHosts,
  decided: HostPlan,
  failed: readonly NeighborChange[],
): boolean {
  const stuck = new Set(failed.map(bindingId));
  const ended = decided.forget.filter((binding) => stuck.size === 0 || !stuck.has(bindingId(binding)));
  const isFinal = (binding: Binding): boolean => decided.endings.get(binding)?.isFinal ?? true;
  const forgotten = new Set(forgetBindings(session.pins, ended, isFinal));
  const left =
    forgotten.size === 0 ? hosts.bindings : hosts.bindings.filter((binding) => !forgotten.has(binding));
  const corrected = correctCounts(observed.datapath.ports, hosts.portStates, left);
  if (corrected.size > 0) writePolicies(session.pins, corrected);
  return forgotten.size < ended.length;
}

function interestOf({ bridges }: Desired, topology: Topology, { decisions }: HostPlan): Interest {
  const domains = topology.bridges.flatMap((bridge) => [...bridge.domains.values()]);
  const provisioned = bridges.flatMap(({ statics }) => statics.flatMap(({ macs }) => macs));
  return {
    macs: new Set([...decisions.map(({ mac }) => mac), ...provisioned]),
    ips: new Set(decisions.map(({ ip }) => ip)),
    devices: new Set(domains.map(({ device }) => device)),
  };
}
