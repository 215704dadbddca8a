// Asks zebra for the neighbors that earlier runs have written, and writes anew what it lacks.

import { type Problem, problemOf } from '../base/errors.ts';
import type { FrrAnswer } from '../core/frr.ts';
import { NOTHING_VERIFIED, type Verification } from '../core/report.ts';
import type { Warning } from '../core/warning.ts';
import {
  missingIn,
  type Relevant,
  relevantTo,
  verificationInterval,
  type Written,
  writesOf,
} from '../core/zebra.ts';
import { sleep } from '../ffi/libc.ts';
import { isInZebra, queryZebra } from '../host/frr.ts';
import { renewNeighbors } from '../host/neighbor-table.ts';
import { lastTime, noteTime, type TimedEvent } from '../host/pin-directory.ts';
import type { NetlinkSocket } from '../netlink/socket.ts';
import { type Run, scopeOf } from './run.ts';

/** How long zebra has for messages that it may not have read yet, before an entry that it lacks counts as lost. */
const BACKLOG_MS = 1_000;
/** The time to the next verification, from one that zebra did not answer in time, or after which it still lacked something. */
const AGAIN_MS = 10_000;
/** For what this pass has written. */
const NEXT_MS = 2_000;
/** How many at once: zebra's netlink socket may be what was too small. */
const AT_ONCE = 256;
/** For how long a run goes on with that; a listening run at most until it ends. Thousands of neighbors take some seconds. */
const RENEWAL_MS = 20_000;
/** The time that a verification needs before a listening run ends: two pauses, a part of a renewal, and some calls of vtysh. */
const ROOM_MS = 3_000;
/** Between two questions whether zebra has read them. */
const PAUSE_MS = 20;

export interface Verified {
  readonly report: Verification;
  readonly warnings: readonly Warning[];
  /** Times that could not be stored: later runs verify too often or too late. */
  readonly errors: readonly Problem[];
  /** Time until the next verification is due. */
  readonly dueInMs: number;
}

/**
 * Does nothing for a check, or where `frr.verify` is never. A run with `--bridge` does not see all neighbors: it leaves the
 * verification to the next one without. `earlier`: what earlier passes have written; null: this pass does not verify.
 * `written`: how many neighbors this pass has written. A failure of the verification is in the result.
 */
export function verifyZebra(run: Run, earlier: readonly Written[] | null, written: number): Verified {
  const { session, configuration, options, environment } = run;
  const none = { ...NOTHING, dueInMs: Number.POSITIVE_INFINITY };
  if (options.check || configuration.verify === 'never') return none;
  const { directory } = session.pins;
  const writes = writesOf(written);
  if ((earlier === null || earlier.length === 0) && writes === 'none') return none;
  const { whole } = scopeOf(run);
  const result = whole && earlier !== null ? verifyWhenDue(run, earlier) : NOTHING;
  // What this pass has written is for the next one: its time is later than that of this verification.
  const unstored = writes === 'none' ? [] : noteTime(directory, writes, environment.wallClock());
  return {
    ...result,
    errors: [...result.errors, ...unstored],
    dueInMs: whole ? Math.max(NEXT_MS, dueIn(directory, environment.wallClock())) : none.dueInMs,
  };
}

const NOTHING = { report: NOTHING_VERIFIED, warnings: [], errors: [] };

/** In how many milliseconds a verification is due; 0 or less: now. */
function dueIn(directory: string, nowMs: number): number {
  const since = (event: TimedEvent): number => {
    const sinceMs = nowMs - (lastTime(directory, event) ?? Number.NEGATIVE_INFINITY);
    // A time in the future is ignored: the clock was wrong then, or is wrong now.
    return sinceMs < 0 ? Number.POSITIVE_INFINITY : sinceMs;
  };
  const sinceMs = since('verified');
  const writes = since('burst') <= sinceMs ? 'burst' : since('few') <= sinceMs ? 'few' : 'none';
  return Math.max(verificationInterval(writes) - sinceMs, AGAIN_MS - since('unfinished'));
}

function verifyWhenDue(
  { session: { netlink, pins }, environment: { now, wallClock }, stopwatch, untilMs }: Run,
  written: readonly Written[],
): Omit<Verified, 'dueInMs'> {
  if (written.length === 0 || dueIn(pins.directory, wallClock()) > 0) return NOTHING;
  // Otherwise a listening run would outlast its time, and the next run waits for its lock.
  if (now() + ROOM_MS > untilMs) return NOTHING;
  stopwatch.enter('frr');
  let result: Result;
  try {
    result = verify(netlink, written, now, untilMs);
  } catch (thrown) {
    const errors = [problemOf(thrown, 'zebra'), ...noteTime(pins.directory, 'unfinished', wallClock())];
    return { ...NOTHING, errors };
  }
  // After the renewal: what it has written is not to be verified as new.
  const errors = noteTime(pins.directory, result.isUnfinished ? 'unfinished' : 'verified', wallClock());
  const warnings: Warning[] =
    result.lateness === null ? [] : [{ kind: 'unverified', message: result.lateness }];
  return { report: result.report, warnings, errors };
}

interface Result {
  readonly report: Verification;
  /** True when a verification soon may do more. */
  readonly isUnfinished: boolean;
  /** What zebra did not answer in time; null when it did. */
  readonly lateness: string | null;
}

function verify(
  netlink: NetlinkSocket,
  written: readonly Written[],
  now: () => number,
  untilMs: number,
): Result {
  const first = queryZebra();
  if (first.kind !== 'answered') return unanswered(first);
  const relevant = relevantTo(first.frr, written);
  const verified = relevant.length;
  const suspects = missingIn(first.frr, relevant);
  if (suspects.length === 0) return finished({ verified, missing: 0, renewed: 0 });
  sleep(BACKLOG_MS);
  const second = queryZebra();
  if (second.kind !== 'answered') return unanswered(second);
  const missing = missingIn(second.frr, suspects);
  if (missing.length === 0) return finished({ verified, missing: 0, renewed: 0 });
  const { renewed, isWhole } = renew(
    netlink,
    missing,
    now,
    Math.min(now() + RENEWAL_MS, untilMs - ROOM_MS / 2),
  );
  const report = { verified, missing: missing.length, renewed };
  sleep(BACKLOG_MS);
  const third = queryZebra();
  if (third.kind !== 'answered') return { ...unanswered(third), report };
  // Some were lost again, or were too many for one run. Those that zebra never takes are left to the next regular time.
  const left = missingIn(third.frr, missing).length;
  return { ...finished(report), isUnfinished: left > 0 && (left < missing.length || !isWhole) };
}

function finished(report: Verification): Result {
  return { report, isUnfinished: false, lateness: null };
}

/** Where there is no FRR, or none that answers at all, there is nothing to verify: `doctor` reports that. */
function unanswered(answer: Exclude<FrrAnswer, { readonly kind: 'answered' }>): Result {
  const lateness = answer.kind === 'silent' && answer.isLate ? answer.message : null;
  return { report: NOTHING_VERIFIED, isUnfinished: lateness !== null, lateness };
}

/** How many neighbors were written, and whether that was all of them. */
interface Renewal {
  readonly renewed: number;
  readonly isWhole: boolean;
}

/** Writes them in parts, and waits for zebra after each. */
function renew(
  netlink: NetlinkSocket,
  missing: readonly Relevant[],
  now: () => number,
  deadlineMs: number,
): Renewal {
  let renewed = 0;
  let keepsUp = true;
  let from = 0;
  for (; from < missing.length && now() < deadlineMs; from += AT_ONCE) {
    const part = missing.slice(from, from + AT_ONCE);
    renewed += renewNeighbors(
      netlink,
      part.map(({ entry }) => entry),
    );
    // zebra reads in order: it has all of a part when it has the last. One that it never takes is waited for once.
    keepsUp &&= waitFor(part.at(-1), now);
    if (!keepsUp) sleep(PAUSE_MS);
  }
  return { renewed, isWhole: from >= missing.length };
}

/** False when zebra does not have it in time. */
function waitFor(last: Relevant | undefined, now: () => number): boolean {
  if (last === undefined) return true;
  const deadlineMs = now() + BACKLOG_MS;
  while (now() < deadlineMs) {
    if (isInZebra(last.vni, last.entry)) return true;
    sleep(PAUSE_MS);
  }
  return false;
}
