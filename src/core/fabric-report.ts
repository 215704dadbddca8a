// The form of what one node knows of the fabric (`status --all`). Pure.
//
// A place is where traffic to an address goes: the VTEP of a node, or an Ethernet segment. For every VNI and place there is a
// group with a digest of its addresses, so that two nodes can be compared by one line. The addresses of this node are always
// listed. Those of other places are listed by `--details`: in a large fabric only where digests differ.

import type { IpAddress, Mac } from '../base/address.ts';

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
  /** Addresses that go from one MAC to another and back. */
  readonly conflicts: readonly Conflict[];
}

export interface Conflict {
  readonly vni: number;
  readonly ip: IpAddress;
  /** How often its MAC has changed within the window of `duplicates`. */
  readonly moves: number;
}

export interface NodeIdentity {
  /** Its host name. */
  readonly name: string;
  /** Of bgpd; null when it does not answer. */
  readonly routerId: string | null;
  /** The addresses of its tunnel ends. */
  readonly vteps: readonly string[];
}

export interface NodeVersions {
  readonly snoopy: string;
  readonly kernel: string;
  /** Null when FRR does not answer. */
  readonly frr: string | null;
}

/** A VNI that zebra knows or a VXLAN port of a bridge has. */
export interface VniReport {
  readonly vni: number;
  /**
   * Whether zebra has the VNI, and its VXLAN port is in a bridge, with both up: otherwise no host of it reaches another node. True
   * without a bridge where zebra has got the VNI just now.
   */
  readonly active: boolean;
  /** Address of the tunnel's near end; null when zebra does not know it. */
  readonly vtep: string | null;
  readonly bridge: string | null;
  /** 0 on a plain bridge. */
  readonly vlan: number;
  /** Whether its tunnel port suppresses ARP and ND. */
  readonly suppress: boolean;
}

export interface Group {
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
 * address of the node itself. `inactive`: not advertised. `frozen`: not advertised, as FRR has marked it as a duplicate. `rival`:
 * of a host on a local port that has sent with it after zebra took it from another node; its age is that of the message.
 */
export type LocalState = 'owned' | 'ghost' | 'gateway' | 'inactive' | 'frozen' | 'rival';

export interface LocalEntry extends Entry {
  readonly state: LocalState;
}

/** True when other nodes must have it. */
export function isAdvertised({ state }: Pick<LocalEntry, 'state'>): boolean {
  return state === 'owned' || state === 'ghost' || state === 'gateway';
}
