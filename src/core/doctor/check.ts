// The input of doctor and its checks: each is about one thing that can keep a route from being advertised.

import type { IfIndex } from '../../base/address.ts';
import { formatCause, type Problem } from '../../base/errors.ts';
import type { Rejection } from '../../datapath/records/rejection.ts';
import type { VlanOptions } from '../../netlink/vlan-options.ts';
import type { Action } from '../actions.ts';
import type { Configuration, Desired } from '../desired.ts';
import type { FrrAnswer } from '../frr.ts';
import type { HostPlan } from '../neighbors/plan.ts';
import type { Observed, ObservedHosts } from '../observed.ts';
import type { Counters } from '../report.ts';
import type { Topology } from '../topology.ts';
import { type CheckId, WHY } from './wording.ts';

export type CheckStatus = 'ok' | 'warning' | 'failure';

/** The result of one check. */
export interface Check {
  readonly id: CheckId;
  readonly status: CheckStatus;
  /** The bridge, port, device or VNI that it is about; null: the node as a whole. */
  readonly subject: string | null;
  readonly found: string;
  readonly why: string;
  /** The fix, if possible a command; null when nothing is wrong. */
  readonly remedy: string | null;
  /** The ports or addresses that it is about, for a check that can be about many; of silent MACs the first ones. */
  readonly items: readonly string[];
}

export function ok(id: CheckId, subject: string | null, found: string): Check {
  return { id, status: 'ok', subject, found, why: WHY[id], remedy: null, items: [] };
}

/** What a failed check reports. */
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

/** A problem in the form of a check. */
export function wordsOf(problem: Problem): { readonly found: string; readonly remedy: string } {
  return { found: formatCause(problem), remedy: problem.fix };
}

/** The input of all checks. */
export interface Findings {
  readonly configuration: Configuration;
  readonly desired: Desired;
  readonly topology: Topology;
  readonly observed: Observed;
  readonly hosts: ObservedHosts;
  readonly plan: HostPlan;
  /** Steps that a run would take now. */
  readonly due: readonly Action[];
  readonly counters: Counters & { readonly ringDropped: number };
  /** The last rejected message about each address. */
  readonly rejections: readonly Rejection[];
  readonly host: HostFacts;
  readonly devices: ReadonlyMap<IfIndex, DeviceFacts>;
  /** The options of the VLANs of tunnel ports on which each VLAN has its own setting for suppression. */
  readonly vlanOptions: ReadonlyMap<IfIndex, readonly VlanOptions[]>;
  /** Programs and filters that run before ours, by port. */
  readonly rivals: ReadonlyMap<IfIndex, readonly Rival[]>;
  readonly frr: FrrAnswer;
  /** Null: there is a configuration. */
  readonly unconfigured: Unconfigured | null;
}

/** A configuration is missing, and another that fits the node was checked in its place. */
export interface Unconfigured {
  /** Where the configuration was expected. */
  readonly path: string;
  /** Version of Node.js, such as 20.19.2. */
  readonly node: string;
}

export interface HostFacts {
  /** Release, such as 6.12.48. */
  readonly kernel: string;
  /** Version of libbpf, such as 1.1. */
  readonly libbpf: string;
  /** Why a trial load failed; null when it succeeded, or when the program is already loaded. */
  readonly loadFailure: Problem | null;
  /** Missing capabilities among those that not every run needs. */
  readonly missingCapabilities: readonly string[];
  /** False when the first process of the system sees another file system at that path. */
  readonly bpffsShared: boolean;
  /** False: what is mounted here is not seen by process 1, and may end with this program. */
  readonly sharesMounts: boolean;
  /** False when the directory for bpffs does not exist. */
  readonly hasMountPoint: boolean;
  /** Time since the last successful run; null when no run succeeded with these pins. */
  readonly lastSuccessAgeMs: number | null;
  /** net.ipv4.neigh.default and net.ipv6.neigh.default; null when they cannot be read (other network namespaces). */
  readonly gcThresholds: { readonly ipv4: GcThresholds; readonly ipv6: GcThresholds } | null;
}

/** gc_thresh1 to gc_thresh3 of one family. */
export type GcThresholds = readonly [number, number, number];

/** Facts about a bridge or neighbor device that netlink does not have. */
export interface DeviceFacts {
  readonly disableIpv6: boolean;
  /** True when its MAC was set explicitly (NET_ADDR_SET); null when that is unknown. */
  readonly macPinned: boolean | null;
}

/** Something that sees a frame before our program does, on the same port. */
export interface Rival {
  readonly kind: 'filter' | 'tcx';
  /** For display: `filter flower pref 1`, `TCX program 17`. */
  readonly name: string;
}
