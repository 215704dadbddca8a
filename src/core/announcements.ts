// Which addresses to announce to the hosts here: those that moved to another MAC at another node. Pure.

import type { IfIndex, Mac } from '../base/address.ts';
import { ensure } from '../base/group.ts';
import type { BindingKey } from '../datapath/records/binding-key.ts';
import type { Neighbor } from '../netlink/neighbor.ts';
import type { StaticEntry } from './desired.ts';
import { splitByBudget } from './frame-budget.ts';
import { HostIndex } from './host-index.ts';
import { type LearnableCheck, learnableOn } from './learnable.ts';
import { isRemote, isValid } from './neighbor-entry.ts';
import { addressId, staticEntries } from './neighbors/candidate.ts';
import type { Decision } from './neighbors/decide.ts';
import type { ObservedHosts } from './observed.ts';
import { type Bridge, type Domain, leavesTagged, type Port, type Topology, takesVlan } from './topology.ts';

/** An entry of zebra whose address and MAC the hosts of these ports get to know. */
export interface Announcement {
  readonly entry: Neighbor;
  readonly mac: Mac;
  readonly outlets: readonly Outlet[];
}

/** A port with hosts of the VLAN. */
interface Outlet {
  readonly port: Port;
  /** The VLAN ID with which frames leave the port; null: no tag. */
  readonly tag: number | null;
}

export interface AnnouncementPlan {
  readonly due: readonly Announcement[];
  /** Entries that are left to the next run. For it the former MAC must still be the last known one. */
  readonly left: readonly Neighbor[];
}

/** An entry of zebra, and the MAC that its address had last as far as this node knows. */
interface Change {
  readonly bridge: Bridge;
  readonly domain: Domain;
  readonly entry: Neighbor;
  readonly mac: Mac;
  readonly former: Mac;
  /** CLOCK_MONOTONIC in milliseconds. */
  readonly atMs: number;
}

/**
 * The addresses for which zebra has another MAC than the last one that was known here. A tunnel port with ARP suppression
 * keeps the announcements of hosts at other nodes from the hosts here, which would send to the former MAC until their own
 * entries age. The former MAC is that of zebra's entry in an earlier run, of a host that was here and has gone, or of a
 * binding here from which another node has taken the address. An address that is here is never announced, nor one that
 * is known for the first time. `index` is an index of `hosts`, if the caller has one.
 */
export function planAnnouncements(
  topology: Topology,
  hosts: ObservedHosts,
  decisions: readonly Decision[],
  index: HostIndex = new HostIndex(hosts),
): AnnouncementPlan {
  const bridges = new Map<IfIndex, Bridge>();
  for (const bridge of topology.bridges) if (isAnnouncing(bridge)) bridges.set(bridge.ifIndex, bridge);
  if (bridges.size === 0) return { due: [], left: [] };
  const changes = new Map<Neighbor, Change>();
  const consider = ({ bridge: ifIndex, vlan, ip }: BindingKey, former: Mac, atMs: number): void => {
    const bridge = bridges.get(ifIndex);
    const domain = bridge?.domains.get(vlan);
    if (bridge === undefined || domain === undefined) return;
    const entry = index.neighborOf(domain.device, ip);
    if (entry?.mac === undefined || !isRemote(entry) || !isValid(entry)) return;
    const latest = changes.get(entry);
    if (latest === undefined || latest.atMs < atMs) {
      changes.set(entry, { bridge, domain, entry, mac: entry.mac, former, atMs });
    }
  };
  for (const hint of hosts.hints) consider(hint, hint.mac, hint.seenMs);
  const local = new Set<Neighbor>();
  for (const { state, candidate } of decisions) {
    const { entry, binding } = candidate;
    if (entry === undefined || !isRemote(entry)) continue;
    if (state !== 'remote') local.add(entry);
    else if (binding !== undefined) consider(candidate, binding.mac, binding.lastSeenMs);
  }
  const changed = [...changes.values()].filter(
    ({ entry, mac, former }) => mac !== former && !local.has(entry),
  );
  // The oldest change first.
  changed.sort((a, b) => b.entry.updatedMs - a.entry.updatedMs);
  return choose(changed.filter(announceable()), index);
}

function isAnnouncing({ desired, suppresses }: Bridge): boolean {
  return desired.announce === 'auto' && suppresses;
}

/** Neither an address of the node itself, nor one that may not be learned, nor a provisioned one of another MAC. */
function announceable(): (change: Change) => boolean {
  const statics = new Map<Bridge, ReadonlyMap<string, StaticEntry>>();
  const rules = new Map<Bridge, LearnableCheck>();
  return ({ bridge, domain, entry: { ip }, mac }) => {
    // The memory has no news of such an address either, so it would be announced again and again.
    if (ensure(rules, bridge, () => learnableOn(bridge))({ ip, vlan: domain.vlan }) !== null) return false;
    const entries = ensure(statics, bridge, () => staticEntries(bridge));
    const provisioned = entries.get(addressId(domain.vlan, ip));
    return provisioned === undefined || provisioned.macs.includes(mac);
  };
}

/** Those that one run sends. */
function choose(changed: readonly Change[], index: HostIndex): AnnouncementPlan {
  const outlets = new Map<Domain, readonly Outlet[]>();
  const announcements = changed.map(({ bridge, domain, entry, mac }): Announcement => {
    const all = ensure(outlets, domain, () => outletsOf(bridge, domain.vlan));
    // A host that still has the address would take it back (RFC 5227, section 2.4).
    const binding = index.bindingOf({ bridge: bridge.ifIndex, vlan: domain.vlan, ip: entry.ip });
    const place = binding && index.forwardingOf(bridge).locate(domain.vlan, binding.mac);
    const former = place?.kind === 'local' ? place.port.ifIndex : undefined;
    return { entry, mac, outlets: all.filter(({ port }) => port.ifIndex !== former) };
  });
  const useful = announcements.filter(({ outlets: { length } }) => length > 0);
  const { now, later } = splitByBudget(useful, ({ outlets: { length } }) => length);
  return { due: now, left: later.map(({ entry }) => entry) };
}

function outletsOf(bridge: Bridge, vlan: number): Outlet[] {
  return bridge.ports
    .filter((port) => takesVlan(bridge, port, vlan))
    .map((port) => ({ port, tag: leavesTagged(bridge, port, vlan) ? vlan : null }));
}
