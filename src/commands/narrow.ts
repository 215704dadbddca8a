// A narrow pass of a listening run: over the ports and hosts that something has named.

import type { IfIndex } from '../base/address.ts';
import { machineChange } from '../core/machine-change.ts';
import { plan } from '../core/plan.ts';
import { type BindingKey, bindingId } from '../datapath/records/binding-key.ts';
import { recountBindings } from '../host/bindings.ts';
import { type Applied, apply, resultOf } from './apply.ts';
import { logSteps } from './environment.ts';
import { reconcileNamed } from './hosts.ts';
import { type Machine, retrieve, retrievePorts } from './retrieve.ts';
import { MOST_NAMED, type NarrowPass, type Run, scopeOf } from './run.ts';
import type { Named } from './view.ts';

/** A pass over the ports and hosts that are named, on the machine that an earlier pass left; null when that is not enough. */
export function narrowPass(run: Run, before: Machine, named: Named): NarrowPass | null {
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
  // Likewise.
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
