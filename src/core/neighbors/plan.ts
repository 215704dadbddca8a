// planHosts(topology, hosts) -> the due changes of the neighbor table, from the decisions of all addresses. Pure.

import type { IfIndex, Mac } from '../../base/address.ts';
import type { Binding } from '../../datapath/records/binding.ts';
import type { BindingKey } from '../../datapath/records/binding-key.ts';
import type { Neighbor } from '../../netlink/neighbor.ts';
import { countByPort } from '../binding-counts.ts';
import { HostIndex } from '../host-index.ts';
import { learnableOn } from '../learnable.ts';
import { isExposed, isOurs, isRouter, REFRESH_AFTER_MS } from '../neighbor-entry.ts';
import type { ObservedHosts } from '../observed.ts';
import type { PlacedBinding } from '../probes/ageing.ts';
import { type Bridge, type Domain, placesByDevice, type Topology } from '../topology.ts';
import {
  addressId,
  type Context,
  type KeptByOwner,
  learnedCandidate,
  staticCandidate,
  staticEntries,
} from './candidate.ts';
import { type Decision, decide, isKeptByOwner } from './decide.ts';
import { type Ending, whyEnded } from './ended.ts';
import { type EntryState, stateFor } from './entry-state.ts';

/** A due change of the neighbor table. If no configured bridge has the device, the key's `bridge` is the device. */
export interface NeighborChange extends BindingKey, EntryState {
  readonly kind: 'add' | 'replace' | 'remove';
  readonly bridgeName: string;
  readonly device: IfIndex;
  readonly deviceName: string;
  /** The MAC after the change; for `remove` that of the removed entry. */
  readonly mac: Mac | null;
  readonly port: string | null;
  /** The entry as it was observed. */
  readonly existing: Neighbor | undefined;
  readonly router: boolean;
  readonly because: string;
}

export interface HostPlan {
  readonly changes: readonly NeighborChange[];
  /** Entries to write again unchanged, because garbage collection may delete them. */
  readonly refresh: readonly NeighborChange[];
  /** Bindings that have ended: to be deleted once the changes are in the kernel. */
  readonly forget: readonly Binding[];
  /** Why they have ended, for bindings of configured bridges. */
  readonly endings: ReadonlyMap<Binding, Ending>;
  readonly decisions: readonly Decision[];
  /** Bindings to write, with a move from another node that was counted. */
  readonly moved: readonly Binding[];
  /** Learned bindings that have a neighbor, or whose hosts are on a local port: these hosts are probed when silent. */
  readonly present: readonly PlacedBinding[];
  /** Learned bindings without a neighbor that an answer to a probe would give one. */
  readonly doubtful: readonly PlacedBinding[];
  /** Ports that have `limit` bindings or more: a limit that was lowered ends none. */
  readonly fullPorts: readonly { readonly port: string; readonly count: number; readonly limit: number }[];
  /** Number of our own neighbors after the changes. */
  readonly total: number;
}

export interface HostOptions {
  /** NDA_PROTOCOL of our own entries. */
  readonly protocol: number;
  /** False with `--bridge`: entries on other devices are left alone. */
  readonly whole: boolean;
  /** By bindingId: addresses that do not go to another MAC in this run. */
  readonly kept?: ReadonlyMap<string, KeptByOwner>;
}

/**
 * The decisions about every address of the configured bridges, and the changes that they make due in the neighbor
 * table. `index` is an index of `hosts`, if the caller has one.
 */
export function planHosts(
  topology: Topology,
  hosts: ObservedHosts,
  { protocol, whole, kept = new Map() }: HostOptions,
  index: HostIndex = new HostIndex(hosts),
): HostPlan {
  const plans = topology.bridges.map((bridge) => {
    const forwarding = index.forwardingOf(bridge);
    const { freePorts } = topology;
    return planBridge({ bridge, index, forwarding, nowMs: hosts.nowMs, freePorts, protocol, kept });
  });
  const decisions = concat(plans.map((plan) => plan.decisions));
  const ended = concat(plans.map((plan) => plan.ended));
  const uses = usesOf(decisions, ended, protocol);
  const removals = planRemovals(topology, hosts, index, { protocol, whole }, uses);
  const added = decisions.filter(({ action }) => action === 'add').length;
  return {
    changes: concat([removals, ...plans.map((plan) => plan.changes)]),
    refresh: concat(plans.map((plan) => plan.refresh)),
    forget: [...(whole ? orphans(topology, hosts) : []), ...ended.map(({ binding }) => binding)],
    endings: new Map(ended.map(({ binding, ending }) => [binding, ending])),
    decisions,
    moved: decisions.flatMap(({ moved }) => (moved === null ? [] : [moved])),
    present: concat(plans.map((plan) => plan.present)),
    doubtful: concat(plans.map((plan) => plan.doubtful)),
    fullPorts: topology.bridges.flatMap((bridge) => fullPorts(bridge, index.bindingsOf(bridge.ifIndex))),
    total: uses.staying.size + added,
  };
}

/** The decisions about one bridge, and the changes of the neighbor table for it. */
interface BridgePlan {
  readonly decisions: readonly Decision[];
  readonly ended: readonly Ended[];
  readonly changes: readonly NeighborChange[];
  readonly refresh: readonly NeighborChange[];
  readonly present: readonly PlacedBinding[];
  readonly doubtful: readonly PlacedBinding[];
}

/** Joins lists; flatMap takes several times as long for tens of thousands of items. */
function concat<T>(lists: readonly (readonly T[])[]): T[] {
  const none: T[] = [];
  return none.concat(...lists);
}

/** A binding that has ended. */
interface Ended {
  readonly binding: Binding;
  readonly ending: Ending;
  /** The entry of its address, and whether it stays: a MAC that claims an address and disappears does not get it. */
  readonly entry: Neighbor | undefined;
  readonly isKept: boolean;
}

function planBridge(context: Context): BridgePlan {
  const { bridge, protocol } = context;
  const { decisions, ended } = decideBridge(context);
  const changes: NeighborChange[] = [];
  const refresh: NeighborChange[] = [];
  const present: PlacedBinding[] = [];
  const doubtful: PlacedBinding[] = [];
  for (const decision of decisions) {
    const { domain, entry, source, binding, port: seenOn, location } = decision.candidate;
    const port = location.kind === 'local' && decision.isDoubtful ? location.port : seenOn;
    if (source === 'learned' && binding !== undefined && port !== undefined) {
      const placed = { binding, port, isForgotten: location.kind === 'nowhere' };
      if (decision.isDoubtful) doubtful.push(placed);
      else if (isPresent(decision)) present.push(placed);
    }
    if (domain === undefined) continue;
    if (decision.due) changes.push(changeOf(bridge, domain, decision));
    else if (decision.action === 'keep' && entry !== undefined && needsRefresh(entry, protocol)) {
      refresh.push(refreshOf(entry, changeOf(bridge, domain, decision)));
    }
  }
  return { decisions, ended, changes, refresh, present, doubtful };
}

/** The decisions about live bindings, then about static entries; and the bindings that have ended. */
function decideBridge(context: Context): Pick<BridgePlan, 'decisions' | 'ended'> {
  const { bridge, index } = context;
  const statics = staticEntries(bridge);
  const whyNotLearnable = learnableOn(bridge);
  const decisions: Decision[] = [];
  const ended: Ended[] = [];
  const seen = new Map<string, Binding>();
  for (const binding of index.bindingsOf(bridge.ifIndex)) {
    const id = statics.size === 0 ? '' : addressId(binding.vlan, binding.ip);
    const candidate = learnedCandidate(context, binding, bridge.portsByIndex.get(binding.port));
    const ending = whyEnded(context, candidate, binding, statics.get(id), whyNotLearnable);
    if (ending !== null) {
      const { entry } = candidate;
      ended.push({ binding, ending, entry, isKept: isKeptByOwner(context, binding, entry) });
    } else if (statics.has(id)) {
      seen.set(id, binding);
    } else {
      decisions.push(decide(context, candidate));
    }
  }
  for (const [id, entry] of statics) {
    decisions.push(decide(context, staticCandidate(context, entry, seen.get(id))));
  }
  return { decisions, ended };
}

function changeOf(bridge: Bridge, domain: Domain, { candidate, port, because }: Decision): NeighborChange {
  return {
    kind: candidate.entry === undefined ? 'add' : 'replace',
    bridge: bridge.ifIndex,
    bridgeName: bridge.desired.name,
    vlan: candidate.vlan,
    ip: candidate.ip,
    device: domain.device,
    deviceName: domain.deviceName,
    mac: candidate.mac,
    port,
    existing: candidate.entry,
    ...stateFor(bridge, domain, candidate),
    router: candidate.router,
    because,
  };
}

/** The same entry again: its MAC may be another than that of the candidate, which does not get the address. */
function refreshOf(entry: Neighbor, change: NeighborChange): NeighborChange {
  return { ...change, mac: entry.mac ?? null, router: isRouter(entry) };
}

function needsRefresh(entry: Neighbor, protocol: number): boolean {
  return isOurs(entry, protocol) && isExposed(entry) && entry.confirmedMs > REFRESH_AFTER_MS;
}

/** What the decisions mean for the existing entries. */
interface EntryUse {
  /** Entries that are ours and stay, or become ours. */
  readonly staying: ReadonlySet<Neighbor>;
  /** Why other entries are not wanted. */
  readonly reasons: ReadonlyMap<Neighbor, string>;
}

function usesOf(decisions: readonly Decision[], ended: readonly Ended[], protocol: number): EntryUse {
  const staying = new Set<Neighbor>();
  const reasons = new Map<Neighbor, string>();
  for (const { entry, ending, isKept } of ended) {
    if (entry === undefined) continue;
    reasons.set(entry, ending.because);
    if (isKept) staying.add(entry);
  }
  for (const { candidate, action, because } of decisions) {
    const { entry } = candidate;
    if (entry === undefined) continue;
    if (action === 'none') reasons.set(entry, because);
    else if (action !== 'keep' || isOurs(entry, protocol)) staying.add(entry);
  }
  return { staying, reasons };
}

/**
 * True when the host has a neighbor or is on a local port. That includes a host that an entry of another owner serves:
 * it is probed, so that no outdated candidate gets the address when that entry is removed.
 */
function isPresent({ state, candidate: { location } }: Decision): boolean {
  return state === 'installed' || (location.kind === 'local' && state !== 'frozen');
}

/** Bindings of bridges that are not configured. */
function orphans({ bridges }: Topology, { bindings }: ObservedHosts): Binding[] {
  const known = new Set(bridges.map(({ ifIndex }) => ifIndex));
  return bindings.filter(({ bridge }) => !known.has(bridge));
}

function fullPorts(bridge: Bridge, bindings: readonly Binding[]): HostPlan['fullPorts'] {
  const limit = bridge.desired.limits.bindingsPerPort;
  if (limit === 0) return [];
  return [...countByPort(bindings)]
    .filter(([, count]) => count >= limit)
    .flatMap(([ifIndex, count]) => {
      const port = bridge.portsByIndex.get(ifIndex)?.name;
      return port === undefined ? [] : [{ port, count, limit }];
    })
    .sort((a, b) => (a.port < b.port ? -1 : 1));
}

/** Our own entries that nothing claims any more. */
function planRemovals(
  topology: Topology,
  hosts: ObservedHosts,
  index: HostIndex,
  { protocol, whole }: HostOptions,
  { staying, reasons }: EntryUse,
): NeighborChange[] {
  const places = placesByDevice(topology);
  const changes: NeighborChange[] = [];
  for (const entry of hosts.neighbors) {
    if (!isOurs(entry, protocol) || staying.has(entry)) continue;
    // A dump shows an entry twice when the table grows meanwhile; the decision was about the one in the index.
    if (index.neighborOf(entry.ifIndex, entry.ip) !== entry) continue;
    const place = places.get(entry.ifIndex);
    if (place === undefined && !whole) continue;
    const deviceName =
      place?.domain.deviceName ?? hosts.deviceNames.get(entry.ifIndex) ?? `#${entry.ifIndex}`;
    changes.push({
      kind: 'remove',
      bridge: place?.bridge.ifIndex ?? entry.ifIndex,
      bridgeName: place?.bridge.desired.name ?? deviceName,
      vlan: place?.domain.vlan ?? 0,
      ip: entry.ip,
      device: entry.ifIndex,
      deviceName,
      mac: entry.mac ?? null,
      port: null,
      existing: entry,
      state: 'noarp',
      validated: false,
      router: isRouter(entry),
      because: reasons.get(entry) ?? (place === undefined ? 'not configured' : 'no binding'),
    });
  }
  return changes;
}
