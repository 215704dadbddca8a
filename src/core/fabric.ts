// What one node knows of the fabric (`status --all`), for `audit` to compare with what the others know. Pure.

import type { IfIndex, IpAddress } from '../base/address.ts';
import { ensure, groupBy } from '../base/group.ts';
import type { Link } from '../netlink/link.ts';
import type { Neighbor } from '../netlink/neighbor.ts';
import type { VlanOptions } from '../netlink/vlan-options.ts';
import { hasRoute } from './blockers.ts';
import type { Desired } from './desired.ts';
import { digestOf } from './digest.ts';
import {
  type Conflict,
  type Details,
  type Entry,
  type FabricReport,
  type Group,
  isAdvertised,
  type LocalEntry,
  type LocalGroup,
  type LocalState,
  type RemoteGroup,
  type VniReport,
} from './fabric-report.ts';
import { type Frr, type FrrNeighbor, type FrrOrigin, vniOf, vnisByDevice } from './frr.ts';
import { isRemote, isValid } from './neighbor-entry.ts';
import type { Decision } from './neighbors/decide.ts';
import type { HostPlan } from './neighbors/plan.ts';
import type { Observed, ObservedHosts } from './observed.ts';
import { tunnelVnis } from './tunnel-vnis.ts';

/** What is known beside the kernel and FRR. */
export interface NodeFacts {
  /** Milliseconds since the epoch. */
  readonly atMs: number;
  readonly name: string;
  readonly snoopy: string;
  readonly kernel: string;
  readonly succeededMs: number | null;
  readonly details: Details;
}

export interface FabricFacts {
  readonly node: NodeFacts;
  readonly observed: Observed;
  readonly hosts: Pick<ObservedHosts, 'neighbors' | 'nowMs'>;
  readonly plan: Pick<HostPlan, 'decisions'>;
  readonly desired: Desired;
  /** The options of VLANs, of tunnel ports on which each VLAN has its own setting for suppression. */
  readonly vlanOptions: ReadonlyMap<IfIndex, readonly VlanOptions[]>;
  /** Null: it did not answer. */
  readonly frr: Frr | null;
}

export function describeFabric(facts: FabricFacts): FabricReport {
  const { node, frr } = facts;
  const vnis = describeVnis(facts);
  const vteps = [...new Set(vnis.flatMap(({ vtep }) => vtep ?? []))].sort();
  const { local, remote } = describeEntries(facts, vnis);
  const { succeededMs, atMs } = node;
  return {
    at: atMs / 1000,
    node: { name: node.name, routerId: frr?.fabric?.routerId ?? null, vteps },
    versions: { snoopy: node.snoopy, kernel: node.kernel, frr: frr?.fabric?.version ?? null },
    // A time in the future is ignored: the clock was wrong then, or is wrong now.
    succeededAt: succeededMs === null || succeededMs > atMs ? null : Math.round(succeededMs) / 1000,
    vnis,
    local,
    remote,
    conflicts: describeConflicts(facts),
  };
}

/** One move is that of a host; an address that comes back has two. */
const CONFLICTING_MOVES = 2;

function describeConflicts({ plan, hosts, desired, frr }: FabricFacts): Conflict[] {
  const windows = new Map(desired.bridges.map(({ name, duplicates }) => [name, duplicates.windowMs]));
  return plan.decisions.flatMap((decision): Conflict[] => {
    const { binding } = decision.candidate;
    const vni = vniOfDecision(decision, frr);
    if (vni === undefined || binding === undefined || decision.state === 'frozen') return [];
    if (binding.moves < CONFLICTING_MOVES) return [];
    const isCurrent = hosts.nowMs - binding.windowMs <= (windows.get(decision.bridge) ?? 0);
    return isCurrent ? [{ vni, ip: decision.ip, moves: binding.moves }] : [];
  });
}

function vniOfDecision({ device, ip }: Decision, frr: Frr | null): number | undefined {
  if (frr === null) return undefined;
  return vniOf(vnisByDevice(frr).get(device) ?? [], (one) => frr.neighbors.get(one)?.get(ip));
}

/** The hosts here that the next run takes the address back for, by VNI. */
function findRivals({ plan, hosts, frr }: FabricFacts): ReadonlyMap<number, readonly LocalEntry[]> {
  const rivals = plan.decisions.flatMap((decision) => {
    const { ip, mac, action, candidate } = decision;
    const { entry, binding } = candidate;
    const isRival =
      action === 'replace' &&
      entry !== undefined &&
      isRemote(entry) &&
      entry.mac !== mac &&
      binding !== undefined;
    const vni = isRival ? vniOfDecision(decision, frr) : undefined;
    if (vni === undefined || binding === undefined) return [];
    const age = Math.max(0, Math.floor((hosts.nowMs - binding.lastSeenMs) / 1000));
    return [{ vni, entry: { ip, mac, age, state: 'rival' } as const }];
  });
  const groups = groupBy(rivals, ({ vni }) => vni);
  return new Map([...groups].map(([vni, group]) => [vni, group.map(({ entry }) => entry)]));
}

function describeVnis({ observed, vlanOptions, frr }: FabricFacts): VniReport[] {
  const { links } = observed;
  const found = new Map<number, VniReport>();
  const ofZebra = new Set(frr?.vnis.map(({ vni }) => vni));
  const bridgeOf = ({ master }: Link): Link | undefined => {
    const link = master === undefined ? undefined : links.get(master);
    return link?.bridge === undefined ? undefined : link;
  };
  const unbridged = [...links.values()].flatMap((link) =>
    link.vxlan === undefined || bridgeOf(link) !== undefined ? [] : [link.vxlan],
  );
  for (const vni of ofZebra) {
    // A port that was created after this look at the links, and before that of zebra, may well be in its bridge.
    const active = !unbridged.some((vxlan) => vxlan.external || vxlan.vni === vni);
    found.set(vni, { vni, active, vtep: vtepOf(frr, vni), bridge: null, vlan: 0, suppress: false });
  }
  for (const link of links.values()) {
    const bridge = bridgeOf(link);
    if (bridge?.bridge === undefined) continue;
    for (const { vni, vlan } of tunnelVnis(link, bridge.bridge.vlanFiltering, observed)) {
      if (frr?.l3Vnis.has(vni)) continue;
      const suppress = suppresses(link, vlan, vlanOptions.get(link.ifIndex) ?? []);
      // Of two ports with one VNI, as on two UDP ports, an active one counts.
      const known = found.get(vni);
      if (known?.active && known.bridge !== null) continue;
      const active = ofZebra.has(vni) && link.up && bridge.up;
      found.set(vni, { vni, active, vtep: vtepOf(frr, vni), bridge: bridge.name, vlan, suppress });
    }
  }
  return [...found.values()].sort((a, b) => a.vni - b.vni);
}

function vtepOf(frr: Frr | null, vni: number): string | null {
  return frr?.fabric?.vteps.get(vni) ?? null;
}

/** Where each VLAN has its own setting, that of the port does not matter (br_is_neigh_suppress_enabled). */
function suppresses({ bridgePort }: Link, vlan: number, options: readonly VlanOptions[]): boolean {
  if (!bridgePort?.neighVlanSuppress) return bridgePort?.neighSuppress ?? false;
  return options.some(({ start, end, neighSuppress }) => start <= vlan && vlan <= end && neighSuppress);
}

function describeEntries(
  facts: FabricFacts,
  vnis: readonly VniReport[],
): { readonly local: readonly LocalGroup[]; readonly remote: readonly RemoteGroup[] } {
  const { observed, hosts, frr, node } = facts;
  const local: LocalGroup[] = [];
  const remote: RemoteGroup[] = [];
  const rivals = findRivals(facts);
  const kernel = neighborsByDevice(hosts.neighbors);
  const devices = new Map([...observed.links.values()].map((link) => [link.name, link.ifIndex]));
  for (const { vni, vtep } of vnis) {
    const table = frr?.neighbors.get(vni);
    if (frr === null || table === undefined) continue;
    const svi = frr.vnis.find((known) => known.vni === vni)?.svi ?? null;
    const device = svi === null ? undefined : devices.get(svi);
    const domain: Domain = {
      vni,
      frr,
      neighbors: device === undefined ? null : (kernel.get(device) ?? new Map()),
      own: device === undefined ? new Set() : ownAddresses(observed, device),
    };
    const rows = [...table].map(([ip, entry]) => rowOf(ip, entry, domain));
    const mine = [
      ...rows.flatMap((row) => (row.state === null ? [] : [{ ...row, state: row.state }])),
      ...(rivals.get(vni) ?? []).map((entry) => ({ ...entry, place: null })),
    ];
    for (const [place, group] of groupBy(mine, (row) => row.place ?? vtep ?? '')) {
      const entries = group.map(({ ip, mac, age, state }) => ({ ip, mac, age, state }));
      local.push({ ...groupOf(vni, place, entries.filter(isAdvertised)), entries });
    }
    const others = rows.filter(({ state, place }) => state === null && place !== null);
    for (const [place, group] of groupBy(others, (row) => row.place ?? '')) {
      const entries = group.map(({ ip, mac, age }) => ({ ip, mac, age }));
      const isListed = node.details === 'all' || node.details.includes(place);
      remote.push({ ...groupOf(vni, place, entries), ...(isListed ? { entries } : {}) });
    }
  }
  return { local, remote };
}

/** The neighbors of one VNI. */
interface Domain {
  readonly vni: number;
  readonly frr: Frr;
  /** Those of the kernel; null: zebra takes them from no device. */
  readonly neighbors: ReadonlyMap<IpAddress, Neighbor> | null;
  /** Addresses of the node itself on that device. */
  readonly own: ReadonlySet<IpAddress>;
}

interface Row extends Entry {
  /** Null: of another node. */
  readonly state: LocalState | null;
  /** For an address of this node only if it is on a segment. */
  readonly place: string | null;
}

function rowOf(ip: IpAddress, entry: FrrNeighbor, domain: Domain): Row {
  const { mac, isLocal } = entry;
  const origin = domain.frr.fabric?.origins.get(domain.vni)?.get(ip);
  const neighbor = domain.neighbors?.get(ip);
  const age = ageOf(origin, isLocal, neighbor);
  const place = origin?.place ?? null;
  return { ip, mac, age, place, state: isLocal ? stateOf(ip, entry, place, domain) : null };
}

/**
 * zebra does not begin anew when an address of this node goes to another one (`confirmed` of its entry in the kernel does, zebra
 * wrote it), nor for another MAC (`updated` does).
 */
function ageOf(
  origin: FrrOrigin | undefined,
  isLocal: boolean,
  neighbor: Neighbor | undefined,
): number | null {
  const written = isLocal ? neighbor?.updatedMs : neighbor?.confirmedMs;
  return least([origin?.ageMs, written].map((ms) => (ms === undefined ? null : Math.floor(ms / 1000))));
}

/** The least of those that are known; null when none is. */
function least(ages: readonly (number | null)[]): number | null {
  return ages.reduce((least, age) => (age === null || (least !== null && least <= age) ? least : age), null);
}

function stateOf(
  ip: IpAddress,
  { mac, isDuplicate }: FrrNeighbor,
  segment: string | null,
  { vni, frr, neighbors, own }: Domain,
): LocalState {
  if (!hasRoute({ ip, mac }, vni, frr)) return isDuplicate ? 'frozen' : 'inactive';
  if (own.has(ip)) return 'gateway';
  // On a segment the neighbor may be that of its other node.
  if (neighbors === null || segment !== null) return 'owned';
  const neighbor = neighbors.get(ip);
  const isThere = neighbor !== undefined && isValid(neighbor) && neighbor.mac === mac && !isRemote(neighbor);
  return isThere ? 'owned' : 'ghost';
}

function groupOf(vni: number, place: string, entries: readonly Entry[]): Group {
  return {
    vni,
    place,
    count: entries.length,
    digest: digestOf(entries),
    youngest: least(entries.map(({ age }) => age)),
  };
}

function neighborsByDevice(
  neighbors: readonly Neighbor[],
): ReadonlyMap<IfIndex, ReadonlyMap<IpAddress, Neighbor>> {
  const devices = new Map<IfIndex, Map<IpAddress, Neighbor>>();
  for (const neighbor of neighbors)
    ensure(devices, neighbor.ifIndex, () => new Map<IpAddress, Neighbor>()).set(neighbor.ip, neighbor);
  return devices;
}

/** Addresses on the device, and on those that are stacked on it, such as an anycast gateway's macvlan. */
function ownAddresses({ addresses, links }: Observed, device: IfIndex): ReadonlySet<IpAddress> {
  const isOn = (ifIndex: IfIndex): boolean => ifIndex === device || links.get(ifIndex)?.link === device;
  return new Set(addresses.filter(({ ifIndex }) => isOn(ifIndex)).map(({ ip }) => ip));
}
