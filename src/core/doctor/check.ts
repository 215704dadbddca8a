// What doctor looks at and what it says: one line for each thing that can keep a route from being advertised.

import type { IfIndex, IpAddress, Mac } from '../../base/address.ts';
import type { Action } from '../actions.ts';
import type { Desired } from '../desired.ts';
import type { HostPlan } from '../neighbors/plan.ts';
import type { Observed, ObservedHosts } from '../observed.ts';
import type { Counters } from '../report.ts';
import type { Topology } from '../topology.ts';

/** What each check is about, and why it matters. */
const WHY = {
  kernel: 'The program needs a kernel that takes it; nothing is learned without.',
  capabilities: 'What a run is not allowed to do, it leaves undone.',
  bpffs: 'Program, maps and hosts live in bpffs between two runs; a run must find what the last one left.',
  pins: 'What is pinned learns the hosts. It must be the program and the maps of this version.',
  'last-run': 'Between two runs nothing is written and nothing withdrawn.',
  due: 'What a run would change now shows that the host is not as the configuration wants it.',
  bridge: 'Hosts are learned on the bridges that are there.',
  ports: 'Hosts are heard on attached ports alone.',
  chain: 'A program that runs before ours can end the chain; what it ends is not heard.',
  tunnel: 'FRR makes routes for a VNI, and the VNI of a bridge is that of its VXLAN port.',
  learning: 'MACs behind the tunnel must come from FRR; learned from frames they fight with it.',
  'neigh-suppress': 'With it the bridge answers ARP and ND from its neighbors; without, they are flooded.',
  'bridge-mac':
    'A bridge without a MAC of its own takes one of its ports; when it changes, all neighbors go.',
  ipv6: 'With IPv6 off on the neighbor device the kernel takes no IPv6 neighbors.',
  ageing: 'FRR withdraws the route of a host whose MAC the bridge has forgotten.',
  frr: 'zebra turns neighbors into routes, and bgpd advertises them.',
  'advertise-all-vni': 'Without it bgpd advertises nothing of what zebra knows.',
  peers: 'Routes go to established EVPN peers alone.',
  vni: 'zebra takes neighbors for the VNIs that it knows.',
  'neighbor-device': 'zebra takes the neighbors of a VNI from one device alone: its SVI.',
  table: 'A full table learns no new hosts.',
  ring: 'A dropped record costs the note of a change; the table makes up for it.',
  limits: 'A port at its limit learns no further address.',
  'gc-thresh':
    'Above gc_thresh1 this kernel collects neighbors that are not sent again, above gc_thresh3 it refuses new ones.',
  frozen: 'An address claimed by turns has no neighbor until its hold time is over (RFC 9161, section 3.7).',
  hosts: 'A host without a neighbor has no MAC/IP route.',
  advertised: 'A neighbor is there for its route.',
} as const;

export type CheckId = keyof typeof WHY;
export type CheckStatus = 'ok' | 'warning' | 'failure';

/** One thing that was looked at. */
export interface Check {
  readonly id: CheckId;
  readonly status: CheckStatus;
  /** The bridge, port, device or VNI that it is about; null: the host as a whole. */
  readonly subject: string | null;
  readonly found: string;
  readonly why: string;
  /** What mends it, a command where there is one; null when nothing is wrong. */
  readonly remedy: string | null;
  /** What exactly is concerned, where that can be many: ports, addresses. */
  readonly items: readonly string[];
}

export function ok(id: CheckId, subject: string | null, found: string): Check {
  return { id, status: 'ok', subject, found, why: WHY[id], remedy: null, items: [] };
}

/** A check that found something. */
export interface Complaint {
  readonly subject: string | null;
  readonly found: string;
  readonly remedy: string;
  readonly items?: readonly string[];
}

export function warning(id: CheckId, complaint: Complaint): Check {
  return { id, status: 'warning', why: WHY[id], items: [], ...complaint };
}

export function failure(id: CheckId, complaint: Complaint): Check {
  return { id, status: 'failure', why: WHY[id], items: [], ...complaint };
}

/** The first few of many, as text. */
export function some(items: readonly string[], most = 5): string {
  const more = items.length - most;
  return more > 0 ? `${items.slice(0, most).join(', ')} and ${more} more` : items.join(', ');
}

/** The message of a problem as what was found and what mends it: it ends with its remedy. */
export function splitRemedy(message: string): { readonly found: string; readonly remedy: string } {
  const [found = '', ...remedy] = message.split('; ');
  return { found, remedy: remedy.join('; ') || 'snoopy reconcile --verbose' };
}

/** All that doctor looks at. */
export interface Findings {
  readonly desired: Desired;
  readonly topology: Topology;
  readonly observed: Observed;
  readonly hosts: ObservedHosts;
  readonly plan: HostPlan;
  /** Steps that a run would take now. */
  readonly due: readonly Action[];
  readonly counters: Counters & { readonly ringDropped: number };
  readonly host: HostFacts;
  readonly devices: ReadonlyMap<IfIndex, DeviceFacts>;
  /** Programs and filters that run before ours, by port. */
  readonly rivals: ReadonlyMap<IfIndex, readonly Rival[]>;
  readonly frr: FrrAnswer;
}

export interface HostFacts {
  /** Release, such as 6.12.48. */
  readonly kernel: string;
  /** Version of libbpf, such as 1.1. */
  readonly libbpf: string;
  /** Why a trial load failed; null when it did not, or the program is loaded already. */
  readonly loadFailure: string | null;
  /** Of the capabilities that not every run needs, those that are missing. */
  readonly missingCapabilities: readonly string[];
  /** False when the first process of the system sees another file system at that path. */
  readonly bpffsShared: boolean;
  /** Since the last run that succeeded; null: none did, or not with these pins. */
  readonly lastSuccessAgeMs: number | null;
  /** net.ipv4.neigh.default and net.ipv6.neigh.default; null where they cannot be read (other network namespaces). */
  readonly gcThresholds: { readonly ipv4: GcThresholds; readonly ipv6: GcThresholds } | null;
}

/** gc_thresh1 to gc_thresh3 of one family. */
export type GcThresholds = readonly [number, number, number];

/** What netlink does not say of a bridge or of a neighbor device. */
export interface DeviceFacts {
  readonly disableIpv6: boolean;
  /** True when its MAC was set by hand (NET_ADDR_SET); null when that cannot be told. */
  readonly macPinned: boolean | null;
}

/** Something that sees a frame before our program does, on the same port. */
export interface Rival {
  readonly kind: 'filter' | 'tcx';
  /** For people: `filter flower pref 1`, `TCX program 17`. */
  readonly name: string;
}

/** What FRR says. */
export type FrrAnswer =
  /** No vtysh here. */
  | { readonly kind: 'absent' }
  /** vtysh is there and a daemon does not answer. */
  | { readonly kind: 'silent'; readonly message: string }
  | { readonly kind: 'answered'; readonly frr: Frr };

export interface Frr {
  /** L2 VNIs that zebra knows. */
  readonly vnis: readonly FrrVni[];
  /** VNIs of VRFs: hosts are not their business. */
  readonly l3Vnis: ReadonlySet<number>;
  /** zebra's neighbors, by VNI and address. */
  readonly neighbors: ReadonlyMap<number, ReadonlyMap<IpAddress, FrrNeighbor>>;
  readonly advertiseAllVni: boolean;
  readonly peers: readonly { readonly name: string; readonly state: string }[];
}

export interface FrrVni {
  readonly vni: number;
  /** The device whose neighbors it takes; null: none. */
  readonly svi: string | null;
}

export interface FrrNeighbor {
  readonly mac: Mac;
  readonly isLocal: boolean;
  /** False: `local inactive`, so not advertised. */
  readonly isActive: boolean;
  /** FRR's own duplicate address detection has it. */
  readonly isDuplicate: boolean;
}

/** What FRR knows of one address. */
export interface FrrHost {
  readonly neighbor: FrrNeighbor | null;
  /** The node that zebra has it from: its tunnel address; null for a host of this node. */
  readonly tunnelEnd: string | null;
  /** The best path of its MAC/IP route in bgpd; null: there is none. */
  readonly route: {
    /** True when it is this node's own. */
    readonly isLocal: boolean;
    /** Tunnel address of the node that advertises it. */
    readonly nextHop: string | null;
    /** Whom this node advertises it to. */
    readonly peers: readonly string[];
  } | null;
}
