// Passes until the time is over: the first at once, each later one when there is something to do.

import { problemOf } from '../base/errors.ts';
import { formatAge } from '../base/units.ts';
import { NO_CONFIRMS, NO_HINTS, NOTHING_VERIFIED } from '../core/report.ts';
import { distinct } from '../core/warning.ts';
import { sleep } from '../ffi/libc.ts';
import { reopenPins } from '../host/apply.ts';
import { type Changed, openWatch, type Watch } from '../host/watch.ts';
import { conclude } from './conclude.ts';
import type { Machine } from './retrieve.ts';
import { type Pass, RETRY_MS, type Run } from './run.ts';

/** Merges all passes into one result. Throws what the first pass throws; a failure of a later one is in the result. */
export function listen(run: Run, pass: (run: Run, known?: Machine) => Pass): Pass {
  const { session, options, environment, stopwatch, untilMs: deadlineMs } = run;
  const { now, processorMs } = environment;
  // Subscribes before the first pass, so that a change during the pass ends the first wait.
  const watch = openWatch(session.netlink.portId, now);
  const later: Run = { ...run, options: { ...options, unfreeze: [] }, strays: 'none' };
  try {
    let result = pass(run);
    let lookedMs = now();
    // Now, and not only at the end, which may be far away.
    conclude(run, result);
    stopwatch.enter('listen');
    while (now() < deadlineMs) {
      const changed = waitForWork(run, watch, result, Math.min(deadlineMs, lookedMs + LOOK_AGAIN_MS));
      const startedMs = now();
      const startedUseMs = processorMs();
      if (startedMs >= deadlineMs) break;
      const isKnown = changed !== 'machine' && startedMs - lookedMs < LOOK_AGAIN_MS;
      const known = isKnown ? result.machine : undefined;
      if (known === undefined) lookedMs = startedMs;
      const { isDone, found } = attempt(later, (one) => pass(one, known), result);
      result = merge(result, found);
      stopwatch.enter('listen');
      // Uses at most half of a core, however fast things change: waiting for a host, for zebra or for a qdisc uses none. What a
      // failed pass left waits too: it may fail again.
      const pauseMs = isDone ? processorMs() - startedUseMs : RETRY_MS;
      sleep(Math.max(0, Math.min(pauseMs, deadlineMs - now())));
    }
    return result;
  } finally {
    watch.close();
  }
}

/** For how long passes trust that they would have been notified of a change of the machine. Some changes are silent. */
const LOOK_AGAIN_MS = 60_000;

/** How often the progress line is rewritten. */
const TICK_MS = 1000;

/** Waits until there is something to do, a pass is due, or the time is over. */
function waitForWork(run: Run, watch: Watch, before: Pass, latestMs: number): Changed {
  const { session, environment } = run;
  const { now, progress } = environment;
  const ring = session.pins.maps.get('changes')?.fd;
  const { interest, dueMs } = before.next();
  const untilMs = Math.min(latestMs, dueMs);
  const soFar = `${before.changes.length} neighbor changes so far, ${before.total} neighbors`;
  do {
    progress?.(`listening: ${formatAge(Math.max(0, run.untilMs - now()) / 1000)} left, ${soFar}`);
    const tickMs = progress === null ? untilMs : Math.min(untilMs, now() + TICK_MS);
    const changed = watch.wait(ring, interest, tickMs);
    if (changed !== 'nothing') return changed;
  } while (now() < untilMs);
  return 'nothing';
}

/** A pass whose failure neither ends the listening nor loses the report of earlier passes. */
interface Attempt {
  readonly isDone: boolean;
  readonly found: Pass;
}

function attempt(run: Run, pass: (run: Run) => Pass, before: Pass): Attempt {
  try {
    reopenPins(run.session);
    return { isDone: true, found: pass(run) };
  } catch (thrown) {
    return { isDone: false, found: failedPass(thrown, before, run.environment.now()) };
  }
}

/** The result of a pass that failed: it did nothing, found what the previous pass found, and is due again. */
function failedPass(thrown: unknown, before: Pass, dueMs: number): Pass {
  const { interest } = before.next();
  return {
    ...before,
    steps: [],
    changes: [],
    records: 0,
    probes: 0,
    announcements: 0,
    confirms: NO_CONFIRMS,
    hints: NO_HINTS,
    frr: NOTHING_VERIFIED,
    warnings: [],
    errors: [problemOf(thrown, 'listen')],
    machine: undefined,
    next: () => ({ interest, dueMs }),
  };
}

/** Merges two passes: what was done adds up, and what was found is that of the later pass. */
function merge(earlier: Pass, later: Pass): Pass {
  return {
    ...later,
    steps: [...earlier.steps, ...later.steps],
    changes: [...earlier.changes, ...later.changes],
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
    warnings: distinct([...earlier.warnings, ...later.warnings]),
  };
}
