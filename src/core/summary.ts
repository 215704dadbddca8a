// From decisions to the lines of a report. Pure.

import { groupBy } from '../base/group.ts';
import { type Neighbor, NUD_NOARP, NUD_REACHABLE, NUD_STALE } from '../netlink/neighbor.ts';
import type { BlockerOf } from './blockers.ts';
import type { Desired } from './desired.ts';
import { describeEntry, isOurs, stateName } from './neighbor-entry.ts';
import type { Decision } from './neighbors/decide.ts';
import type { HostPlan, NeighborChange } from './neighbors/plan.ts';
import type {
  BindingReport,
  BridgeReport,
  NeighborChangeReport,
  NeighborCount,
  NeighborEntry,
  Outcome,
} from './report.ts';
import type { Topology } from './topology.ts';

/** Every configured bridge, the missing ones included. */
export function describeBridges(
  desired: Desired,
  topology: Topology,
  hosts: Pick<HostPlan, 'decisions'>,
  hasNeighbor: (decision: Decision) => boolean = ({ state }) => state === 'installed',
): BridgeReport[] {
  const found = new Map(topology.bridges.map((bridge) => [bridge.desired.name, bridge]));
  const decisions = groupBy(hosts.decisions, ({ bridge }) => bridge);
  return desired.bridges.map(({ name }) => {
    const bridge = found.get(name);
    const own = decisions.get(name) ?? [];
    return {
      name,
      present: bridge !== undefined,
      ports: bridge?.ports.map((port) => port.name) ?? [],
      bindings: own.length,
      neighbors: own.filter(hasNeighbor).length,
    };
  });
}

/** One value for tens of thousands of entries. */
const NO_FLAGS: readonly string[] = [];
const ROUTER: readonly string[] = ['router'];

/** `protocol` is the mark of our own entries. */
export function describeChange(
  change: NeighborChange,
  outcome: Outcome,
  protocol: number,
): NeighborChangeReport {
  const after: NeighborEntry = {
    mac: change.mac,
    state: change.state,
    protocol,
    flags: change.router ? ROUTER : NO_FLAGS,
  };
  return {
    kind: change.kind,
    device: change.deviceName,
    bridge: change.bridgeName,
    vlan: change.vlan,
    ip: change.ip,
    mac: change.mac,
    port: change.port,
    before: change.existing === undefined ? null : describeEntry(change.existing),
    after: change.kind === 'remove' ? null : after,
    because: change.because,
    outcome,
  };
}

/** The states in which we write entries: reported even when none is in them. */
const OWN_STATES = [NUD_NOARP, NUD_STALE, NUD_REACHABLE];

/** Our own entries by bridge and state; `protocol` is their mark. */
export function countNeighbors(
  topology: Topology,
  neighbors: readonly Neighbor[],
  protocol: number,
): NeighborCount[] {
  const ours = neighbors.filter((neighbor) => isOurs(neighbor, protocol));
  return topology.bridges.flatMap(({ desired, domains }) => {
    const devices = new Set([...domains.values()].map(({ device }) => device));
    const states = ours.filter(({ ifIndex }) => devices.has(ifIndex)).map(({ state }) => state);
    return [...new Set([...OWN_STATES, ...states])].map((state) => ({
      bridge: desired.name,
      state: stateName(state),
      count: states.filter((other) => other === state).length,
    }));
  });
}

/** A decision for `status`, with the age in whole seconds. `blockerOf` is null when FRR was not queried. */
export function describeBinding(
  decision: Decision,
  nowMs: number,
  blockerOf: BlockerOf | null,
): BindingReport {
  const { bridge, device, vlan, ip, mac, port, source, due, candidate } = decision;
  const seenMs = candidate.binding?.lastSeenMs;
  const age = seenMs === undefined ? null : Math.max(0, Math.floor((nowMs - seenMs) / 1000));
  const state = due ? 'waiting' : decision.state;
  const found = blockerOf?.(decision);
  const note = found?.status === 'note' ? found.reason : '';
  const reasons = [due ? 'the next run writes its neighbor' : decision.because, note];
  const advertised = found === undefined ? null : found === null || found.isAdvertised;
  const hindrance = state === 'installed' && advertised === false ? (found?.reason ?? '') : '';
  return {
    bridge,
    device,
    vlan,
    ip,
    mac,
    port,
    source,
    state,
    age,
    because: reasons.filter((reason) => reason !== '').join('; '),
    advertised,
    hindrance,
    neighbor: candidate.entry === undefined ? null : stateName(candidate.entry.state),
  };
}

/** True when no step and no neighbor change failed. */
export function allWell(outcomes: readonly { readonly outcome: Outcome }[]): boolean {
  return outcomes.every(({ outcome }) => outcome.kind !== 'failed');
}

/** True when something was changed, or would be in check mode. */
export function anyChange(outcomes: readonly { readonly outcome: Outcome }[]): boolean {
  return outcomes.some(({ outcome }) => outcome.kind === 'applied' || outcome.kind === 'planned');
}
