// The model of FRR's answers: its VNIs, neighbors and peers, and what it knows about one host. Pure.

import type { IpAddress, Mac } from '../base/address.ts';
import { groupBy } from '../base/group.ts';

/** FRR's answer as a whole. */
export type FrrAnswer =
  /** vtysh is not installed. */
  | { readonly kind: 'absent' }
  /** vtysh is installed, but a daemon does not answer. */
  | {
      readonly kind: 'silent';
      /** The daemon that was asked. */
      readonly daemon: 'zebra' | 'bgpd';
      readonly message: string;
      /** True when it took too long; false when it failed at once, as where no daemon runs. */
      readonly isLate: boolean;
    }
  | { readonly kind: 'answered'; readonly frr: Frr };

/** An FRR with a daemon that does not answer. */
export type SilentFrr = Extract<FrrAnswer, { readonly kind: 'silent' }>;

export interface Frr {
  /** L2 VNIs that zebra knows. */
  readonly vnis: readonly FrrVni[];
  /** L3 VNIs, which belong to VRFs and have no hosts. */
  readonly l3Vnis: ReadonlySet<number>;
  /** zebra's neighbors, by VNI and address. */
  readonly neighbors: ReadonlyMap<number, ReadonlyMap<IpAddress, FrrNeighbor>>;
  /** By VNI; only for VNIs with local neighbors that are marked as duplicates. */
  readonly duplicates: ReadonlyMap<number, FrrDuplicates>;
  readonly advertiseAllVni: boolean;
  readonly peers: readonly { readonly name: string; readonly state: string }[];
  /** Only for `status --all`. */
  readonly fabric?: FrrFabric;
}

/** What FRR knows about other nodes, and about itself as one of them. */
export interface FrrFabric {
  /** Of bgpd; null when it does not tell. */
  readonly routerId: string | null;
  /** Such as 8.4.4; null when it does not tell. */
  readonly version: string | null;
  /** The address of the tunnel's near end, by VNI. */
  readonly vteps: ReadonlyMap<number, string>;
  /** Where zebra's neighbors come from, by VNI and address. */
  readonly origins: ReadonlyMap<number, ReadonlyMap<IpAddress, FrrOrigin>>;
}

export interface FrrOrigin {
  /** The next hop, or the Ethernet segment; null for a host of this node that is on no segment. */
  readonly place: string | null;
  /** Time since zebra has it; undefined when it does not tell. */
  readonly ageMs: number | undefined;
}

export interface FrrVni {
  readonly vni: number;
  /** The device whose neighbors zebra takes; null: none. */
  readonly svi: string | null;
}

export interface FrrNeighbor {
  readonly mac: Mac;
  readonly isLocal: boolean;
  /** False: `local inactive`, and no other node of an Ethernet segment has the host as active: not advertised. */
  readonly isActive: boolean;
  /**
   * True: this node has no active neighbor, and advertises the address for another node of the Ethernet segment, which has
   * the host as active (EVPN multihoming).
   */
  readonly isProxy: boolean;
  /** True when FRR's own duplicate address detection has marked it; with `freeze` its route is withdrawn as well. */
  readonly isDuplicate: boolean;
}

/** What FRR's own duplicate address detection means for one VNI. */
export interface FrrDuplicates {
  /** The MACs that are marked themselves, and all their addresses with them. True: the bridge has it on a local port. */
  readonly macs: ReadonlyMap<Mac, boolean>;
  /** The addresses for which bgpd has a route of this node: zebra's state does not tell. */
  readonly advertised: ReadonlySet<IpAddress>;
}

/** What FRR knows about one address. */
export interface FrrHost {
  readonly neighbor: FrrNeighbor | null;
  /** True when the neighbor is marked as a duplicate because its MAC is. */
  readonly isMacDuplicate: boolean;
  /** Tunnel address of the node that zebra learned it from; null for a host of this node. */
  readonly tunnelEnd: string | null;
  /** The best path of its MAC/IP route in bgpd; null when there is none. */
  readonly route: {
    /** True when it is this node's own. */
    readonly isLocal: boolean;
    /** Tunnel address of the node that advertises it. */
    readonly nextHop: string | null;
    /** The peers that this node advertises it to. */
    readonly peers: readonly string[];
  } | null;
}

/** The VNIs of each device whose neighbors zebra takes: several where a bridge has several VXLAN ports. */
export function vnisByDevice({ vnis }: Pick<Frr, 'vnis'>): ReadonlyMap<string | null, readonly number[]> {
  const lines = groupBy(vnis, ({ svi }) => svi);
  return new Map([...lines].map(([svi, group]) => [svi, group.map(({ vni }) => vni)]));
}

/**
 * The VNI in which zebra has the neighbor, out of those of one device: zebra takes the neighbors of a device for one of
 * them. A local neighbor goes before one of another node; the first VNI where zebra has none; undefined for no VNI.
 */
export function vniOf(
  vnis: readonly number[],
  neighborIn: (vni: number) => Pick<FrrNeighbor, 'isLocal'> | null | undefined,
): number | undefined {
  if (vnis.length <= 1) return vnis[0];
  return vnis.find((vni) => neighborIn(vni)?.isLocal) ?? vnis.find(neighborIn) ?? vnis[0];
}
