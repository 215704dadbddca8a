// The hosts of a pass: drain, probe, decide, write neighbors, end bindings, announce, remember.

import type { IfIndex } from '../base/address.ts';
import { correctCounts, countByPort } from '../core/binding-counts.ts';
import type { Focus } from '../core/focus.ts';
import type { HostPlan } from '../core/neighbors/plan.ts';
import { recoverBindings, unfreeze } from '../core/neighbors/recover.ts';
import type { ObservedHosts } from '../core/observed.ts';
import { type HintsByStatus, isSeenHint } from '../core/probes/hints.ts';
import { type MemoryChange, planMemory } from '../core/probes/memory.ts';
import { describeBridges } from '../core/summary.ts';
import type { Topology } from '../core/topology.ts';
import type { Warning } from '../core/warning.ts';
import { warningsOf, warningsOfLimits, warningsOfTable } from '../core/warnings.ts';
import { type PassOutcome, Watchlist } from '../core/watchlist.ts';
import { writtenEarlier } from '../core/zebra.ts';
import { HINTS_ROOM } from '../datapath/maps.ts';
import { keepsBindings } from '../datapath/pins.ts';
import type { Binding } from '../datapath/records/binding.ts';
import { type BindingKey, bindingId } from '../datapath/records/binding-key.ts';
import { type Drained, NOTHING_DRAINED, type Ring } from '../datapath/ring.ts';
import {
  forgetBindings,
  releaseBindings,
  rewriteBindings,
  writeHints,
  writePolicies,
} from '../host/bindings.ts';
import { plannedNeighbors, refreshNeighbors, writeNeighbors } from '../host/neighbor-table.ts';
import type { Session } from '../host/session.ts';
import { announce } from './announce.ts';
import { probeHosts } from './probing.ts';
import { type Machine, resolveMachine, retrieveHosts } from './retrieve.ts';
import { type Pass, RETRY_MS, type Run } from './run.ts';
import { verifyZebra } from './verify-zebra.ts';
import { type Named, type View, viewAll, viewNamed } from './view.ts';

/** What a pass does for the hosts that it looks at. */
type HostPass = Pick<
  Pass,
  | 'changes'
  | 'records'
  | 'probes'
  | 'announcements'
  | 'confirms'
  | 'hints'
  | 'frr'
  | 'warnings'
  | 'errors'
  | 'next'
>;

/** What a pass over all hosts also finds. */
type WholeHostPass = HostPass & Pick<Pass, 'total' | 'bridges' | 'survey'>;

/**
 * Turns what the program saw into neighbors. The ring's records are consumed only when the neighbors are in the kernel.
 * Throws SnoopyError `netlink_failed` or `map_failed`; a failure of one neighbor or of probes is in the result.
 */
export function reconcileHosts(run: Run, machine: Machine): WholeHostPass {
  const { maxBindings } = run.session.runtime;
  run.stopwatch.enter('drain');
  const ring = run.session.pins.ring();
  const { plan, hosts, isUnchanged, ...done } = reconcileWith(run, drainAll(run, machine, ring), ring);
  const { desired, topology, observed } = machine;
  return {
    ...done,
    total: plan.total,
    bridges: describeBridges(desired, topology, plan),
    survey: isUnchanged ? { ...machine, hosts, plan } : undefined,
    warnings: [
      ...done.warnings,
      ...warningsOfTable(hosts.bindings, maxBindings, topology),
      ...warningsOfLimits(observed, hosts, topology),
    ],
  };
}

/** The same for the hosts that are named, and those that records of the ring name. */
export function reconcileNamed(run: Run, machine: Machine, named: Named): HostPass {
  run.stopwatch.enter('drain');
  const ring = run.session.pins.ring();
  const drained = ring?.read('all') ?? NOTHING_DRAINED;
  const view = viewNamed(run, machine, named, drained.changes);
  const { plan, hosts, isUnchanged, ...done } = reconcileWith(
    run,
    { drained, view, warnings: [] },
    ring,
    named,
  );
  return done;
}

interface Reconciled extends HostPass {
  readonly plan: HostPlan;
  readonly hosts: ObservedHosts;
  /** True when nothing was written, and no owner kept its address: what was observed and planned is still so. */
  readonly isUnchanged: boolean;
}

function reconcileWith(
  run: Run,
  found: Found,
  ring: Ring | undefined,
  named: Named | null = null,
): Reconciled {
  const { session, options } = run;
  const { neighborProtocol: protocol } = session.runtime;
  const { view, index, plan, byStatus, ...probed } = probeHosts(run, found.view, ring);
  const { machine, hosts, focus } = view;
  const { topology } = machine;
  const written = options.check
    ? { ...NOTHING_WRITTEN, changes: plannedNeighbors(plan.changes, protocol) }
    : write(run, view, plan, ring);
  const announced = announce(run, topology, hosts, plan.decisions, index);
  const limits = { room: HINTS_ROOM, elsewhere: view.hintsElsewhere, not: announced.left };
  const memory = options.check ? NO_CHANGE : planMemory(topology, hosts, index, plan, byStatus, limits);
  if (!options.check) writeMemory(session, memory, byStatus);
  const decided = writtenEarlier(plan.decisions, protocol);
  const others = named?.verifies && focus ? named.watchlist.writtenBeside(focus) : [];
  const verifies = named === null || named.verifies;
  const verified = verifyZebra(run, verifies ? [...decided, ...others] : null, written.changes.length);
  const verifiedMs = run.environment.now();

  const drained = [found.drained, probed.drained];
  const moves = drained.flatMap(({ changes }) => changes);
  const isDamaged = drained.some(({ damaged }) => damaged);
  // A narrow pass has looked at some of a port's bindings only.
  const counted = focus === null ? plan : { ...plan, fullPorts: [] };
  const isUnfinished = isDamaged || written.hasReturned || probed.hasUnprobed || announced.left.length > 0;
  const { sent } = probed;
  const isUnchanged =
    // Otherwise the bindings are those that a load would have.
    keepsBindings(session.pins) &&
    options.unfreeze.length === 0 &&
    !written.hasWritten &&
    memory.remember.length + memory.forget.length + byStatus.learned.length + byStatus.obsolete.length ===
      0 &&
    sent.hosts + sent.hints + probed.confirms.sent + verified.report.renewed === 0 &&
    !probed.hasUnprobed;
  return {
    plan,
    hosts,
    isUnchanged,
    changes: written.changes,
    records: drained.reduce((sum, { records }) => sum + records, 0),
    probes: sent.hosts,
    announcements: announced.sent,
    confirms: probed.confirms,
    hints: { probed: sent.hints, learned: byStatus.learned.length },
    frr: verified.report,
    warnings: [
      ...found.warnings,
      ...probed.warnings,
      ...verified.warnings,
      ...warningsOf(counted, moves, isDamaged),
    ],
    errors: [...topology.problems, ...probed.errors, ...announced.errors, ...verified.errors],
    next: (before) => ({
      watchlist: watch(before, focus, {
        topology,
        hosts,
        index,
        plan,
        byStatus,
        memory,
        failed: written.failed,
        probed: probed.silent,
        wereDue: probed.wereDue,
        protocol,
      }),
      wholeMs: isUnfinished ? hosts.nowMs + RETRY_MS : Number.POSITIVE_INFINITY,
      verifyMs: verifiedMs + verified.dueInMs,
    }),
  };
}

/** What a listening run remembers after a pass. */
function watch(before: Watchlist | null, focus: Focus | null, outcome: PassOutcome): Watchlist {
  if (before === null || focus === null) return new Watchlist(outcome);
  before.update(focus, outcome);
  return before;
}

/** What the program saw. */
interface Found {
  readonly drained: Drained;
  readonly view: View;
  readonly warnings: readonly Warning[];
}

/** Reads the ring, then the map, which has the binding of each record by then; unfreezes what `--unfreeze` names. */
function drainAll(run: Run, machine: Machine, ring: Ring | undefined): Found {
  const { session, options } = run;
  const drained = ring?.read('moves') ?? NOTHING_DRAINED;
  // Without a pinned map of bindings (a check, or a failed load) use the bindings that a load would recover.
  const view = keepsBindings(session.pins)
    ? viewAll(run, machine)
    : viewAll(run, machine, recoverHosts(run, machine));
  if (options.unfreeze.length === 0) return { drained, view, warnings: [] };
  const unfrozen = unfreeze(view.hosts, options.unfreeze);
  if (!options.check) rewriteBindings(session.pins, unfrozen.rewritten, { unfreezes: true });
  return { drained, view: { ...view, hosts: unfrozen.hosts }, warnings: unfrozen.warnings };
}

/**
 * The hosts of all configured bridges, including those that `--bridge` leaves out, with bindings for their neighbors. For a
 * load that finds no bindings.
 */
export function recoverHosts(
  { session, configuration, environment }: Run,
  { observed }: Machine,
): ObservedHosts {
  const { topology } = resolveMachine(observed, configuration, []);
  const hosts = retrieveHosts(session, { observed, topology }, environment.now);
  return { ...hosts, bindings: recoverBindings(topology, hosts, session.runtime.neighborProtocol) };
}

/** What a pass wrote for its hosts. */
interface HostsWritten extends Pick<HostPass, 'changes'> {
  /** The addresses whose neighbors could not be written. */
  readonly failed: readonly BindingKey[];
  /** True when a host whose binding had ended was seen meanwhile: the next pass decides again. */
  readonly hasReturned: boolean;
  /** True when the kernel or the pinned maps are not as they were. */
  readonly hasWritten: boolean;
}

const NOTHING_WRITTEN: HostsWritten = { changes: [], failed: [], hasReturned: false, hasWritten: false };

/** Writes neighbors, then ends bindings, then consumes the ring: the run after a killed one repeats these steps. */
function write(
  { session, stopwatch }: Run,
  view: View,
  plan: HostPlan,
  ring: Ring | undefined,
): HostsWritten {
  const { netlink, runtime } = session;
  stopwatch.enter('write');
  const { reports, failed } = writeNeighbors(netlink, plan.changes, runtime.neighborProtocol);
  refreshNeighbors(netlink, plan.refresh, runtime.neighborProtocol);
  const stuck = new Set(failed.map(bindingId));
  rewriteBindings(
    session.pins,
    plan.moved.filter((binding) => !stuck.has(bindingId(binding))),
  );
  const ended = endBindings(session, view, plan, stuck);
  ring?.commit();
  const due = [plan.changes, plan.refresh, plan.moved, plan.forget];
  const hasWritten = ended.hasCorrected || due.some(({ length }) => length > 0);
  return { changes: reports, failed, hasReturned: ended.hasReturned, hasWritten };
}

const NO_CHANGE: MemoryChange = { remember: [], forget: [] };

/** Writes the memory of hints, and deletes hints that are done with. */
function writeMemory({ pins }: Session, { remember, forget }: MemoryChange, byStatus: HintsByStatus): void {
  const seenHints = [...byStatus.learned, ...byStatus.obsolete].filter(isSeenHint);
  writeHints(pins, { remember, forget, seenHints });
}

/**
 * Deletes the bindings that have ended and corrects the ports' binding counts. A neighbor that could not be removed (one
 * of `stuck`, by bindingId) keeps its binding.
 */
function endBindings(
  session: Session,
  { machine: { observed, topology }, hosts, focus }: View,
  decided: HostPlan,
  stuck: ReadonlySet<string>,
): Pick<HostsWritten, 'hasReturned'> & { readonly hasCorrected: boolean } {
  const ended = decided.forget.filter((binding) => stuck.size === 0 || !stuck.has(bindingId(binding)));
  const isFinal = (binding: Binding): boolean => decided.endings.get(binding)?.isFinal ?? true;
  const forgotten = new Set(forgetBindings(session.pins, ended, isFinal));
  let hasCorrected = false;
  if (focus !== null) {
    releaseBindings(session.pins, countByPort([...forgotten]));
  } else {
    const left =
      forgotten.size === 0 ? hosts.bindings : hosts.bindings.filter((binding) => !forgotten.has(binding));
    const corrected = correctCounts(observed.datapath.ports, hosts.portStates, left, portsOf(topology));
    hasCorrected = corrected.size > 0;
    if (hasCorrected) writePolicies(session.pins, corrected);
  }
  return { hasReturned: forgotten.size < ended.length, hasCorrected };
}

/** The ports of the bridges of a run. */
function portsOf({ bridges }: Topology): ReadonlySet<IfIndex> {
  return new Set(bridges.flatMap(({ ports }) => ports.map(({ ifIndex }) => ifIndex)));
}
