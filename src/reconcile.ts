// The whole story of a run: observe, plan, apply, drain, decide, write, verify; and again while listening.

import type { IpAddress } from './base/address.ts';
import { type Problem, problemOf } from './base/errors.ts';
import { Stopwatch } from './base/stopwatch.ts';
import type { Users } from './base/trust.ts';
import { formatAge } from './base/units.ts';
import { loadConfig } from './config/config.ts';
import { type ActionSummary, summarize } from './core/actions.ts';
import { correctCounts } from './core/binding-counts.ts';
import {
  chooseConflicts,
  findConflicts,
  keepForOwners,
  surelyUnanswered,
  warningOfKept,
  warningsOfUnprobed,
} from './core/conflicts.ts';
import type { Desired } from './core/desired.ts';
import { HostIndex } from './core/host-index.ts';
import type { KeptByOwner } from './core/neighbors/claim.ts';
import { type HostPlan, planHosts } from './core/neighbors/plan.ts';
import { recoverBindings, unfreeze } from './core/neighbors/recover.ts';
import type { Observed, ObservedHosts } from './core/observed.ts';
import { plan, type Scope } from './core/plan.ts';
import { planProbes } from './core/probes.ts';
import {
  APPLIED,
  type BridgeReport,
  type Confirms,
  type Counters,
  type NeighborChangeReport,
  type Outcome,
  PHASES,
  type Phase,
  PLANNED,
  type ReconcileReport,
  type Step,
} from './core/report.ts';
import { allWell, anyChange, describeBridges, describeChange } from './core/summary.ts';
import { nextDue } from './core/timers.ts';
import { chooseBridges, resolveTopology, type Topology } from './core/topology.ts';
import { distinct, type Warning } from './core/warning.ts';
import { warningsOf, warningsOfState, warningsOfTable } from './core/warnings.ts';
import { keepsBindings } from './datapath/pins.ts';
import type { Binding } from './datapath/records/binding.ts';
import { bindingId } from './datapath/records/binding-key.ts';
import type { Change } from './datapath/records/change.ts';
import { openRing, type Ring } from './datapath/ring.ts';
import { sleep } from './ffi/libc.ts';
import { applyActions, finishMigration, planned } from './host/apply.ts';
import { forgetBindings, rewriteBindings, writePolicies } from './host/bindings.ts';
import { writeNeighbors } from './host/neighbor-table.ts';
import { observe, observeCounters, observeHosts } from './host/observe.ts';
import { noteSuccess } from './host/pin-directory.ts';
import { checkOwners, sendProbes } from './host/prober.ts';
import { openSession, type Session } from './host/session.ts';
import { type Interest, openWatch, type Watch } from './host/watch.ts';
import { writeMetrics } from './metrics.ts';
import type { RunReport } from './render/prometheus.ts';

export interface ReconcileOptions {
  readonly config: string;
  /** Plan only: write nothing, consume nothing. */
  readonly check: boolean;
  readonly lockTimeoutMs: number;
  /** How long to go on after the first pass; 0: not at all. */
  readonly listenMs: number;
  /** Empty: all configured bridges. */
  readonly bridges: readonly string[];
  /** Addresses whose freeze as duplicates is to end (RFC 9161, section 3.7). */
  readonly unfreeze: readonly IpAddress[];
}

/** What a command may use of the world beside the kernel. */
export interface Environment {
  /** CLOCK_MONOTONIC in milliseconds, the clock of the bindings. */
  readonly now: () => number;
  /** Milliseconds since the epoch, for what is told to people and to Prometheus. */
  readonly wallClock: () => number;
  /** Whose files are believed. */
  readonly users: Users;
  /** A line about progress, for `--verbose`. */
  readonly log: (line: string) => void;
  /** Shows in one line, in place of the last, how far long work is; null: there is nobody to show it to. */
  readonly progress: ((line: string) => void) | null;
}

/**
 * One run. Throws SnoopyError for what keeps it from starting: the configuration, the lock, privileges, a
 * kernel without what it takes. Everything else is in the report.
 */
export function runReconcile(options: ReconcileOptions, environment: Environment): ReconcileReport {
  const { now, users } = environment;
  const stopwatch = new Stopwatch(PHASES, now);
  const everything = loadConfig(options.config, users);
  const desired = chooseBridges(everything, options.bridges);
  stopwatch.enter('lock');
  const session = openSession(everything, {
    mode: options.check ? 'plan' : 'write',
    lockTimeoutMs: options.lockTimeoutMs,
    now,
    users,
    capabilities: !options.check && asksAlways(desired) ? ['CAP_NET_RAW'] : [],
  });
  const run: Run = { session, everything, desired, options, environment, stopwatch };
  try {
    const result = options.listenMs > 0 && !options.check ? listen(run) : pass(run);
    const mounts = session.mounted ? [mountStep(desired.runtime.bpffs)] : [];
    return conclude(run, reportOf(run, { ...result, steps: [...mounts, ...result.steps] }));
  } catch (thrown) {
    conclude(run, { ok: false, errors: [problemOf(thrown, 'snoopy')], durations: stopwatch.seconds() });
    throw thrown;
  } finally {
    session.close();
  }
}

/** Where hosts are asked only if there is an address to ask with, a run without the right to ask does the rest. */
function asksAlways({ bridges }: Desired): boolean {
  return bridges.some(({ probe }) => probe.enabled === 'always');
}

/** What all passes of a run share. */
interface Run {
  readonly session: Session;
  /** The whole configuration. */
  readonly everything: Desired;
  /** What of it this run is about: all, or the bridges of `--bridge`. */
  readonly desired: Desired;
  readonly options: ReconcileOptions;
  readonly environment: Environment;
  readonly stopwatch: Stopwatch<Phase>;
}

/**
 * Notes a success and writes the textfile. Not for a plan; nor for a run of some bridges, which does not speak for
 * the host.
 */
function conclude<Report extends RunReport>(run: Run, report: Report): Report {
  const { session, everything, options, environment, stopwatch } = run;
  if (options.check || options.bridges.length > 0) return report;
  const nowMs = environment.wallClock();
  const { textfile } = everything;
  const means = { desired: everything, session, stopwatch, now: environment.now, nowMs };
  const problems = textfile === null ? [] : writeMetrics(textfile, report, means);
  if (report.ok && problems.length === 0) problems.push(...noteSuccess(session.pins.directory, nowMs));
  const ok = report.ok && problems.length === 0;
  return { ...report, ok, errors: [...report.errors, ...problems], durations: stopwatch.seconds() };
}

/** Passes until the time is over, each as soon as there is something to do. */
function listen(run: Run): Pass {
  const { session, options, environment, stopwatch } = run;
  const { now } = environment;
  const deadlineMs = now() + options.listenMs;
  // Subscribed before the first pass: what happens during it is heard by the first wait.
  const watch = openWatch(session.netlink.portId, now);
  const later: Run = { ...run, options: { ...options, unfreeze: [] } };
  try {
    let result = pass(run);
    // Not only at the end, which may be far away.
    conclude(run, reportOf(run, result));
    stopwatch.enter('listen');
    while (now() < deadlineMs) {
      waitForWork(run, watch, result, deadlineMs);
      const startedMs = now();
      if (startedMs >= deadlineMs) break;
      result = merge(result, attempt(later, result));
      stopwatch.enter('listen');
      // At most half of a core, however fast things change.
      sleep(Math.max(0, Math.min(now() - startedMs, deadlineMs - now())));
    }
    return result;
  } finally {
    watch.close();
  }
}

/** How often somebody who looks on hears of it. */
const TICK_MS = 1000;

/** Waits until there is something to do, or a pass is due, or the listening is over. */
function waitForWork({ session, environment }: Run, watch: Watch, before: Pass, deadlineMs: number): void {
  const { now, progress } = environment;
  const ring = session.pins.maps.get('changes')?.fd;
  const { interest, dueMs } = before.next();
  const untilMs = Math.min(deadlineMs, dueMs);
  const told = `${before.changes.length} neighbor changes so far, ${before.total} neighbors`;
  while (now() < untilMs) {
    progress?.(`listening: ${formatAge((deadlineMs - now()) / 1000)} left, ${told}`);
    const tickMs = progress === null ? untilMs : Math.min(untilMs, now() + TICK_MS);
    if (watch.wait(ring, interest, tickMs)) return;
  }
}

/** Time until the next attempt after a pass that could not be finished. */
const RETRY_MS = 1000;

/** A pass whose failure ends neither the listening nor the report of what was done before. */
function attempt(run: Run, before: Pass): Pass {
  try {
    run.session.reopenPins();
    return pass(run);
  } catch (thrown) {
    const dueMs = run.environment.now() + RETRY_MS;
    const { interest } = before.next();
    const errors = [problemOf(thrown, 'listen')];
    const nothing = { records: 0, probes: 0, confirms: { sent: 0, answered: 0 } };
    return {
      ...before,
      ...nothing,
      steps: [],
      changes: [],
      warnings: [],
      errors,
      next: () => ({ interest, dueMs }),
    };
  }
}

/** What one pass over the machine did and found. */
interface Pass {
  readonly steps: readonly Step[];
  readonly changes: readonly NeighborChangeReport[];
  readonly total: number;
  readonly records: number;
  readonly probes: number;
  readonly confirms: Confirms;
  readonly dropped: number;
  readonly counters: Counters;
  readonly bridges: readonly BridgeReport[];
  readonly remaining: readonly ActionSummary[];
  readonly warnings: readonly Warning[];
  readonly errors: readonly Problem[];
  readonly next: () => Next;
}

/** What a run that listens waits for; worked out only for one that does. */
interface Next {
  readonly interest: Interest;
  /** When the next pass is due though nothing happens: a probe, the end of a hold time or of an age. */
  readonly dueMs: number;
}

/** Two passes as one: what was done adds up, what was found is the later. */
function merge(earlier: Pass, later: Pass): Pass {
  return {
    ...later,
    steps: [...earlier.steps, ...later.steps],
    changes: [...earlier.changes, ...later.changes],
    records: earlier.records + later.records,
    probes: earlier.probes + later.probes,
    confirms: {
      sent: earlier.confirms.sent + later.confirms.sent,
      answered: earlier.confirms.answered + later.confirms.answered,
    },
    warnings: distinct([...earlier.warnings, ...later.warnings]),
  };
}

function pass(run: Run): Pass {
  const { session, desired, options, environment, stopwatch } = run;
  const { netlink, runtime } = session;
  const scope: Scope = { whole: options.bridges.length === 0 };
  stopwatch.enter('observe');
  let observed = observe(netlink, runtime, session.pins);
  let topology = resolveTopology(desired, observed);
  stopwatch.enter('plan');
  const actions = plan(desired, topology, observed, scope);
  const warnings = warningsOfState(desired, observed);
  let steps: Step[] = [];
  let remaining: ActionSummary[] = [];
  if (options.check) {
    steps = planned(actions);
  } else if (actions.length > 0) {
    const before = observed;
    session.adopt = () => {
      const adopted = takeOver(run, before);
      if (adopted.length > 0) warnings.push({ kind: 'recovered', count: adopted.length });
      return adopted;
    };
    stopwatch.enter('apply');
    steps.push(...applyActions(session, actions, environment.progress));
    stopwatch.enter('verify');
    observed = observe(netlink, runtime, session.pins);
    topology = resolveTopology(desired, observed);
    remaining = plan(desired, topology, observed, scope).map(summarize);
  }
  for (const { action, outcome } of steps) {
    environment.log(`${action.kind} ${action.port ?? action.prefix ?? action.path ?? ''}: ${outcome.kind}`);
  }
  const late = options.check ? [] : finishMigration(session, observed);
  const changesMap = session.pins.maps.get('changes');
  const ring = changesMap && openRing(changesMap.fd, changesMap.info.maxEntries);
  try {
    const hosts = settleHosts(run, topology, observed, ring);
    const { ringDropped, ...counters } = observeCounters(session.pins);
    return {
      ...hosts,
      steps,
      remaining,
      counters,
      dropped: ringDropped,
      warnings: [...warnings, ...hosts.warnings],
      errors: [...late, ...hosts.errors],
    };
  } finally {
    ring?.close();
  }
}

/** Bindings for the neighbors of all configured bridges, also of those that `--bridge` leaves alone. */
function takeOver({ session, everything, environment }: Run, observed: Observed): Binding[] {
  const topology = resolveTopology(everything, observed);
  const hosts = observeHosts(session.netlink, session.pins, topology, observed, environment.now);
  return recoverBindings(topology, hosts, session.runtime.neighborProtocol);
}

function mountStep(path: string): Step {
  return { action: { kind: 'mount', path }, outcome: APPLIED };
}

type HostResult = Pick<
  Pass,
  'changes' | 'total' | 'records' | 'probes' | 'confirms' | 'bridges' | 'warnings' | 'errors' | 'next'
>;

/** Drains the ring, decides and writes the neighbors, ends bindings, and only then commits the ring. */
function settleHosts(run: Run, topology: Topology, observed: Observed, ring: Ring | undefined): HostResult {
  const { session, desired, options, environment, stopwatch } = run;
  const { netlink, runtime, pins } = session;
  const warnings: Warning[] = [];
  const errors: Problem[] = [...topology.problems];
  stopwatch.enter('drain');
  // The ring before the map: a record that is read speaks of a binding that the map has by then.
  const drained = ring?.read('moves') ?? { changes: [], records: 0, damaged: false };
  let hosts = observeHosts(netlink, pins, topology, observed, environment.now);
  // In check mode, or where the load failed: what a load would take over, or nothing would be left of it.
  if (!keepsBindings(pins)) hosts = { ...hosts, bindings: takeOver(run, observed) };
  if (options.unfreeze.length > 0) {
    const unfrozen = unfreeze(hosts, options.unfreeze);
    warnings.push(...unfrozen.warnings);
    if (!options.check) rewriteBindings(pins, unfrozen.rewritten);
    hosts = unfrozen.hosts;
  }
  const checked = checkConflicts(run, topology, observed, hosts, ring);
  hosts = checked.hosts;
  stopwatch.enter('decide');
  const scope = { protocol: runtime.neighborProtocol, whole: options.bridges.length === 0 };
  const decided = planHosts(topology, hosts, { ...scope, kept: checked.kept }, checked.index);
  const changes = [...drained.changes, ...checked.changes];
  const damaged = drained.damaged || checked.damaged;
  let isUnfinished = [...checked.kept.values()].some(({ isProbed }) => !isProbed);
  errors.push(...checked.errors);
  let probes = 0;
  let outcomes: readonly Outcome[] = options.check ? decided.changes.map(() => PLANNED) : [];
  if (!options.check) {
    stopwatch.enter('write');
    outcomes = writeNeighbors(netlink, decided.changes, runtime.neighborProtocol);
    writeNeighbors(netlink, decided.refresh, runtime.neighborProtocol);
    isUnfinished = endBindings(session, observed, hosts, decided, outcomes) || isUnfinished;
    ring?.commit();
    stopwatch.enter('probe');
    try {
      probes = sendProbes(pins, planProbes(topology, decided, hosts));
    } catch (thrown) {
      errors.push(problemOf(thrown, 'probes'));
    }
  }
  return {
    changes: decided.changes.map((change, i) =>
      describeChange(change, outcomes[i] ?? APPLIED, runtime.neighborProtocol),
    ),
    total: decided.total,
    records: drained.records + checked.records,
    probes,
    confirms: checked.confirms,
    errors,
    bridges: describeBridges(desired, topology, decided),
    warnings: [
      ...warnings,
      ...checked.warnings,
      ...warningsOf(decided, changes, damaged),
      ...warningsOfTable(hosts.bindings, runtime.maxBindings, topology),
    ],
    next: () => ({
      interest: interestOf(desired, topology, decided),
      dueMs: isUnfinished
        ? hosts.nowMs + RETRY_MS
        : nextDue(topology, hosts, { protocol: runtime.neighborProtocol, hasProbed: probes > 0 }),
    }),
  };
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

/** What the owner checks of a pass found. */
interface Checked {
  /** As they are after the checks. */
  readonly hosts: ObservedHosts;
  readonly index: HostIndex;
  readonly confirms: Confirms;
  readonly kept: ReadonlyMap<string, KeptByOwner>;
  readonly changes: readonly Change[];
  readonly records: number;
  readonly damaged: boolean;
  readonly warnings: readonly Warning[];
  readonly errors: readonly Problem[];
}

/** RFC 9161, section 3.7b: before an address goes to another MAC, a probe checks whether its owner is still there. */
function checkConflicts(
  { session, options, environment, stopwatch }: Run,
  topology: Topology,
  observed: Observed,
  before: ObservedHosts,
  ring: Ring | undefined,
): Checked {
  const index = new HostIndex(before);
  const nothing: Checked = {
    hosts: before,
    index,
    confirms: { sent: 0, answered: 0 },
    kept: new Map(),
    changes: [],
    records: 0,
    damaged: false,
    warnings: [],
    errors: [],
  };
  if (options.check || ring === undefined) return nothing;
  stopwatch.enter('confirm');
  const { netlink, pins, runtime } = session;
  const conflicts = findConflicts(topology, before, runtime.neighborProtocol, index);
  const chosen = chooseConflicts(conflicts);
  if (chosen.length === 0) return nothing;
  try {
    const lost = observeCounters(pins).ringDropped;
    const { probed, answered, ...read } = checkOwners(chosen, ring, environment.now);
    const hosts = observeHosts(netlink, pins, topology, observed, environment.now);
    const newIndex = new HostIndex(hosts);
    const left = findConflicts(topology, hosts, runtime.neighborProtocol, newIndex);
    // A record that the ring had no room for may have been an answer.
    const certain = observeCounters(pins).ringDropped === lost ? probed : surelyUnanswered(probed, left);
    const kept = keepForOwners(left, certain, [...answered.keys()]);
    return {
      hosts,
      index: newIndex,
      confirms: { sent: probed.length, answered: answered.size },
      kept,
      ...read,
      warnings: [
        ...[...answered].map(([conflict, port]) => warningOfKept(conflict, port)),
        ...warningsOfUnprobed(kept),
      ],
      errors: [],
    };
  } catch (thrown) {
    // An owner that could not be probed keeps its address.
    const kept = keepForOwners(conflicts, [], []);
    return { ...nothing, kept, warnings: warningsOfUnprobed(kept), errors: [problemOf(thrown, 'probes')] };
  }
}

/**
 * Forgets the bindings that have ended and corrects the ports' binding counts. A neighbor that could not be removed
 * keeps its binding. True where a host was seen meanwhile: then the next pass decides again.
 */
function endBindings(
  session: Session,
  observed: Observed,
  hosts: ObservedHosts,
  decided: HostPlan,
  outcomes: readonly Outcome[],
): boolean {
  const stuck = new Set(decided.changes.filter((_, i) => outcomes[i]?.kind === 'failed').map(bindingId));
  const ended = decided.forget.filter((binding) => stuck.size === 0 || !stuck.has(bindingId(binding)));
  const isFinal = (binding: Binding): boolean => decided.endings.get(binding)?.isFinal ?? true;
  const forgotten = new Set(forgetBindings(session.pins, ended, isFinal));
  const left =
    forgotten.size === 0 ? hosts.bindings : hosts.bindings.filter((binding) => !forgotten.has(binding));
  const corrected = correctCounts(observed.datapath.ports, hosts.portStates, left);
  if (corrected.size > 0) writePolicies(session.pins, corrected);
  return forgotten.size < ended.length;
}

function reportOf({ options, stopwatch }: Run, result: Pass): ReconcileReport {
  const { steps, changes, total, records, probes, confirms, dropped, counters, bridges } = result;
  const { remaining, warnings, errors } = result;
  return {
    version: 1,
    ok: errors.length === 0 && remaining.length === 0 && allWell(steps) && allWell(changes),
    changed: anyChange(steps),
    check: options.check,
    steps,
    neighbors: { changed: anyChange(changes), total, changes },
    ring: { records, dropped },
    counters,
    probes: { sent: probes },
    confirms,
    bridges,
    durations: stopwatch.seconds(),
    remaining,
    warnings,
    errors,
  };
}
