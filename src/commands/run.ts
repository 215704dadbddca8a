// What the passes of a reconcile run share, and what one pass returns.

import type { IpAddress } from '../base/address.ts';
import type { Problem } from '../base/errors.ts';
import type { Stopwatch } from '../base/stopwatch.ts';
import type { ActionSummary } from '../core/actions.ts';
import type { Configuration } from '../core/desired.ts';
import type { Scope } from '../core/plan.ts';
import type {
  BridgeReport,
  Confirms,
  Counters,
  HintsReport,
  NeighborChangeReport,
  Phase,
  Step,
  Verification,
} from '../core/report.ts';
import type { Warning } from '../core/warning.ts';
import type { Watchlist } from '../core/watchlist.ts';
import type { StrayScope } from '../host/observe.ts';
import type { Session } from '../host/session.ts';
import type { ChangeOptions, Environment } from './environment.ts';
import type { Machine, Survey } from './retrieve.ts';

export interface ReconcileOptions extends ChangeOptions {
  /** How long to continue after the first pass; 0: not at all. */
  readonly listenMs: number;
  /** Only these bridges; empty: all that are configured. */
  readonly bridges: readonly string[];
  /** Duplicate addresses to unfreeze (RFC 9161, section 3.7). */
  readonly unfreeze: readonly IpAddress[];
}

export interface Run {
  readonly session: Session;
  readonly configuration: Configuration;
  readonly options: ReconcileOptions;
  readonly environment: Environment;
  readonly stopwatch: Stopwatch<Phase>;
  /** When a listening run ends: CLOCK_MONOTONIC in milliseconds; Infinity for one pass. */
  readonly untilMs: number;
  /** Where to look for programs of ours whose pins are out of sight: nowhere in later passes of a listening run. */
  readonly strays: StrayScope;
}

/** A run with `--bridge` does not change anything of other bridges. */
export function scopeOf({ options }: Run): Scope {
  return { whole: options.bridges.length === 0 };
}

/** What one pass over the host did and found. */
export interface Pass {
  readonly steps: readonly Step[];
  readonly changes: readonly NeighborChangeReport[];
  readonly total: number;
  readonly records: number;
  readonly probes: number;
  readonly announcements: number;
  readonly confirms: Confirms;
  readonly hints: HintsReport;
  readonly frr: Verification;
  readonly dropped: number;
  readonly counters: Counters;
  readonly bridges: readonly BridgeReport[];
  /** The machine and its hosts as the pass found them; undefined when it has changed any of it, or has not looked. */
  readonly survey: Survey | undefined;
  readonly remaining: readonly ActionSummary[];
  readonly warnings: readonly Warning[];
  readonly errors: readonly Problem[];
  /** The machine as the pass left it; undefined when steps are left. */
  readonly machine: Machine | undefined;
  /** What to wait for after the pass. A function, because only a listening run needs it. `before`: of the pass before. */
  readonly next: (before: Watchlist | null) => Next;
}

/** What is reported of passes: without what only the next one needs, which is large. */
export type PassResult = Omit<Pass, 'machine' | 'next'>;

/** What a narrow pass did for the ports and addresses that it looked at; the rest is as the pass before has found it. */
export type NarrowPass = Omit<Pass, 'total' | 'bridges' | 'counters' | 'survey'>;

/** What makes the next pass due. */
export interface Next {
  /** By which events addresses are concerned, and when they are due. */
  readonly watchlist: Watchlist;
  /** When a pass over all hosts is due: CLOCK_MONOTONIC in milliseconds. */
  readonly wholeMs: number;
  /** When zebra is to be asked again, likewise. */
  readonly verifyMs: number;
}

/** Most addresses that a narrow pass looks at: more of them are read faster all together. */
export const MOST_NAMED = 1000;
/** Time from a failed pass to the next one. */
export const RETRY_MS = 1000;
