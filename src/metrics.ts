// The textfile of a run: how it went, and what is there after it.

import { type Problem, problemOf } from './base/errors.ts';
import type { Stopwatch } from './base/stopwatch.ts';
import type { Desired } from './core/desired.ts';
import type { Phase } from './core/report.ts';
import { VERSION } from './generated/version.ts';
import { lastSuccess } from './host/pin-directory.ts';
import type { Session } from './host/session.ts';
import { replaceTextfile } from './host/textfile.ts';
import { type Metrics, type RunReport, renderMetrics, type Stock } from './render/prometheus.ts';
import { takeStock } from './status.ts';

export interface MetricsOptions {
  /** The whole configuration. */
  readonly desired: Desired;
  readonly session: Session;
  readonly stopwatch: Stopwatch<Phase>;
  /** CLOCK_MONOTONIC in milliseconds. */
  readonly now: () => number;
  /** Milliseconds since the epoch. */
  readonly nowMs: number;
}

/** Writes the textfile as well as it can; returns what went wrong. */
export function writeMetrics(path: string, report: RunReport, options: MetricsOptions): Problem[] {
  const { session, stopwatch, nowMs } = options;
  stopwatch.enter('metrics');
  const problems: Problem[] = [];
  let stock: Stock | null = null;
  try {
    stock = stockOf(options);
  } catch (thrown) {
    problems.push(problemOf(thrown, 'metrics'));
  }
  const run: RunReport = {
    ...report,
    ok: report.ok && problems.length === 0,
    errors: [...report.errors, ...problems],
    durations: stopwatch.seconds(),
  };
  try {
    const succeededMs = run.ok ? nowMs : (lastSuccess(session.pins.directory) ?? 0);
    const metrics: Metrics = {
      version: VERSION,
      writtenAt: nowMs / 1000,
      // A time to come is none: the clock was wrong, or is.
      succeededAt: succeededMs > nowMs ? 0 : Math.round(succeededMs) / 1000,
      run,
      stock,
    };
    replaceTextfile(path, renderMetrics(metrics), session.users);
  } catch (thrown) {
    problems.push(problemOf(thrown, path));
  }
  return problems;
}

function stockOf({ session, desired, now }: MetricsOptions): Stock {
  const { report, neighbors } = takeStock(session, desired, { now });
  const { maxBindings, ringBytes } = desired.runtime;
  return { status: report, neighbors, maxBindings, ringBytes };
}
