// From decisions to the lines of a report. Pure.

import type { Mac } from '../base/address.ts';
import { groupBy } from '../base/group.ts';
import type { Binding } from '../datapath/records/binding.ts';
import { bindingId } from '../datapath/records/binding-key.ts';
import type { Change } from '../datapath/records/change.ts';
import { type Neighbor, NUD_NOARP, NUD_REACHABLE, NUD_STALE } from '../netlink/neighbor.ts';
import { countByPort, NEARLY_FULL } from './binding-counts.ts';
import type { BlockerOf } from './blockers.ts';
import type { Desired } from './desired.ts';
import { describeEntry, isOurs, stateName } from './neighbor-entry.ts';
import type { Decision } from './neighbors/decide.ts';
import type { HostPlan, NeighborChange } from './neighbors/plan.ts';
import { hasLostPins, type Observed } from './observed.ts';
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
      neighbors: own.filter(({ state }) => state === 'installed').length,
    };
  });
}

/** Shared by tens of thousands of entries. */
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

/** States that an entry of ours is written in: counted though there be none. */
const OWN_STATES = [NUD_NOARP, NUD_STALE, NUD_REACHABLE];

/** Entries of ours by bridge and state; `protocol` is their mark. */
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

/** A decision for `status`; the age in whole seconds. `blockerOf` is null where FRR was not asked. */
export function describeBinding(
  decision: Decision,
  nowMs: number,
  blockerOf: BlockerOf | null,
): BindingReport {
  const { bridge, device, vlan, ip, mac, port, source, due, claim } = decision;
  const seenMs = claim.binding?.lastSeenMs;
  const age = seenMs === undefined ? null : Math.max(0, Math.floor((nowMs - seenMs) / 1000));
  const state = due ? 'waiting' : decision.state;
  const because = due ? 'the next run writes its neighbor' : decision.because;
  const found = blockerOf?.(decision);
  const advertised = found === undefined ? null : found === null;
  const hindrance = state === 'installed' ? (found?.reason ?? '') : '';
  return { bridge, device, vlan, ip, mac, port, source, state, age, because, advertised, hindrance };
}

/** What an operator should look at before anything was done. */
export function warningsOfState(desired: Desired, observed: Observed): string[] {
  const warnings: string[] = [];
  if (desired.bridges.length === 0) {
    const isSetUp = observed.datapath.loadReason !== 'absent';
    const then = isSetUp ? 'what was set up before is taken down' : 'name the bridges under "bridges"';
    warnings.push(`The configuration names no bridge: ${then}`);
  }
  if (hasLostPins(observed)) {
    warnings.push(
      'Filters of snoopy are attached, and nothing is pinned here: the pins were lost, or this runs in another ' +
        'mount namespace (ip netns exec hides bpffs; use nsenter --net), or another runtime.pin_dir is in use',
    );
  }
  const lost = portsOfOthers(observed);
  if (lost.length > 0) {
    const { bpffs, pinDir } = desired.runtime;
    warnings.push(
      `On ${lost.map((name) => `"${name}"`).join(', ')} was another program of snoopy than in "${bpffs}/${pinDir}": ` +
        'an upgrade was killed, or runs with another runtime.pin_dir take the ports away; one network namespace has one',
    );
  }
  return warnings;
}

/** Ports with a filter of ours whose program is not the one that is pinned, though that one is whole. */
function portsOfOthers({ attachments, datapath, links }: Observed): string[] {
  if (datapath.loadReason !== null) return [];
  return [...attachments].flatMap(([ifIndex, { filterProgramId }]) =>
    filterProgramId === null || filterProgramId === datapath.programId
      ? []
      : [links.get(ifIndex)?.name ?? String(ifIndex)],
  );
}

/** What an operator should look at though the run did all it could. */
export function warningsOf(hosts: HostPlan, changes: readonly Change[], damaged: boolean): string[] {
  const warnings: string[] = [];
  if (damaged)
    warnings.push('The ring of changes was damaged and has been passed over; the bindings are whole');
  const freezes = new Map<string, Set<Mac>>();
  for (const change of changes) {
    if (change.kind !== 'duplicate') continue;
    const id = bindingId(change);
    freezes.set(id, new Set([...(freezes.get(id) ?? []), change.mac, change.oldMac]));
  }
  for (const { state, ip, bridge, vlan, claim } of hosts.decisions) {
    if (state !== 'frozen') continue;
    const macs = [...(freezes.get(bindingId(claim)) ?? [])];
    const by = macs.length === 0 ? '' : ` by ${macs.join(' and ')}`;
    warnings.push(
      `Duplicate address ${ip} on "${bridge}"${vlan === 0 ? '' : ` VLAN ${vlan}`}: claimed in turn${by}; it is frozen until its hold time is over`,
    );
  }
  return [...warnings, ...hosts.fullPorts.map(describeFullPort)];
}

/** How many ports a warning names. */
const NAMED_PORTS = 3;

/** That the table is full, or soon will be: then no port learns, whoever has filled it. */
export function warningsOfTable(
  bindings: readonly Binding[],
  maxBindings: number,
  topology: Topology,
): string[] {
  if (bindings.length < NEARLY_FULL * maxBindings) return [];
  const names = new Map(
    topology.bridges.flatMap(({ ports }) => ports).map((port) => [port.ifIndex, port.name]),
  );
  const most = [...countByPort(bindings)]
    .sort(([, a], [, b]) => b - a)
    .slice(0, NAMED_PORTS)
    .map(([port, count]) => `"${names.get(port) ?? port}" (${count})`);
  return [
    `The table has ${bindings.length} of ${maxBindings} bindings, most of them on ${most.join(', ')}: when it is full, ` +
      'no port learns a new host; see runtime.max_bindings and limits.bindings_per_port',
  ];
}

function describeFullPort({ port, limit }: HostPlan['fullPorts'][number]): string {
  return `Port "${port}" has its ${limit} bindings: no further address is learned on it; see limits.bindings_per_port`;
}

/** True when no step and no neighbor change failed. */
export function allWell(outcomes: readonly { readonly outcome: Outcome }[]): boolean {
  return outcomes.every(({ outcome }) => outcome.kind !== 'failed');
}

/** True when something was changed, or would be in check mode. */
export function anyChange(outcomes: readonly { readonly outcome: Outcome }[]): boolean {
  return outcomes.some(({ outcome }) => outcome.kind === 'applied' || outcome.kind === 'planned');
}
