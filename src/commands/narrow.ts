// A narrow pass of a listening run: over the ports and hosts that something has named.

import type { IfIndex } from '../base/address.ts';
import { distinct } from '../base/group.ts';
import { addressesOf, machineChange } from '../core/machine-change.ts';
import { plan } from '../core/plan.ts';
import { type BindingKey, bindingId } from '../datapath/records/binding-key.ts';
import { recountBindings } from '../host/bindings.ts';
import { type Applied, apply, lookAt, resultOf } from './apply.ts';
import { logSteps } from './environment.ts';
import { reconcileNamed } from './hosts.ts';
import { type Machine, retrievePorts } from './retrieve.ts';
import { MOST_NAMED, type NarrowPass, type Run, scopeOf } from './run.ts';
import type { Named } from './view.ts';

/** What was done; or `more`, when that would not be enough: all hosts are to be looked at. */
export type Narrowed =
  | { readonly kind: 'done'; readonly pass: NarrowPass }
  /** `machine`: as it was looked at now; undefined: not yet. */
  | { readonly kind: 'more'; readonly machine: Machine | undefined };

/** A pass over the ports and hosts that are named, on the machine that an earlier pass left. */
export function narrowPass(run: Run, before: Machine, named: Named): Narrowed {
  const { watchlist, ports } = named;
  const applied = ports === 'all' ? applyToAll(run, before, named) : applyToPorts(run, before, named, ports);
  if (applied.kind === 'more') return applied;
  const { steps, machine, names } = applied;
  logSteps(steps, run.environment);
  // The program counts from zero on a port that has come back.
  const policies = machine.observed.datapath.ports;
  const looked = ports === 'all' ? [...policies.keys()] : ports;
  const added = looked.filter((port) => policies.has(port) && !before.observed.datapath.ports.has(port));
  recountBindings(run.session.pins, added, watchlist.hostsOn(added));
  watchlist.renew(machine.topology);
  const hosts = reconcileNamed(run, machine, { ...named, names });
  return { kind: 'done', pass: resultOf(run, applied, hosts) };
}

/** What was applied, and the addresses to look at after that. */
interface AppliedToSome extends Applied {
  readonly kind: 'applied';
  readonly names: readonly BindingKey[];
}

type Outcome = AppliedToSome | Extract<Narrowed, { kind: 'more' }>;

/** Looks at these ports alone, and does what is due for them. */
function applyToPorts(run: Run, before: Machine, { names }: Named, ports: readonly IfIndex[]): Outcome {
  const { session, stopwatch } = run;
  if (ports.length === 0) {
    return { kind: 'applied', steps: [], machine: before, remaining: [], recovered: 0, names };
  }
  stopwatch.enter('observe');
  const found = retrievePorts(session, before, ports);
  if (found === null) return { kind: 'more', machine: undefined };
  stopwatch.enter('plan');
  const actions = plan(found.desired, found.topology, found.observed, scopeOf(run));
  // A port that has become something else meanwhile is left to the next pass, which its notification causes.
  const applied = apply(run, found, actions, () => retrievePorts(session, found, ports) ?? found);
  return { kind: 'applied', ...applied, names };
}

/** Looks at everything but hosts, and does what is due. */
function applyToAll(run: Run, before: Machine, named: Named): Outcome {
  run.stopwatch.enter('observe');
  const found = lookAt(run);
  const names = namesAfter(before, found, named);
  run.stopwatch.enter('plan');
  const actions = plan(found.desired, found.topology, found.observed, scopeOf(run));
  const isLoad = actions.some(({ kind }) => kind === 'load');
  if (names === null || names.length > MOST_NAMED || isLoad) return { kind: 'more', machine: found };
  const applied = apply(run, found, actions, () => lookAt(run));
  if (applied.machine === found) return { kind: 'applied', ...applied, names };
  // A bridge that has come or gone meanwhile is left to the next pass, which its notification causes.
  const namesNow = namesAfter(before, applied.machine, named);
  return namesNow === null
    ? { kind: 'applied', ...applied, machine: found, names }
    : { kind: 'applied', ...applied, names: namesNow };
}

/** The names, with those that the change of the machine concerns; null when it may concern hosts that are not known. */
function namesAfter(before: Machine, after: Machine, { watchlist, names }: Named): BindingKey[] | null {
  const change = machineChange(before, after);
  if (change === null) return null;
  return distinct([...names, ...addressesOf(change, watchlist)], bindingId);
}
