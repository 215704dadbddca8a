// The hosts of a pass: drain, probe, decide, write neighbors, end bindings, announce, remember.

import type { IfIndex } from '../base/address.ts';
import { correctCounts } from '../core/binding-counts.ts';
import type { Desired } from '../core/desired.ts';
import type { HostIndex } from '../core/host-index.ts';
import type { HostPlan } from '../core/neighbors/plan.ts';
import { recoverBindings, unfreeze } from '../core/neighbors/recover.ts';
import type { ObservedHosts } from '../core/observed.ts';
import { type HintsByStatus, isSeenHint } from '../core/probes/hints.ts';
import { type MemoryChange, planMemory } from '../core/probes/memory.ts';
import { describeBridges } from '../core/summary.ts';
import { nextDue } from '../core/timers.ts';
import type { Topology } from '../core/topology.ts';
import type { Warning } from '../core/warning.ts';
import { warningsOf, warningsOfLimits, warningsOfTable } from '../core/warnings.ts';
import { HINTS_ROOM } from '../datapath/maps.ts';
import { keepsBindings } from '../datapath/pins.ts';
import type { Binding } from '../datapath/records/binding.ts';
import { bindingId } from '../datapath/records/binding-key.ts';
import type { Hint } from '../datapath/records/hint.ts';
import { type Drained, NOTHING_DRAINED, type Ring, withRing } from '../datapath/ring.ts';
import { forgetBindings, rewriteBindings, writeHints, writePolicies } from '../host/bindings.ts';
import { plannedNeighbors, refreshNeighbors, writeNeighbors } from '../host/neighbor-table.ts';
import type { Session } from '../host/session.ts';
import type { Interest } from '../host/watch.ts';
import { announce } from './announce.ts';
import { probeHosts } from './probing.ts';
import { type Machine, resolveMachine, retrieveHosts } from './retrieve.ts';
import { type Pass, RETRY_MS, type Run } from './run.ts';
import { verifyZebra } from './verify-zebra.ts';

/** The hosts' part of the result of a pass. */
type HostPass = Pick<
  Pass,
  | 'changes'
  | 'total'
  | 'records'
  | 'probes'
  | 'announcements'
  | 'confirms'
  | 'hints'
  | 'frr'
  | 'bridges'
  | 'warnings'
  | 'errors'
  | 'next'
>;

/**
 * Turns what the program saw into neighbors. The ring's records are consumed only when the neighbors are in the kernel.
 * Throws SnoopyError `netlink_failed` or `map_failed`; a failure of one neighbor or of probes is in the result.
 */
export function reconcileHosts(run: Run, machine: Machine): HostPass {
  return withRing(run.session.pins, (ring) => reconcileWith(run, machine, ring));
}

function reconcileWith(run: Run, machine: Machine, ring: Ring | undefined): HostPass {
  const { session, options, stopwatch } = run;
  const { desired, topology } = machine;
  const { neighborProtocol: protocol, maxBindings } = session.runtime;
  stopwatch.enter('drain');
  const { drained, ...found } = drain(run, machine, ring);
  const { hosts, index, plan, byStatus, ...probed } = probeHosts(run, machine, found.hosts, ring);
  const written = options.check
    ? { ...NOTHING_WRITTEN, changes: plannedNeighbors(plan.changes, protocol) }
    : write(run, machine, hosts, plan, ring);
  const announced = announce(run, topology, hosts, plan.decisions, index);
  const limits = { room: HINTS_ROOM, not: announced.left };
  const memory = options.check ? NO_CHANGE : planMemory(topology, hosts, index, plan, byStatus, limits);
  if (!options.check) writeMemory(session, memory, byStatus);
  const verified = verifyZebra(run, plan.decisions, written.changes.length);

  const moves = [...drained.changes, ...probed.drained.changes];
  const isDamaged = drained.damaged || probed.drained.damaged;
  return {
    changes: written.changes,
    total: plan.total,
    records: drained.records + probed.drained.records,
    probes: probed.sent.hosts,
    announcements: announced.sent,
    confirms: probed.confirms,
    hints: { probed: probed.sent.hints, learned: byStatus.learned.length },
    frr: verified.report,
    bridges: describeBridges(desired, topology, plan),
    warnings: [
      ...found.warnings,
      ...probed.warnings,
      ...verified.warnings,
      ...warningsOf(plan, moves, isDamaged),
      ...warningsOfTable(hosts.bindings, maxBindings, topology),
      ...warningsOfLimits(machine.observed, hosts, topology),
    ],
    errors: [...topology.problems, ...probed.errors, ...announced.errors, ...verified.errors],
    next: () => ({
      interest: interestOf(desired, topology, [...hosts.hints, ...memory.remember], plan, index),
      dueMs:
        written.hasReturned || probed.hasUnprobed || announced.left.length > 0
          ? hosts.nowMs + RETRY_MS
          : Math.min(
              byStatus.dueMs,
              hosts.nowMs + verified.dueInMs,
              nextDue(topology, hosts, { protocol, hasProbed: probed.sent.hosts + probed.sent.hints > 0 }),
            ),
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
  // Without a pinned map of bindings (a check, or a failed load) use the bindings that a load would recover.
  const hosts = keepsBindings(session.pins)
    ? retrieveHosts(session, machine, environment.now)
    : recoverHosts(run, machine);
  if (options.unfreeze.length === 0) return { drained, hosts, warnings: [] };
  const unfrozen = unfreeze(hosts, options.unfreeze);
  if (!options.check) rewriteBindings(session.pins, unfrozen.rewritten, { unfreezes: true });
  return { drained, hosts: unfrozen.hosts, warnings: unfrozen.warnings };
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
  /** True when a host whose binding had ended was seen meanwhile: the next pass decides again. */
  readonly hasReturned: boolean;
}

const NOTHING_WRITTEN: HostsWritten = { changes: [], hasReturned: false };

/** Writes neighbors, then ends bindings, then consumes the ring: the run after a killed one repeats these steps. */
function write(
  { session, stopwatch }: Run,
  machine: Machine,
  hosts: ObservedHosts,
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
  const hasReturned = endBindings(session, machine, hosts, plan, stuck);
  ring?.commit();
  return { changes: reports, hasReturned };
}

const NO_CHANGE: MemoryChange = { remember: [], forget: [] };

/** Writes the memory of hints, and deletes hints that are done with. */
function writeMemory({ pins }: Session, { remember, forget }: MemoryChange, byStatus: HintsByStatus): void {
  const seenHints = [...byStatus.learned, ...byStatus.obsolete].filter(isSeenHint);
  writeHints(pins, { remember, forget, seenHints });
}

/**
 * Deletes the bindings that have ended and corrects the ports' binding counts. A neighbor that could not be removed (one
 * of `stuck`, by bindingId) keeps its binding. Returns true when a host was seen meanwhile, so that its binding stays.
 */
function endBindings(
  session: Session,
  { observed, topology }: Machine,
  hosts: ObservedHosts,
  decided: HostPlan,
  stuck: ReadonlySet<string>,
): boolean {
  const ended = decided.forget.filter((binding) => stuck.size === 0 || !stuck.has(bindingId(binding)));
  const isFinal = (binding: Binding): boolean => decided.endings.get(binding)?.isFinal ?? true;
  const forgotten = new Set(forgetBindings(session.pins, ended, isFinal));
  const left =
    forgotten.size === 0 ? hosts.bindings : hosts.bindings.filter((binding) => !forgotten.has(binding));
  const corrected = correctCounts(observed.datapath.ports, hosts.portStates, left, portsOf(topology));
  if (corrected.size > 0) writePolicies(session.pins, corrected);
  return forgotten.size < ended.length;
}

/** The ports of the bridges of a run. */
function portsOf({ bridges }: Topology): ReadonlySet<IfIndex> {
  return new Set(bridges.flatMap(({ ports }) => ports.map(({ ifIndex }) => ifIndex)));
}

function interestOf(
  { bridges }: Desired,
  topology: Topology,
  hints: readonly Hint[],
  { decisions, changes }: HostPlan,
  index: HostIndex,
): Interest {
  const domains = topology.bridges.flatMap((bridge) => [...bridge.domains.values()]);
  const provisioned = bridges.flatMap(({ statics }) => statics.flatMap(({ macs }) => macs));
  const changed = new Set(changes.map(({ device, ip }) => `${device} ${ip}`));
  return {
    macs: new Set([...decisions.map(({ mac }) => mac), ...provisioned]),
    ips: new Set(decisions.map(({ ip }) => ip)),
    remembered: new Set(hints.map(({ ip }) => ip)),
    devices: new Set(domains.map(({ device }) => device)),
    hinted: new Set(hints.map(({ mac }) => mac)),
    ports: portsOf(topology),
    entryOf: (device, ip) => (changed.has(`${device} ${ip}`) ? undefined : index.neighborOf(device, ip)),
  };
}
