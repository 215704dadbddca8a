// What one node tells of the fabric (`status --all`), for `audit` to compare with what the others tell. Pure.
//
// A place is where traffic to an address goes: the VTEP of a node, or an Ethernet segment. For every VNI and place there is a
// group with a digest of its addresses, so that two nodes can be compared by one line. The addresses of this node are always
// listed. Those of other places are listed by `--details`: in a large fabric only where digests differ.

import type { IfIndex, IpAddress, Mac } from '../base/address.ts';
import { ensure, groupBy } from '../base/group.ts';
import type { Link } from '../netlink/link.ts';
import type { Neighbor } from '../netlink/neighbor.ts';
import type { VlanOptions } from '../netlink/vlan-options.ts';
import { findBlocker } from './blockers.ts';
import { digestOf } from './digest.ts';
import type { Frr, FrrNeighbor, FrrOrigin } from './frr.ts';
import { isRemote, isValid } from './neighbor-entry.ts';
import type { Observed, ObservedHosts } from './observed.ts';
import { tunnelVnis } from './tunnel-vnis.ts';

/** The places whose addresses are listed: all of them, or these. */
export type Details = 'all' | readonly string[];

export interface FabricReport {
  /** When FRR was asked, in seconds since the epoch. Ages count back from here. */
  readonly at: number;
  readonly node: NodeIdentity;
  readonly versions: NodeVersions;
  /** When a run of all bridges last succeeded, in seconds since the epoch; null: not known. */
  readonly succeededAt: number | null;
  readonly vnis: readonly VniReport[];
  /** Addresses of this node. */
  readonly local: readonly LocalGroup[];
  /** Addresses that zebra has from other nodes. */
  readonly remote: readonly RemoteGroup[];
}

export interface NodeIdentity {
  /** Its host name. */
  readonly name: string;
  /** Of bgpd; null when FRR does not tell. */
  readonly routerId: string | null;
  /** The addresses of its tunnel ends. */
  readonly vteps: readonly string[];
}

export interface NodeVersions {
  readonly snoopy: string;
  readonly kernel: string;
  /** Null when FRR does not tell. */
  readonly frr: string | null;
}

/** A VNI that zebra knows or a VXLAN port of a bridge has. */
export interface VniReport {
  readonly vni: number;
  /** Address of the tunnel's near end; null when zebra does not know the VNI. */
  readonly vtep: string | null;
  readonly bridge: string | null;
  /** 0 on a plain bridge. */
  readonly vlan: number;
  /** Whether its tunnel port suppresses ARP and ND. */
  readonly suppress: boolean;
}

interface Group {
  readonly vni: number;
  readonly place: string;
  /** Addresses and their digest: of `local`, those that are advertised. */
  readonly count: number;
  readonly digest: string;
  /** Age of the youngest address in seconds; null without one of known age. */
  readonly youngest: number | null;
}

export interface LocalGroup extends Group {
  readonly entries: readonly LocalEntry[];
}

export interface RemoteGroup extends Group {
  /** Missing: not among the places of `--details`. */
  readonly entries?: readonly Entry[];
}

export interface Entry {
  readonly ip: IpAddress;
  readonly mac: Mac;
  /** Seconds since this node has it so; null: not known. */
  readonly age: number | null;
}

/**
 * `owned`: advertised, and a neighbor of the kernel. `ghost`: advertised, though the kernel has no such neighbor. `gateway`: an
 * address of the node itself. `inactive`: not advertised. `frozen`: not advertised, as FRR has marked it as a duplicate.
 */
export type LocalState = 'owned' | 'ghost' | 'gateway' | 'inactive' | 'frozen';

export interface LocalEntry extends Entry {
  readonly state: LocalState;
}

/** True when other nodes must have it. */
export function isAdvertised({ state }: Pick<LocalEntry, 'state'>): boolean {
  return state === 'owned' || state === 'ghost' || state === 'gateway';
}

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
  readonly hosts: Pick<ObservedHosts, 'neighbors'>;
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
  };
}

function describeVnis({ observed, vlanOptions, frr }: FabricFacts): VniReport[] {
  const { links } = observed;
  const found = new Map<number, VniReport>();
  for (const { vni } of frr?.vnis ?? [])
    found.set(vni, { vni, vtep: vtepOf(frr, vni), bridge: null, vlan: 0, suppress: false });
  for (const link of links.values()) {
    const bridge = link.master === undefined ? undefined : links.get(link.master);
    if (bridge?.bridge === undefined) continue;
    for (const { vni, vlan } of tunnelVnis(link, bridge.bridge.vlanFiltering, observed)) {
      if (frr?.l3Vnis.has(vni)) continue;
      const suppress = suppresses(link, vlan, vlanOptions.get(link.ifIndex) ?? []);
      found.set(vni, { vni, vtep: vtepOf(frr, vni), bridge: bridge.name, vlan, suppress });
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
  { observed, hosts, frr, node }: FabricFacts,
  vnis: readonly VniReport[],
): { readonly local: readonly LocalGroup[]; readonly remote: readonly RemoteGroup[] } {
  const local: LocalGroup[] = [];
  const remote: RemoteGroup[] = [];
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
    const mine = rows.flatMap((row) => (row.state === null ? [] : [{ ...row, state: row.state }]));
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
  const blocker = findBlocker({ ip, mac }, vni, frr);
  if (blocker !== null && !blocker.isAdvertised) return isDuplicate ? 'frozen' : 'inactive';
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
