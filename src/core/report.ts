// The report of a run. render/json.ts makes the JSON of it (contract: keys may be added, none of these may change).

import type { IpAddress, Mac } from '../base/address.ts';
import { EXIT, formatProblem, type Problem } from '../base/errors.ts';
import type { LoadReason } from '../datapath/pins.ts';
import type { HintKind } from '../datapath/records/hint-kind.ts';
import type { ActionSummary } from './actions.ts';
import type { FabricReport } from './fabric-report.ts';
import type { Warning } from './warning.ts';

/** The outcome of a step or of a neighbor change. */
export type Outcome =
  | { readonly kind: 'planned' }
  | { readonly kind: 'applied' }
  | { readonly kind: 'skipped'; readonly because: string }
  | { readonly kind: 'failed'; readonly code: string; readonly message: string };

/** Shared by all successes, which need no further data. */
export const PLANNED: Outcome = { kind: 'planned' };
export const APPLIED: Outcome = { kind: 'applied' };

export function failedBy(problem: Problem): Outcome {
  return { kind: 'failed', code: problem.code, message: formatProblem(problem) };
}

export interface Step {
  readonly action: ActionSummary;
  readonly outcome: Outcome;
}

/** An entry of the neighbor table in the words of iproute2. */
export interface NeighborEntry {
  readonly mac: Mac | null;
  /** Such as `noarp`, `stale`. */
  readonly state: string;
  /** NDA_PROTOCOL: 0 the kernel, 11 zebra. */
  readonly protocol: number;
  /** Such as `router`, `extern_learn`. */
  readonly flags: readonly string[];
}

/** One change of the neighbor table, as reported. */
export interface NeighborChangeReport {
  readonly kind: 'add' | 'replace' | 'remove';
  readonly device: string;
  readonly bridge: string;
  readonly vlan: number;
  readonly ip: IpAddress;
  /** The MAC after the change; for `remove` that of the removed entry. */
  readonly mac: Mac | null;
  readonly port: string | null;
  /** The entry before, of any owner; null when there was none. */
  readonly before: NeighborEntry | null;
  /** The entry as written; null for `remove`. */
  readonly after: NeighborEntry | null;
  /** Why, in a few words. */
  readonly because: string;
  readonly outcome: Outcome;
}

export interface BridgeReport {
  readonly name: string;
  readonly present: boolean;
  /** The ports that are learned from. */
  readonly ports: readonly string[];
  readonly bindings: number;
  /** Number of our own neighbors. */
  readonly neighbors: number;
}

export interface Counters {
  readonly sightings: number;
  readonly ignored: number;
  /** Messages that only suggest that a host is here. */
  readonly hints: number;
  readonly created: number;
  readonly moved: number;
  readonly duplicates: number;
  readonly rejected: Readonly<Record<string, number>>;
}

/** Owner checks (RFC 9161, section 3.7b). */
export interface Confirms {
  readonly sent: number;
  readonly answered: number;
}

export const NO_CONFIRMS: Confirms = { sent: 0, answered: 0 };

/** Hints: hosts that were probed because something suggested that they are here. */
export interface HintsReport {
  readonly probed: number;
  /** Hints whose hosts have their addresses now. */
  readonly learned: number;
}

export const NO_HINTS: HintsReport = { probed: 0, learned: 0 };

/** What zebra has of the neighbors that earlier runs have written. */
export interface Verification {
  /** Neighbors that were looked up in zebra; 0 when it was not queried. */
  readonly verified: number;
  /** Those that zebra did not have, and those of them that were written anew. */
  readonly missing: number;
  readonly renewed: number;
}

export const NOTHING_VERIFIED: Verification = { verified: 0, missing: 0, renewed: 0 };

/** The phases of a run. */
export const PHASES = [
  /** Reading the configuration. */
  'config',
  /** Opening sockets and pins, and waiting for another run. */
  'lock',
  'observe',
  'plan',
  'apply',
  /** Observing and planning again, to find what is still due. */
  'verify',
  /** Reading what the program saw, the FDB and the neighbor table. */
  'drain',
  'decide',
  /** Sending probes. */
  'probe',
  /** Waiting for answers to probes, and deciding again. */
  'confirm',
  /** Neighbors, and bindings that have ended. */
  'write',
  /** Verifying that zebra has what was written. */
  'frr',
  /** Waiting for something to do, with `--listen`. */
  'listen',
  /** Counting for the textfile. */
  'metrics',
] as const;

export type Phase = (typeof PHASES)[number];

export type Durations = Readonly<Record<Phase, number>>;

export interface ReconcileReport {
  readonly version: 1;
  readonly ok: boolean;
  readonly changed: boolean;
  readonly check: boolean;
  readonly steps: readonly Step[];
  readonly neighbors: {
    readonly changed: boolean;
    readonly total: number;
    readonly changes: readonly NeighborChangeReport[];
  };
  readonly ring: { readonly records: number; readonly dropped: number };
  readonly counters: Counters;
  /** Bound hosts that were probed because they were silent (RFC 9161, section 3.5). */
  readonly probes: { readonly sent: number };
  /** Addresses that moved to another MAC at another node, and were announced to the hosts here. */
  readonly announcements: { readonly sent: number };
  /** Owner checks: owners that were probed because another MAC claimed their address. */
  readonly confirms: Confirms;
  readonly hints: HintsReport;
  readonly frr: Verification;
  readonly bridges: readonly BridgeReport[];
  /** Seconds by phase. */
  readonly durations: Durations;
  /** Actions that are still due after the run. */
  readonly remaining: readonly ActionSummary[];
  readonly warnings: readonly Warning[];
  readonly errors: readonly Problem[];
}

/** What the textfile shows of a run. If an error ended the run, only that error and its times are known. */
export type RunReport = Pick<ReconcileReport, 'ok' | 'errors' | 'durations'> & Partial<ReconcileReport>;

/** The report of `remove`: the same keys, as far as they apply. */
export type RemoveReport = Pick<
  ReconcileReport,
  'version' | 'ok' | 'changed' | 'check' | 'steps' | 'neighbors' | 'remaining' | 'errors'
>;

export type BindingState = 'installed' | 'waiting' | 'remote' | 'frozen' | 'homeless';

export interface BindingReport {
  readonly bridge: string;
  /** The neighbor device; null when there is none for this VLAN. */
  readonly device: string | null;
  readonly vlan: number;
  readonly ip: IpAddress;
  readonly mac: Mac;
  /** Null when the port no longer exists. */
  readonly port: string | null;
  readonly source: 'learned' | 'static';
  readonly state: BindingState;
  /** Seconds since the host was last seen; null for a static entry that was not seen. */
  readonly age: number | null;
  /** Why it is not installed, in a few words; empty when it is. */
  readonly because: string;
  /** Whether zebra has it as a local host and passes it to bgpd; null when FRR was not queried or does not answer. */
  readonly advertised: boolean | null;
  /** Why an installed neighbor is not advertised, in a few words; else empty. */
  readonly hindrance: string;
  /** The state of the entry of its address in the kernel, such as `noarp` or `stale`; null when there is none. */
  readonly neighbor: string | null;
}

/** Whether FRR was queried, and whether it answered. */
export interface FrrReport {
  /** `absent`: there is no vtysh; `silent`: a daemon does not answer. */
  readonly state: 'unasked' | 'absent' | 'silent' | 'answered';
  /** For `silent` the message of vtysh; else empty. */
  readonly message: string;
}

export interface PortReport {
  readonly name: string;
  readonly bridge: string;
  readonly attached: boolean;
  readonly bindings: number;
  readonly limit: number;
  /** Sightings rejected because of the limits of this port: in all, and since the last run. */
  readonly limited: number;
  readonly limitedSince: number;
}

export interface StatusReport {
  readonly version: 1;
  readonly ok: boolean;
  /** False when nothing is pinned: snoopy has not run here yet, or its pins were lost. */
  readonly loaded: boolean;
  /** Why the next run loads the program; null when the pinned program and maps are current. */
  readonly reason: LoadReason | null;
  readonly bridges: readonly BridgeReport[];
  readonly ports: readonly PortReport[];
  readonly bindings: readonly BindingReport[];
  /** How many hints of each kind there are. */
  readonly hints: Readonly<Record<HintKind, number>>;
  readonly frr: FrrReport;
  readonly ring: { readonly pending: boolean; readonly dropped: number };
  readonly counters: Counters;
  /** Only with --all. */
  readonly fabric?: FabricReport;
  readonly errors: readonly Problem[];
}

/** What `init --format json` prints. */
export interface InitReport {
  readonly version: 1;
  readonly ok: true;
  /** The path of the configuration. */
  readonly file: string;
  readonly written: boolean;
  /** The bridges of this node with a tunnel port. */
  readonly bridges: readonly string[];
  /** The text of the configuration. */
  readonly configuration: string;
  readonly errors: readonly [];
}

/** How many of our own neighbors on the neighbor devices of a bridge are in one state. */
export interface NeighborCount {
  readonly bridge: string;
  /** Such as `noarp`, `stale`. */
  readonly state: string;
  readonly count: number;
}

/** Exit code of `reconcile` or `remove` (contract). Another run does not fix what the kernel lacks. */
export function exitCode(
  report: Pick<ReconcileReport, 'ok' | 'changed' | 'neighbors' | 'steps'>,
  detailed: boolean,
): number {
  const lacksSomething = report.steps.some(
    ({ outcome }) => outcome.kind === 'failed' && outcome.code === 'unsupported',
  );
  if (!report.ok) return lacksSomething ? EXIT.unsupported : EXIT.failed;
  return detailed && (report.changed || report.neighbors.changed) ? EXIT.changed : EXIT.ok;
}
