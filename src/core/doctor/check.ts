// What doctor looks at, and what a check is: one line for each thing that can keep a route from being advertised.

import type { IfIndex } from '../../base/address.ts';
import { formatCause, type Problem } from '../../base/errors.ts';
import type { Action } from '../actions.ts';
import type { Desired } from '../desired.ts';
import type { FrrAnswer } from '../frr.ts';
import type { HostPlan } from '../neighbors/plan.ts';
import type { Observed, ObservedHosts } from '../observed.ts';
import type { Counters } from '../report.ts';
import type { Topology } from '../topology.ts';
import { type CheckId, WHY } from './wording.ts';

export type CheckStatus = 'ok' | 'warning' | 'failure';

/** One thing that was looked at. */
export interface Check {
  readonly id: CheckId;
  readonly status: CheckStatus;
  /** The bridge, port, device or VNI that it is about; null: the host as a whole. */
  readonly subject: string | null;
  readonly found: string;
  readonly why: string;
  /** What fixes it, a command where there is one; null when nothing is wrong. */
  readonly remedy: string | null;
  /** What exactly it is about, where that can be many: ports, addresses. */
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

/** A problem as a check shows it. */
export function wordsOf(problem: Problem): { readonly found: string; readonly remedy: string } {
  return { found: formatCause(problem), remedy: problem.fix };
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
  readonly loadFailure: Problem | null;
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
