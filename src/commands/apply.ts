// What a pass does for the machine: it looks at it, applies the plan, and verifies it.

import { type Action, type ActionSummary, summarize } from '../core/actions.ts';
import { plan } from '../core/plan.ts';
import type { Step } from '../core/report.ts';
import { allWell } from '../core/summary.ts';
import { losesBindings } from '../datapath/pins.ts';
import { applyActions, planned } from '../host/apply.ts';
import { observeDropped } from '../host/observe.ts';
import { recoverHosts } from './hosts.ts';
import { type Machine, retrieve } from './retrieve.ts';
import { type Run, scopeOf } from './run.ts';

/** Looks at the machine. Throws as `retrieve` does. */
export function lookAt({ session, configuration, options, strays }: Run): Machine {
  return retrieve(session, configuration, options.bridges, strays);
}

/** What a pass did for the machine. */
export interface Applied {
  readonly steps: readonly Step[];
  /** The machine after the steps. */
  readonly machine: Machine;
  readonly remaining: readonly ActionSummary[];
  /** Number of bindings that were recovered for a load. */
  readonly recovered: number;
}

/**
 * Applies the plan, then verifies it by planning again: the actions of the new plan are still due. `look` looks at the machine
 * as it is then.
 */
export function apply(run: Run, before: Machine, actions: readonly Action[], look: () => Machine): Applied {
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

/** What a pass did and found: its steps, and its hosts. */
export function resultOf<Hosts extends object>(
  run: Run,
  { steps, machine, remaining }: Applied,
  hosts: Hosts,
) {
  const isDone = remaining.length === 0 && allWell(steps);
  return {
    ...hosts,
    steps,
    remaining,
    dropped: observeDropped(run.session.pins),
    machine: isDone ? machine : undefined,
  };
}
