// Passes until the time is over: the first at once, each other one as soon as there is something to do.

import { problemOf } from '../base/errors.ts';
import { formatAge } from '../base/units.ts';
import { NO_CONFIRMS } from '../core/report.ts';
import { distinct } from '../core/warning.ts';
import { sleep } from '../ffi/libc.ts';
import { openWatch, type Watch } from '../host/watch.ts';
import { conclude } from './conclude.ts';
import { type Pass, RETRY_MS, type Run } from './run.ts';

/** All passes as one. Throws what the first pass throws; the failure of a later one is in the result. */
export function listen(run: Run, pass: (run: Run) => Pass): Pass {
  const { session, options, environment, stopwatch } = run;
  const { now } = environment;
  const deadlineMs = now() + options.listenMs;
  // Subscribed before the first pass: what happens during it ends the first wait.
  const watch = openWatch(session.netlink.portId, now);
  const later: Run = { ...run, options: { ...options, unfreeze: [] } };
  try {
    let result = pass(run);
    // Not only at the end, which may be far away.
    conclude(run, result);
    stopwatch.enter('listen');
    while (now() < deadlineMs) {
      waitForWork(run, watch, result, deadlineMs);
      const startedMs = now();
      if (startedMs >= deadlineMs) break;
      result = merge(result, attempt(later, pass, result));
      stopwatch.enter('listen');
      // At most half of a core, however fast things change.
      sleep(Math.max(0, Math.min(now() - startedMs, deadlineMs - now())));
    }
    return result;
  } finally {
    watch.close();
  }
}

/** How often the line of progress is written anew. */
const TICK_MS = 1000;

/** Waits until there is something to do, or a pass is due, or the listening is over. */
function waitForWork({ session, environment }: Run, watch: Watch, before: Pass, deadlineMs: number): void {
  const { now, progress } = environment;
  const ring = session.pins.maps.get('changes')?.fd;
  const { interest, dueMs } = before.next();
  const untilMs = Math.min(deadlineMs, dueMs);
  const soFar = `${before.changes.length} neighbor changes so far, ${before.total} neighbors`;
  while (now() < untilMs) {
    progress?.(`listening: ${formatAge((deadlineMs - now()) / 1000)} left, ${soFar}`);
    const tickMs = progress === null ? untilMs : Math.min(untilMs, now() + TICK_MS);
    if (watch.wait(ring, interest, tickMs)) return;
  }
}

/** A pass whose failure ends neither the listening nor the report of what was done before. */
function attempt(run: Run, pass: (run: Run) => Pass, before: Pass): Pass {
  try {
    run.session.reopenPins();
    return pass(run);
  } catch (thrown) {
    return failedPass(thrown, before, run.environment.now() + RETRY_MS);
  }
}

/** A pass that did nothing: what it would have found is as before. */
function failedPass(thrown: unknown, before: Pass, dueMs: number): Pass {
  const { interest } = before.next();
  return {
    ...before,
    steps: [],
    changes: [],
    records: 0,
    probes: 0,
    confirms: NO_CONFIRMS,
    warnings: [],
    errors: [problemOf(thrown, 'listen')],
    next: () => ({ interest, dueMs }),
  };
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
