// One run: retrieve, plan, apply, verify, reconcile the hosts, report. For --listen see listen.ts.

import { Stopwatch } from '../base/stopwatch.ts';
import { loadConfig } from '../config/config.ts';
import { checkSelection } from '../core/entries.ts';
import { plan } from '../core/plan.ts';
import { PHASES, type ReconcileReport } from '../core/report.ts';
import type { Warning } from '../core/warning.ts';
import { warningsOfState } from '../core/warnings.ts';
import { finishMigration } from '../host/apply.ts';
import { observeCounters } from '../host/observe.ts';
import { apply, lookAt, resultOf } from './apply.ts';
import { conclude, concludeFailure } from './conclude.ts';
import { type Environment, logSteps, type Purpose, withSession } from './environment.ts';
import { reconcileHosts } from './hosts.ts';
import { listen } from './listen.ts';
import { narrowPass } from './narrow.ts';
import { type Machine, withPins } from './retrieve.ts';
import { type Pass, type ReconcileOptions, type Run, scopeOf } from './run.ts';

/**
 * Brings the node in line with the configuration. Throws SnoopyError when the run cannot start: because of the
 * configuration, the lock, privileges, or a feature that the kernel lacks. Every other problem is in the report.
 */
export function runReconcile(options: ReconcileOptions, environment: Environment): ReconcileReport {
  const stopwatch = new Stopwatch(PHASES, environment.now);
  const configuration = loadConfig(options.config, environment.users);
  checkSelection(configuration, options.bridges);
  stopwatch.enter('lock');
  return withSession(configuration, purposeOf(options), environment, (session) => {
    const isListening = options.listenMs > 0 && !options.check;
    const untilMs = isListening ? environment.now() + options.listenMs : Number.POSITIVE_INFINITY;
    const run: Run = { session, configuration, options, environment, stopwatch, untilMs, strays: 'ports' };
    try {
      return conclude(run, isListening ? listen(run, { whole: pass, narrow: narrowPass }) : pass(run));
    } catch (thrown) {
      concludeFailure(run, thrown);
      throw thrown;
    }
  });
}

/** A run that may not send probes does everything else, so no capability for them is required. */
function purposeOf({ check, lockTimeoutMs }: ReconcileOptions): Purpose {
  return { mode: check ? 'plan' : 'write', lockTimeoutMs, capabilities: [] };
}

/** One pass over the host. `known`: the machine as it is, apart from hosts and pins. */
function pass(run: Run, known?: Machine): Pass {
  const { session, configuration, options, environment, stopwatch } = run;
  stopwatch.enter('observe');
  const found = known ? withPins(known, session.pins) : lookAt(run);
  stopwatch.enter('plan');
  const actions = plan(found.desired, found.topology, found.observed, scopeOf(run));

  const applied = apply(run, found, actions, () => lookAt(run));
  logSteps(applied.steps, environment);
  const unmigrated = options.check ? [] : finishMigration(session, applied.machine.observed);

  const hosts = reconcileHosts(run, applied.machine);

  const warnings = [
    ...warningsOfState(configuration, found.observed, scopeOf(run)),
    ...warningsOfRecovery(applied.recovered),
  ];
  const { ringDropped, ...counters } = observeCounters(session.pins);
  return {
    ...resultOf(run, applied, hosts),
    // The machine may have changed since.
    survey: known === undefined ? hosts.survey : undefined,
    counters,
    warnings: [...warnings, ...hosts.warnings],
    errors: [...unmigrated, ...hosts.errors],
  };
}

function warningsOfRecovery(count: number): Warning[] {
  return count === 0 ? [] : [{ kind: 'recovered', count }];
}
