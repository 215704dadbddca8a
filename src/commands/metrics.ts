// The textfile of a run: its result, and the state after it.

import { type Problem, problemOf } from '../base/errors.ts';
import type { RunReport } from '../core/report.ts';
import { VERSION } from '../generated/version.ts';
import { lastTime } from '../host/pin-directory.ts';
import { replaceTextfile } from '../host/textfile.ts';
import { type Metrics, renderMetrics, type Stock } from '../render/prometheus.ts';
import type { Survey } from './retrieve.ts';
import type { Run } from './run.ts';
import { surveyAll, takeStock } from './status.ts';

/**
 * Writes the textfile at `path` as completely as possible, and returns the problems. `survey` is the state that the run has
 * left; undefined: it is read. `nowMs` is in milliseconds since the epoch.
 */
export function writeMetrics(
  run: Run,
  path: string,
  report: RunReport,
  survey: Survey | undefined,
  nowMs: number,
): Problem[] {
  const { session, stopwatch } = run;
  stopwatch.enter('metrics');
  const problems: Problem[] = [];
  let stock: Stock | null = null;
  try {
    stock = stockOf(run, survey);
  } catch (thrown) {
    problems.push(problemOf(thrown, 'metrics'));
  }
  const outcome: RunReport = {
    ...report,
    ok: report.ok && problems.length === 0,
    errors: [...report.errors, ...problems],
    durations: stopwatch.seconds(),
  };
  try {
    const succeededMs = outcome.ok ? nowMs : (lastTime(session.pins.directory, 'succeeded') ?? 0);
    const metrics: Metrics = {
      version: VERSION,
      writtenAt: nowMs / 1000,
      // A time in the future is ignored: the clock was wrong then, or is wrong now.
      succeededAt: succeededMs > nowMs ? 0 : Math.round(succeededMs) / 1000,
      run: outcome,
      stock,
    };
    replaceTextfile(path, renderMetrics(metrics), session.users);
  } catch (thrown) {
    problems.push(problemOf(thrown, path));
  }
  return problems;
}

function stockOf({ session, configuration, environment }: Run, survey: Survey | undefined): Stock {
  const found = survey ?? surveyAll(session, configuration, environment.now);
  const { report, neighbors } = takeStock(session, found);
  const { maxBindings, ringBytes } = configuration.runtime;
  return { status: report, neighbors, maxBindings, ringBytes };
}
