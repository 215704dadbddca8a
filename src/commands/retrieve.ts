// Reads the host, and resolves the configuration against it. Changes nothing.

import type { IfIndex } from '../base/address.ts';
import type { Configuration, Desired } from '../core/desired.ts';
import { resolveEntries } from '../core/entries.ts';
import { extentOfLink } from '../core/link-change.ts';
import { type HostPlan, planHosts } from '../core/neighbors/plan.ts';
import type { Observed, ObservedHosts } from '../core/observed.ts';
import type { Scope } from '../core/plan.ts';
import { resolveTopology, type Topology } from '../core/topology.ts';
import { readBindings } from '../datapath/migrate.ts';
import type { Pins } from '../datapath/pins.ts';
import {
  type ForwardingScope,
  observe,
  observeDatapath,
  observeHosts,
  observePorts,
  type StrayScope,
} from '../host/observe.ts';
import type { Session } from '../host/session.ts';

/** Links, pins and attachments, and the configured bridges among them. */
export interface Machine {
  readonly observed: Observed;
  /** What the configuration desires of these links. */
  readonly desired: Desired;
  readonly topology: Topology;
}

/** `selected` are the bridges of `--bridge`; none: all. Throws SnoopyError `netlink_failed` or `map_failed`. */
export function retrieve(
  { netlink, runtime, pins }: Session,
  configuration: Configuration,
  selected: readonly string[],
  strays: StrayScope = 'none',
): Machine {
  return resolveMachine(
    observe(netlink, runtime, pins, strays),
    configuration,
    selected,
    bound(configuration, pins),
  );
}

/**
 * The machine as it was, with these ports as they are now; null when one of them has become something else since it was
 * notified of, which concerns more than itself. Throws as `retrieve` does.
 */
export function retrievePorts(
  { netlink, runtime, pins }: Session,
  before: Machine,
  ports: readonly IfIndex[],
): Machine | null {
  return withPorts(before, observePorts(netlink, runtime, pins, before.observed, ports), ports);
}

/** The machine with these ports as they are observed; null as for `retrievePorts`. */
export function withPorts(before: Machine, observed: Observed, ports: readonly IfIndex[]): Machine | null {
  if (ports.some((port) => extentOfLink(before, port, observed.links.get(port)) === 'machine')) return null;
  const { problems } = before.topology;
  return { ...before, observed, topology: { ...resolveTopology(before.desired, observed), problems } };
}

/** The bridges with bindings, where a glob may serve them: their hosts outlive their ports for a while. */
function bound({ entries }: Configuration, pins: Pins): ReadonlySet<IfIndex> {
  const bindings = entries.some(({ isGlob }) => isGlob) ? readBindings(pins) : [];
  return new Set(bindings.map(({ bridge }) => bridge));
}

/** The configuration resolved against what was observed. `bound`: bridges that have hosts, whatever their ports are now. */
export function resolveMachine(
  observed: Observed,
  configuration: Configuration,
  selected: readonly string[],
  bound: ReadonlySet<IfIndex> = new Set(),
): Machine {
  const served = new Set([...bound, ...[...observed.datapath.ports.values()].map(({ bridge }) => bridge)]);
  const { desired, problems } = resolveEntries(configuration, observed.links, served, selected);
  const topology = resolveTopology(desired, observed);
  return { observed, desired, topology: { ...topology, problems: [...problems, ...topology.problems] } };
}

/** The machine with what the pinned maps have now. Throws SnoopyError `map_failed`. */
export function withPins(machine: Machine, pins: Pins): Machine {
  return { ...machine, observed: { ...machine.observed, datapath: observeDatapath(pins) } };
}

/** Bindings, forwarding and neighbors of the machine. `now` reads CLOCK_MONOTONIC. Throws as `retrieve` does. */
export function retrieveHosts(
  { netlink, pins }: Session,
  { observed, topology }: Pick<Machine, 'observed' | 'topology'>,
  now: () => number,
  scope: ForwardingScope = 'known',
): ObservedHosts {
  return observeHosts(netlink, pins, topology, observed, now, scope);
}

/** Everything that a read-only command uses. */
export interface Survey extends Machine {
  readonly hosts: ObservedHosts;
  /** What a run would do for the hosts now. */
  readonly plan: HostPlan;
}

/** What a command reads beyond what a run would. */
export interface SurveyOptions extends Scope {
  readonly strays?: StrayScope;
  readonly forwarding?: ForwardingScope;
}

/** Reads machine and hosts, and plans what a run of that scope would do. Throws as `retrieve` does. */
export function survey(
  session: Session,
  configuration: Configuration,
  selected: readonly string[],
  now: () => number,
  { whole, strays = 'none', forwarding = 'known' }: SurveyOptions,
): Survey {
  const machine = retrieve(session, configuration, selected, strays);
  const hosts = retrieveHosts(session, machine, now, forwarding);
  const protocol = session.runtime.neighborProtocol;
  return { ...machine, hosts, plan: planHosts(machine.topology, hosts, { protocol, whole }) };
}
