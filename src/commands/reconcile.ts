// One run: retrieve, plan, apply, verify, reconcile the hosts, report. For --listen see listen.ts.

import type { IfIndex } from '../base/address.ts';
import { Stopwatch } from '../base/stopwatch.ts';
import { loadConfig } from '../config/config.ts';
import { type Action, type ActionSummary, summarize } from '../core/actions.ts';
import { checkSelection } from '../core/entries.ts';
import { machineChange } from '../core/machine-change.ts';
import { plan } from '../core/plan.ts';
import { PHASES, type ReconcileReport, type Step } from '../core/report.ts';
import { allWell } from '../core/summary.ts';
import type { Warning } from '../core/warning.ts';
import { warningsOfState } from '../core/warnings.ts';
import { losesBindings } from '../datapath/pins.ts';
import { type BindingKey, bindingId } from '../datapath/records/binding-key.ts';
import { applyActions, finishMigration, planned } from '../host/apply.ts';
import { recountBindings } from '../host/bindings.ts';
import { observeCounters, observeDropped } from '../host/observe.ts';
import { conclude, concludeFailure } from './conclude.ts';
import { type Environment, logSteps, type Purpose, withSession } from './environment.ts';
import { reconcileHosts, reconcileNamed, recoverHosts } from './hosts.ts';
import { listen } from './listen.ts';
import { type Machine, retrieve, retrievePorts, withPins } from './retrieve.ts';
import { MOST_NAMED, type NarrowPass, type Pass, type ReconcileOptions, type Run, scopeOf } from './run.ts';
import type { Named } from './view.ts';

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

/** One pass over the host. `before`: nothing but hosts and pins can have changed since an earlier pass left this machine. */
function pass(run: Run, before?: Machine): Pass {
  const { session, configuration, options, environment, stopwatch } = run;
  stopwatch.enter('observe');
  const found = before
    ? withPins(before, session.pins)
    : retrieve(session, configuration, options.bridges, run.strays);
  stopwatch.enter('plan');
  const actions = before ? [] : plan(found.desired, found.topology, found.observed, scopeOf(run));

  const look = (): Machine => retrieve(session, configuration, options.bridges, run.strays);
  const applied = apply(run, found, actions, look);
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
    survey: before === undefined ? hosts.survey : undefined,
    counters,
    warnings: [...warnings, ...hosts.warnings],
    errors: [...unmigrated, ...hosts.errors],
  };
}

/** A pass over the ports and hosts that are named, on the machine that an earlier pass left; null when that is not enough. */
function narrowPass(run: Run, before: Machine, named: Named): NarrowPass | null {
  const { watchlist, ports } = named;
  const applied = ports === 'all' ? applyToAll(run, before, named) : applyToPorts(run, before, named, ports);
  if (applied === null) return null;
  const { steps, machine, names } = applied;
  logSteps(steps, run.environment);
  // The program counts from zero on a port that has come back.
  const policies = machine.observed.datapath.ports;
  const looked = ports === 'all' ? [...policies.keys()] : ports;
  const added = looked.filter((port) => policies.has(port) && !before.observed.datapath.ports.has(port));
  recountBindings(run.session.pins, added, watchlist.hostsOn(added));
  watchlist.renew(machine.topology);
  return resultOf(run, applied, reconcileNamed(run, machine, { ...named, names }));
}

/** What a pass did and found: its steps, and its hosts. */
function resultOf<Hosts extends object>(run: Run, { steps, machine, remaining }: Applied, hosts: Hosts) {
  const isDone = remaining.length === 0 && allWell(steps);
  return {
    ...hosts,
    steps,
    remaining,
    dropped: observeDropped(run.session.pins),
    machine: isDone ? machine : undefined,
  };
}

/** What was applied for some ports, or because of a change of the machine. */
interface AppliedToSome extends Applied {
  /** The addresses to look at after that. */
  readonly names: readonly BindingKey[];
}

/** Looks at these ports alone, and does what is due for them. Null as for `retrievePorts`. */
function applyToPorts(
  run: Run,
  before: Machine,
  { names }: Named,
  ports: readonly IfIndex[],
): AppliedToSome | null {
  const { session, stopwatch } = run;
  if (ports.length === 0) return { steps: [], machine: before, remaining: [], recovered: 0, names };
  stopwatch.enter('observe');
  const found = retrievePorts(session, before, ports);
  if (found === null) return null;
  stopwatch.enter('plan');
  const actions = plan(found.desired, found.topology, found.observed, scopeOf(run));
  // One that has become something else meanwhile is left to the next pass.
  return { ...apply(run, found, actions, () => retrievePorts(session, found, ports) ?? found), names };
}

/**
 * Looks at everything but hosts, and does what is due. Null when too many hosts are concerned, or ones that are not known, or the
 * program must be loaded.
 */
function applyToAll(run: Run, before: Machine, named: Named): AppliedToSome | null {
  const { session, configuration, options, stopwatch } = run;
  const retrieveAll = (): Machine => retrieve(session, configuration, options.bridges, run.strays);
  stopwatch.enter('observe');
  const found = retrieveAll();
  const names = namesAfter(before, found, named);
  if (names === null || names.length > MOST_NAMED) return null;
  stopwatch.enter('plan');
  const actions = plan(found.desired, found.topology, found.observed, scopeOf(run));
  if (actions.some(({ kind }) => kind === 'load')) return null;
  // As for ports.
  const look = (): Machine => {
    const now = retrieveAll();
    return machineChange(before, now) === null ? found : now;
  };
  const applied = apply(run, found, actions, look);
  return { ...applied, names: namesAfter(before, applied.machine, named) ?? names };
}

/** The names, with those that the change of the machine concerns; null when it may concern hosts that are not known. */
function namesAfter(before: Machine, after: Machine, { watchlist, names }: Named): BindingKey[] | null {
  const change = machineChange(before, after);
  if (change === null) return null;
  const concerned = [...names, ...watchlist.addressesIn(change.bridges), ...watchlist.hostsOn(change.ports)];
  return [...new Map(concerned.map((key) => [bindingId(key), key])).values()];
}

interface Applied {
  readonly steps: readonly Step[];
  /** The machine after the steps. */
  readonly machine: Machine;
  readonly remaining: readonly ActionSummary[];
  /** Number of bindings that were recovered for a load. */
  readonly recovered: number;
}

/**
 * Applies the plan, then verifies it by planning again: the actions of the new plan are still due. `look` retrieves the machine
 * as it is then.
 */
function apply(run: Run, before: Machine, actions: readonly Action[], look: () => Machine): Applied {
  const { session, options, environment, stopwatch } = run;
  if (options.check || actions.length === 0) {
    return { steps: planned(actions), machine: before, remaining: [], recovered: 0 };
  }
  stopwatch.enter('apply');
  const isLossy = actions.some(({ kind }) => kind === 'load') && losesBindings(session.pins);
  const recovered = isLossy ? recoverHosts(run, before).bindings : [];
  const steps = applyActions(session, actions, { recovered, progress: environment.progress });

  stopwatch.enter('verify');
  const machine = look();
  const remaining = plan(machine.desired, machine.topology, machine.observed, scopeOf(run)).map(summarize);
  return { steps, machine, remaining, recovered: recovered.length };
}

function warningsOfRecovery(count: number): Warning[] {
  return count === 0 ? [] : [{ kind: 'recovered', count }];
}
