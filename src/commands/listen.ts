// Passes until the time is over: the first at once, each later one when there is something to do.

import { problemOf } from '../base/errors.ts';
import { distinct } from '../base/group.ts';
import { formatAge } from '../base/units.ts';
import { lifeMsOf } from '../core/probes/hints.ts';
import { type NeighborChangeReport, NO_CONFIRMS, NO_HINTS, NOTHING_VERIFIED } from '../core/report.ts';
import { distinctWarnings } from '../core/warnings.ts';
import type { Watchlist } from '../core/watchlist.ts';
import { readBinding } from '../datapath/migrate.ts';
import { type BindingKey, bindingId } from '../datapath/records/binding-key.ts';
import { sleep } from '../ffi/libc.ts';
import { refreshPins } from '../host/apply.ts';
import { lacksLinks } from '../host/observe.ts';
import { type Changed, NOTHING_CHANGED, openWatch, type Watch } from '../host/watch.ts';
import { conclude, isWell, lostLock, noteSuccess } from './conclude.ts';
import type { Narrowed } from './narrow.ts';
import type { Machine } from './retrieve.ts';
import { MOST_NAMED, type NarrowPass, type Pass, type PassResult, RETRY_MS, type Run } from './run.ts';
import type { Named } from './view.ts';

/** The passes of a listening run. */
export interface Passes {
  /** Over all hosts. `known`: the machine as it is, apart from hosts and pins. */
  whole(run: Run, known?: Machine): Pass;
  /** Over the ports and hosts that are named, and the hosts of the ring's records, on the machine that an earlier pass left. */
  narrow(run: Run, machine: Machine, named: Named): Narrowed;
}

/** When the machine was looked at, and for how long that is trusted. Times: CLOCK_MONOTONIC in milliseconds, as all of these. */
interface Trust {
  readonly lookedMs: number;
  readonly trustMs: number;
}

/** What a listening run knows after a pass. */
interface Known extends Trust {
  readonly watchlist: Watchlist;
  /** Undefined: to be looked at again. */
  readonly machine: Machine | undefined;
  /** When a pass over all hosts is due. */
  readonly wholeMs: number;
  /** When zebra is to be asked again. */
  readonly verifyMs: number;
  /** When the pins of links were last looked at. */
  readonly pinsMs: number;
  /** True when a pass has been narrow or has failed since the last one over all hosts, which tells of them as they are. */
  readonly isOutdated: boolean;
  /** The last pass that only the clock caused. */
  readonly clockMs: number;
  /** True when the last pass over all hosts and the last pass have done all that they had to. */
  readonly isWell: { readonly whole: boolean; readonly last: boolean };
}

/**
 * For how long passes trust that they would have been notified of a change: some are silent. Longer on a large node, so that
 * looks at everything use a thousandth of a core.
 */
const SHORTEST_TRUST_MS = 60_000;
const LONGEST_TRUST_MS = 600_000;
/** The time to the next look, as a multiple of the processor time of the last one. */
const TRUST_FACTOR = 1_000;
/** Most ports that a narrow pass is given: more of them are read faster all together. */
const MOST_PORTS = 100;
/** How often the progress line is rewritten. */
const TICK_MS = 1000;

/**
 * Merges all passes into one result. Throws what the first pass throws; a failure of a later one is in the result. The first
 * and the last pass are over all hosts, so the result tells of all.
 */
export function listen(run: Run, passes: Passes): PassResult {
  const { session, options, environment, stopwatch, untilMs } = run;
  const { now, processorMs } = environment;
  // Subscribes before the first pass, so that a change during the pass ends the first wait.
  const watch = openWatch(session.netlink.portId, now);
  const later: Run = { ...run, options: { ...options, unfreeze: [] }, strays: 'none' };
  try {
    const first = passes.whole(run);
    let known = afterWhole(first, now());
    let result = withoutRest(first);
    // Now, and not only at the end, which may be far away.
    conclude(run, result);
    let notedMs = now();
    stopwatch.enter('listen');
    for (;;) {
      const changed = waitForWork(run, watch, result, known);
      const startedMs = now();
      // Another run may work here by now, beside this one.
      if (!session.isLocked()) return merge(result, failedPass(lostLock(session), result));
      const isLast = now() >= untilMs;
      if (isLast && !known.isOutdated) return result;
      const startedUseMs = processorMs();
      const done = attempt(later, passes, result, known, changed);
      known = done.known;
      if (isLast) return done.result;
      result = done.result;
      if (known.isWell.whole && known.isWell.last && startedMs - notedMs >= SHORTEST_TRUST_MS) {
        noteSuccess(run);
        notedMs = startedMs;
      }
      stopwatch.enter('listen');
      // Uses at most half of a core, however fast things change: waiting for a host, for zebra or for a qdisc uses none. What a
      // failed pass left waits too: it may fail again.
      const pauseMs = done.hasFailed ? RETRY_MS : processorMs() - startedUseMs;
      sleep(Math.max(0, Math.min(pauseMs, untilMs - now())));
    }
  } finally {
    watch.close();
  }
}

/** What is reported of a pass. The rest of it has thousands of hosts on a large node, and is not kept while the run waits. */
function withoutRest({ machine, next, ...result }: Pass): PassResult {
  return result;
}

/**
 * `costMs`: the processor time of a look that took no steps, which would be no measure of another one. `trusted`: since when and
 * for how long the machine is trusted that the pass started from, if it has not looked.
 */
function afterWhole(pass: Pass, nowMs: number, costMs = 0, trusted?: Trust): Known {
  const { machine } = pass;
  const { watchlist, wholeMs, verifyMs } = pass.next(null);
  const isDone = isWell(pass);
  const { lookedMs, trustMs } = trusted ?? { lookedMs: nowMs, trustMs: trustMsOf(costMs, machine) };
  return {
    watchlist,
    machine,
    lookedMs,
    trustMs,
    wholeMs: Math.min(wholeMs, lookedMs + trustMs),
    verifyMs,
    pinsMs: nowMs,
    isOutdated: false,
    clockMs: nowMs,
    isWell: { whole: isDone, last: isDone },
  };
}

/** For how long a look at everything is trusted that used so much processor time: it also renews hints before they end. */
function trustMsOf(costMs: number, machine: Machine | undefined): number {
  const halfLivesMs = (machine?.topology.bridges ?? []).map((bridge) => lifeMsOf(bridge) / 2);
  const longestMs = Math.min(LONGEST_TRUST_MS, ...halfLivesMs);
  return Math.max(SHORTEST_TRUST_MS, Math.min(longestMs, costMs * TRUST_FACTOR));
}

/** Waits until there is something to do, a pass is due, or the time is over. */
function waitForWork(run: Run, watch: Watch, before: PassResult, known: Known): Changed {
  const { session, environment } = run;
  const { now, progress } = environment;
  const ring = session.pins.maps.get('changes')?.fd;
  const { watchlist, machine, wholeMs, verifyMs, pinsMs, clockMs } = known;
  const pinsDueMs = pinsMs + SHORTEST_TRUST_MS;
  const dueMs = Math.min(run.untilMs, wholeMs, verifyMs, pinsDueMs, watchlist.nextDueMs(clockMs));
  const soFar = `${before.changes.length} neighbor changes so far, ${before.total} neighbors`;
  do {
    progress?.(`listening: ${formatAge(Math.max(0, run.untilMs - now()) / 1000)} left, ${soFar}`);
    const tickMs = progress === null ? dueMs : Math.min(dueMs, now() + TICK_MS);
    const changed = watch.wait(ring, { watchlist, machine }, tickMs);
    if (changed.what !== 'nothing') return changed;
  } while (now() < dueMs);
  return NOTHING_CHANGED;
}

/** A pass whose failure neither ends the listening nor loses the report of earlier passes. */
interface Attempt {
  readonly result: PassResult;
  readonly known: Known;
  readonly hasFailed: boolean;
}

function attempt(run: Run, passes: Passes, before: PassResult, known: Known, changed: Changed): Attempt {
  const { now, processorMs } = run.environment;
  const nowMs = now();
  try {
    refreshPins(run.session);
    const { machine, names, ports, verifies, pinsMs } = planPass(run, known, changed, nowMs);
    const startedUseMs = processorMs();
    const whole = (of: Machine | undefined, trusted?: Trust): Attempt => {
      const found = passes.whole(run, of);
      const costMs = found.steps.length === 0 ? processorMs() - startedUseMs : 0;
      const after = afterWhole(found, nowMs, costMs, trusted);
      return { result: merge(before, withoutRest(found)), known: after, hasFailed: false };
    };
    if (machine === undefined || names === 'all') return whole(machine, machine && known);
    // An address was looked at meanwhile, and is due later now.
    if (names.length === 0 && changed.what === 'nothing' && !verifies) {
      return { result: before, known: { ...known, pinsMs }, hasFailed: false };
    }
    const narrowed = passes.narrow(run, machine, { watchlist: known.watchlist, names, ports, verifies });
    if (narrowed.kind === 'more') return whole(narrowed.machine);
    const found = narrowed.pass;
    const { watchlist, wholeMs, verifyMs } = found.next(known.watchlist);
    const hasLost = found.dropped !== before.dropped;
    const after: Known = {
      ...known,
      watchlist,
      machine: found.machine,
      wholeMs: hasLost ? nowMs : Math.min(known.wholeMs, wholeMs),
      verifyMs: verifies ? verifyMs : Math.min(known.verifyMs, verifyMs),
      pinsMs,
      isOutdated: true,
      clockMs: changed.what === 'nothing' ? nowMs : known.clockMs,
      isWell: { ...known.isWell, last: isWell(found) },
    };
    const { machine: _, next, ...done } = found;
    return { result: merge(before, done), known: after, hasFailed: false };
  } catch (thrown) {
    const wholeMs = nowMs + RETRY_MS;
    const lost = { machine: undefined, wholeMs, pinsMs: nowMs, isOutdated: true };
    const after: Known = { ...known, ...lost, isWell: { ...known.isWell, last: false } };
    return { result: merge(before, failedPass(thrown, before)), known: after, hasFailed: true };
  }
}

/** What the next pass looks at. */
interface PassPlan {
  /** Undefined: to be looked at again. */
  readonly machine: Machine | undefined;
  readonly names: readonly BindingKey[] | 'all';
  readonly ports: Named['ports'];
  readonly verifies: boolean;
  /** When the pins of links were last looked at. */
  readonly pinsMs: number;
}

function planPass(
  { session, untilMs }: Run,
  { watchlist, machine, lookedMs, trustMs, wholeMs, verifyMs, pinsMs }: Known,
  { what, names, ports }: Changed,
  nowMs: number,
): PassPlan {
  const verifies = nowMs >= verifyMs;
  const unread = verifies ? watchlist.unread() : [];
  const looksAtPins = nowMs - pinsMs >= SHORTEST_TRUST_MS;
  const isDue = nowMs >= Math.min(wholeMs, untilMs);
  const due = isDue ? [] : dueNames(session, watchlist, nowMs);
  const keys = [...names, ...due, ...watchlist.hostsOn(ports), ...unread];
  const named = new Map(keys.map((key) => [bindingId(key), key]));
  const isWhole = isDue || named.size + (session.pins.ring()?.pending() ?? 0) > MOST_NAMED;
  const looked = what === 'machine' || ports.length > MOST_PORTS ? 'all' : ports;
  // The last pass looks at everything, and lost pins are repaired at once.
  const isKnown =
    what !== 'everything' &&
    nowMs < untilMs &&
    !(isWhole && (looked === 'all' || looked.length > 0)) &&
    nowMs - lookedMs < trustMs &&
    session.pins.loadReason === null &&
    !(looksAtPins && machine !== undefined && lacksLinks(session.pins, machine.observed));
  return {
    machine: isKnown ? machine : undefined,
    names: isWhole ? 'all' : [...named.values()],
    ports: looked,
    verifies,
    pinsMs: looksAtPins ? nowMs : pinsMs,
  };
}

/** The addresses that are due, without those whose bindings show that they have been seen meanwhile. */
function dueNames({ pins }: Run['session'], watchlist: Watchlist, nowMs: number): BindingKey[] {
  return watchlist.due(nowMs).filter((key) => {
    const binding = readBinding(pins, key);
    return binding === undefined || !watchlist.isPutOffBy(binding, nowMs);
  });
}

/** What a narrow pass did. */
type NarrowDone = Omit<NarrowPass, 'next' | 'remaining' | 'machine'>;

/** A pass that failed: it did nothing, and looked at nothing. */
function failedPass(thrown: unknown, { dropped }: PassResult): NarrowDone {
  return {
    steps: [],
    changes: [],
    records: 0,
    probes: 0,
    announcements: 0,
    confirms: NO_CONFIRMS,
    hints: NO_HINTS,
    frr: NOTHING_VERIFIED,
    dropped,
    warnings: [],
    errors: [problemOf(thrown, 'listen')],
  };
}

/** Merges two passes: what was done adds up, and what was found is that of the later pass, as far as it has looked. */
function merge(earlier: PassResult, later: PassResult | NarrowDone): PassResult {
  return {
    ...earlier,
    ...later,
    steps: [...earlier.steps, ...later.steps],
    changes: [...earlier.changes, ...later.changes],
    survey: 'survey' in later ? later.survey : undefined,
    total: 'total' in later ? later.total : earlier.total + growthOf(later.changes),
    records: earlier.records + later.records,
    probes: earlier.probes + later.probes,
    announcements: earlier.announcements + later.announcements,
    confirms: {
      sent: earlier.confirms.sent + later.confirms.sent,
      answered: earlier.confirms.answered + later.confirms.answered,
    },
    hints: {
      probed: earlier.hints.probed + later.hints.probed,
      learned: earlier.hints.learned + later.hints.learned,
    },
    frr: {
      verified: Math.max(earlier.frr.verified, later.frr.verified),
      missing: later.frr.verified > 0 ? later.frr.missing : earlier.frr.missing,
      renewed: earlier.frr.renewed + later.frr.renewed,
    },
    warnings: distinctWarnings([...earlier.warnings, ...later.warnings]),
    errors: 'total' in later ? later.errors : distinct([...earlier.errors, ...later.errors]),
  };
}

/** By how many neighbors changes make the table larger. */
function growthOf(changes: readonly NeighborChangeReport[]): number {
  const count = (kind: NeighborChangeReport['kind']): number =>
    changes.filter((change) => change.kind === kind && change.outcome.kind === 'applied').length;
  return count('add') - count('remove');
}
