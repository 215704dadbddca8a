// The end of a run: its report, its textfile, and the time of success.

import { problemOf, SnoopyError } from '../base/errors.ts';
import { APPLIED, type ReconcileReport, type RunReport, type Step } from '../core/report.ts';
import { allWell, anyChange } from '../core/summary.ts';
import { noteTime } from '../host/pin-directory.ts';
import { writeMetrics } from './metrics.ts';
import type { PassResult, Run } from './run.ts';

/** Makes the report of a run with this result, and publishes it. */
export function conclude(run: Run, result: PassResult): ReconcileReport {
  return publish(run, reportOf(run, result), result.survey);
}

/** Publishes the error that ended a run. */
export function concludeFailure(run: Run, thrown: unknown): void {
  const errors = [problemOf(thrown, 'snoopy')];
  publish(run, { ok: false, errors, durations: run.stopwatch.seconds() }, undefined);
}

/** Stores the time when a run that goes on has done all that was due. Its report tells whether the time can be stored. */
export function noteSuccess(run: Run): void {
  const { session, environment } = run;
  if (isWholeNode(run) && session.isLocked())
    noteTime(session.pins.directory, 'succeeded', environment.wallClock());
}

/** True when a pass has done all that it had to. */
export function isWell({
  steps,
  changes,
  errors,
  remaining,
}: Pick<PassResult, 'steps' | 'changes' | 'errors' | 'remaining'>): boolean {
  return errors.length === 0 && remaining.length === 0 && allWell(steps) && allWell(changes);
}

/** False for a check, or for a run with `--bridge`: its report does not cover the whole node. */
function isWholeNode({ options }: Run): boolean {
  return !options.check && options.bridges.length === 0;
}

function reportOf({ session, options, stopwatch }: Run, result: PassResult): ReconcileReport {
  const { changes, total, records, probes, announcements, confirms, hints, frr, dropped, counters, bridges } =
    result;
  const { remaining, warnings, errors } = result;
  const mounts = session.mounted ? [mountStep(session.runtime.bpffs)] : [];
  const steps = [...mounts, ...result.steps];
  return {
    version: 1,
    ok: isWell({ steps, changes, errors, remaining }),
    changed: anyChange(steps),
    check: options.check,
    steps,
    neighbors: { changed: anyChange(changes), total, changes },
    ring: { records, dropped },
    counters,
    probes: { sent: probes },
    announcements: { sent: announcements },
    confirms,
    hints,
    frr,
    bridges,
    durations: stopwatch.seconds(),
    remaining,
    warnings,
    errors,
  };
}

/** The step for a mount of bpffs: it happens before the lock is taken, so no plan has it. */
function mountStep(path: string): Step {
  return { action: { kind: 'mount', path }, outcome: APPLIED };
}

/** The error of a run whose pin directory is no more the one that it has locked. */
export function lostLock({ pins }: Run['session']): SnoopyError {
  return new SnoopyError({
    code: 'pin_unusable',
    object: pins.directory,
    operation: `go on with the pins in "${pins.directory}"`,
    cause: 'the directory was deleted or replaced',
    fix: 'run again: that sets up everything anew',
  });
}

/**
 * Writes the textfile and stores the time of a success. Does nothing for a check, or for a run with `--bridge`, whose
 * report does not cover the whole node, or without the lock: both may be those of another run by now.
 */
function publish<Report extends RunReport>(run: Run, report: Report, survey: PassResult['survey']): Report {
  const { session, configuration, options, environment, stopwatch } = run;
  if (options.check) return report;
  if (!session.isLocked()) {
    const lost = report.ok ? [problemOf(lostLock(session), 'snoopy')] : [];
    return { ...report, ok: false, errors: [...report.errors, ...lost] };
  }
  if (!isWholeNode(run)) return report;
  const nowMs = environment.wallClock();
  const { textfile } = configuration;
  const problems = textfile === null ? [] : writeMetrics(run, textfile, report, survey, nowMs);
  if (report.ok && problems.length === 0)
    problems.push(...noteTime(session.pins.directory, 'succeeded', nowMs));
  const ok = report.ok && problems.length === 0;
  return { ...report, ok, errors: [...report.errors, ...problems], durations: stopwatch.seconds() };
}
