// The model of FRR's answers: its VNIs, neighbors and peers, and what it knows about one host.

import type { IpAddress, Mac } from '../base/address.ts';

/** FRR's answer as a whole. */
export type FrrAnswer =
  /** vtysh is not installed. */
  | { readonly kind: 'absent' }
  /** vtysh is installed, but a daemon does not answer. */
  | {
      readonly kind: 'silent';
      readonly message: string;
      /** True when it took too long; false when it failed at once, as where no daemon runs. */
      readonly isLate: boolean;
    }
  | { readonly kind: 'answered'; readonly frr: Frr };

export interface Frr {
  /** L2 VNIs that zebra knows. */
  readonly vnis: readonly FrrVni[];
  /** L3 VNIs, which belong to VRFs and have no hosts. */
  readonly l3Vnis: ReadonlySet<number>;
  /** zebra's neighbors, by VNI and address. */
  readonly neighbors: ReadonlyMap<number, ReadonlyMap<IpAddress, FrrNeighbor>>;
  readonly advertiseAllVni: boolean;
  readonly peers: readonly { readonly name: string; readonly state: string }[];
}

export interface FrrVni {
  readonly vni: number;
  /** The device whose neighbors zebra takes; null: none. */
  readonly svi: string | null;
}

export interface FrrNeighbor {
  readonly mac: Mac;
  readonly isLocal: boolean;
  /** False: `local inactive`, so not advertised. */
  readonly isActive: boolean;
  /** True when FRR's own duplicate address detection has frozen it. */
  readonly isDuplicate: boolean;
}

/** What FRR knows about one address. */
export interface FrrHost {
  readonly neighbor: FrrNeighbor | null;
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
