// Asks zebra for the neighbors that earlier runs have written, and writes anew what it lacks.

import type { Decision } from '../core/neighbors/decide.ts';
import { NOTHING_VERIFIED, type Verification } from '../core/report.ts';
import type { Warning } from '../core/warning.ts';
import {
  missingIn,
  type Relevant,
  relevantTo,
  verificationInterval,
  type Written,
  writesOf,
  writtenEarlier,
} from '../core/zebra.ts';
import { sleep } from '../ffi/libc.ts';
import { isInZebra, queryZebra } from '../host/frr.ts';
import { renewNeighbors } from '../host/neighbor-table.ts';
import { lastTime, noteTime, type TimedEvent } from '../host/pin-directory.ts';
import type { NetlinkSocket } from '../netlink/socket.ts';
import type { Run } from './run.ts';

/** How long zebra has for messages that it may not have read yet, before an entry that it lacks counts as lost. */
const BACKLOG_MS = 1_000;
/** When a zebra that did not answer in time is asked again. */
const AGAIN_MS = 2_000;
/** Most neighbors that one run writes anew. */
const MOST = 8_192;
/** How many at once: zebra's netlink socket may be what was too small. */
const AT_ONCE = 256;
/** Between two questions whether zebra has read them. */
const PAUSE_MS = 20;

export interface Verified {
  readonly report: Verification;
  readonly warnings: readonly Warning[];
  /** Time until the next verification is due. */
  readonly dueInMs: number;
}

/** Does nothing for a check, or where `frr.verify` is never. `written`: how many neighbors this pass has written. */
export function verifyZebra(run: Run, decisions: readonly Decision[], written: number): Verified {
  const { session, configuration, options, environment } = run;
  if (options.check || configuration.verify === 'never')
    return { ...NOTHING, dueInMs: Number.POSITIVE_INFINITY };
  const { directory } = session.pins;
  const result = verifyWhenDue(run, writtenEarlier(decisions, session.runtime.neighborProtocol));
  // What this pass has written is for the next one: its time is later than that of this verification.
  const writes = writesOf(written);
  if (writes !== 'none') noteTime(directory, writes, environment.wallClock());
  return { ...result, dueInMs: Math.max(AGAIN_MS, dueIn(directory, environment.wallClock())) };
}

const NOTHING = { report: NOTHING_VERIFIED, warnings: [] };

/** In how many milliseconds a verification is due; 0 or less: now. */
function dueIn(directory: string, nowMs: number): number {
  const since = (event: TimedEvent): number =>
    nowMs - (lastTime(directory, event) ?? Number.NEGATIVE_INFINITY);
  const sinceMs = since('verified');
  const writes = since('burst') <= sinceMs ? 'burst' : since('few') <= sinceMs ? 'few' : 'none';
  return Math.max(verificationInterval(writes) - sinceMs, AGAIN_MS - since('asked'));
}

function verifyWhenDue(
  { session: { netlink, pins }, environment: { now, wallClock }, stopwatch }: Run,
  written: readonly Written[],
): Omit<Verified, 'dueInMs'> {
  if (written.length === 0 || dueIn(pins.directory, wallClock()) > 0) return NOTHING;
  stopwatch.enter('frr');
  const result = verify(netlink, written, now);
  noteTime(pins.directory, 'asked', wallClock());
  if (result.kind === 'late')
    return { ...NOTHING, warnings: [{ kind: 'unverified', message: result.message }] };
  // After the renewal, so that what zebra does not take is not written anew in each run.
  noteTime(pins.directory, 'verified', wallClock());
  return { ...NOTHING, report: result.report };
}

type Result =
  | { readonly kind: 'done'; readonly report: Verification }
  | { readonly kind: 'late'; readonly message: string };

function verify(netlink: NetlinkSocket, written: readonly Written[], now: () => number): Result {
  const first = queryZebra();
  if (first.kind !== 'answered') return unanswered(first);
  const relevant = relevantTo(first.frr, written);
  const verified = relevant.length;
  const suspects = missingIn(first.frr, relevant);
  if (suspects.length === 0) return { kind: 'done', report: { verified, missing: 0, renewed: 0 } };
  sleep(BACKLOG_MS);
  const second = queryZebra();
  if (second.kind !== 'answered') return unanswered(second);
  const missing = missingIn(second.frr, suspects);
  return {
    kind: 'done',
    report: { verified, missing: missing.length, renewed: renew(netlink, missing, now) },
  };
}

/** Where there is no FRR, or none that answers at all, there is nothing to verify: `doctor` reports that. */
function unanswered(answer: Exclude<ReturnType<typeof queryZebra>, { readonly kind: 'answered' }>): Result {
  return answer.kind === 'silent' && answer.isLate
    ? { kind: 'late', message: answer.message }
    : { kind: 'done', report: NOTHING_VERIFIED };
}

/** Waits for zebra after each part. Returns how many were written. */
function renew(netlink: NetlinkSocket, missing: readonly Relevant[], now: () => number): number {
  let renewed = 0;
  let keepsUp = true;
  for (let from = 0; from < Math.min(missing.length, MOST); from += AT_ONCE) {
    const part = missing.slice(from, Math.min(from + AT_ONCE, MOST));
    renewed += renewNeighbors(
      netlink,
      part.map(({ entry }) => entry),
    );
    // zebra reads in order: it has all of a part when it has the last. One that it never takes is waited for once.
    keepsUp &&= waitFor(part.at(-1), now);
    if (!keepsUp) sleep(PAUSE_MS);
  }
  return renewed;
}

/** False when zebra does not have it in time. */
function waitFor(last: Relevant | undefined, now: () => number): boolean {
  if (last === undefined) return true;
  const deadlineMs = now() + BACKLOG_MS;
  while (now() < deadlineMs) {
    if (isInZebra(last.vni, last.entry.ip)) return true;
    sleep(PAUSE_MS);
  }
  return false;
}
