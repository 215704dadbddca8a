// Action -> Outcome: carries out a plan. A failed action has a `failed` outcome; nothing is thrown.

import type { IfIndex } from '../base/address.ts';
import { type Problem, problemOf, SnoopyError } from '../base/errors.ts';
import type { Users } from '../base/trust.ts';
import { type Action, summarize } from '../core/actions.ts';
import type { Observed } from '../core/observed.ts';
import { APPLIED, failedBy, type Outcome, PLANNED, type Step } from '../core/report.ts';
import { attachTcx, detachStrays, detachTcx } from '../datapath/attachment.ts';
import { load } from '../datapath/load.ts';
import type { Tables } from '../datapath/maps.ts';
import { migrateLateBindings } from '../datapath/migrate.ts';
import {
  clearName,
  type Expected,
  isDirectory,
  openPins,
  type Pins,
  replacedDirectory,
  replacedIds,
  replacedPath,
  stampOf,
} from '../datapath/pins.ts';
import type { Binding } from '../datapath/records/binding.ts';
import { NO_COUNTS } from '../datapath/records/port.ts';
import { unpinAll } from '../datapath/unpin.ts';
import type { NetlinkSocket } from '../netlink/socket.ts';
import {
  attachFilters,
  type Done,
  detachFilters,
  type FilterAction,
  isAttachFilter,
  isDetachFilter,
  isFilterAction,
  PORT_GONE,
} from './filters.ts';
import { noteTime } from './pin-directory.ts';
import { deleteTextfile } from './textfile.ts';

/** What actions are applied to; a load replaces `pins`. */
export interface Target {
  readonly netlink: NetlinkSocket;
  readonly expected: Expected;
  /** Users whose files are trusted. */
  readonly users: Users;
  /** The object to load, read only when it is needed. */
  readonly object: () => Uint8Array;
  pins: Pins;
}

const STILL_NEEDED: Outcome = { kind: 'skipped', because: 'the program is not attached in the other way' };
/** The port keeps its entry, by which the next run knows what to detach. */
const STILL_ATTACHED: Outcome = { kind: 'skipped', because: 'not everything could be detached' };

/** The actions as steps of a report of `--check`. */
export function planned(actions: readonly Action[]): Step[] {
  return actions.map((action) => ({ action: summarize(action), outcome: PLANNED }));
}

/** Further input of applyActions. */
export interface ApplyOptions {
  /** Bindings that a load adds to the pinned ones. */
  readonly recovered: readonly Binding[];
  /** Called with the progress when there are many actions; null when it is not shown. */
  readonly progress: ((line: string) => void) | null;
}

/** Progress is reported when there are at least this many actions, and after each such number. */
const MANY = 50;

/** Applies the actions in order. Filters are attached and detached in netlink batches. */
export function applyActions(
  target: Target,
  actions: readonly Action[],
  { recovered, progress }: ApplyOptions,
): Step[] {
  const steps: Step[] = [];
  /** Ports to which the program could not be attached: an attachment in the other way stays. */
  const unattached = new Set<IfIndex>();
  /** Ports that still have an attachment that was to be removed. */
  const stillAttached = new Set<IfIndex>();
  const whySkipped = (action: Action): Outcome | null => whySkippedBy(action, unattached, stillAttached);
  for (let i = 0; i < actions.length; ) {
    const group = takeGroup(actions, i, whySkipped);
    if (actions.length >= MANY && (i % MANY === 0 || group.length > 1))
      progress?.(describeProgress(i, actions.length, group));
    for (const { action, outcome } of applyGroup(target, group, recovered, whySkipped)) {
      steps.push({ action: summarize(action), outcome });
      if (outcome.kind === 'applied' || outcome === PORT_GONE) continue;
      if (action.kind === 'attach') unattached.add(action.port.ifIndex);
      if (action.kind === 'detach') stillAttached.add(action.port.ifIndex);
    }
    i += group.length;
  }
  return steps;
}

function describeProgress(done: number, total: number, group: readonly Action[]): string {
  const [first] = group;
  const last = done + group.length;
  const steps = group.length === 1 ? `step ${last}` : `steps ${done + 1} to ${last}`;
  return `${steps} of ${total}: ${first?.kind ?? ''}`;
}

/** Why the outcomes of earlier actions forbid an action; null when they do not. */
function whySkippedBy(
  action: Action,
  unattached: ReadonlySet<IfIndex>,
  stillAttached: ReadonlySet<IfIndex>,
): Outcome | null {
  const { kind } = action;
  if (kind === 'detach') return unattached.has(action.port.ifIndex) ? STILL_NEEDED : null;
  if (kind === 'set-port' || kind === 'drop-port')
    return stillAttached.has(action.port.ifIndex) ? STILL_ATTACHED : null;
  return kind === 'unpin' && stillAttached.size > 0 ? STILL_ATTACHED : null;
}

type DetachStray = Extract<Action, { as: 'stray' }>;

function isDetachStray(action: Action): action is DetachStray {
  return action.kind === 'detach' && action.as === 'stray';
}

/** The outcome of an action that must not be taken now; null when it may. */
type WhySkipped = (action: Action) => Outcome | null;

/** The run of allowed actions on filters of one kind, or on strays, from `start` on; else only the action at `start`. */
function takeGroup(actions: readonly Action[], start: number, whySkipped: WhySkipped): Action[] {
  const first = actions[start];
  if (first === undefined) return [];
  const isLike = isDetachStray(first) ? isDetachStray : isFilterAction;
  const isBatched = (action: Action): boolean => isLike(action) && whySkipped(action) === null;
  if (!isBatched(first)) return [first];
  const end = actions.findIndex(
    (action, i) => i > start && (action.kind !== first.kind || !isBatched(action)),
  );
  return actions.slice(start, end < 0 ? actions.length : end);
}

function applyGroup(
  target: Target,
  group: readonly Action[],
  recovered: readonly Binding[],
  whySkipped: WhySkipped,
): Done[] {
  const mayAll = group.every((action) => whySkipped(action) === null);
  if (mayAll && group.every(isFilterAction)) return applyFilters(target, group);
  if (mayAll && group.every(isDetachStray)) return applyStrays(group);
  return group.map((action) => ({ action, outcome: whySkipped(action) ?? apply(target, action, recovered) }));
}

function applyFilters(target: Target, group: readonly FilterAction[]): Done[] {
  try {
    // All of one kind.
    return [
      ...attachFilters(target, group.filter(isAttachFilter)),
      ...detachFilters(target, group.filter(isDetachFilter)),
    ];
  } catch (thrown) {
    return group.map((action) => ({ action, outcome: failed(thrown, 'tc') }));
  }
}

function applyStrays(group: readonly DetachStray[]): Done[] {
  const detach = (): Outcome => {
    try {
      detachStrays(group.map(({ port: { ifIndex }, programId }) => ({ ifIndex, programId })));
      return APPLIED;
    } catch (thrown) {
      return failed(thrown, 'tcx');
    }
  };
  const outcome = detach();
  return group.map((action) => ({ action, outcome }));
}

function failed(thrown: unknown, object: string): Outcome {
  return failedBy(problemOf(thrown, object));
}

function apply(target: Target, action: Action, recovered: readonly Binding[]): Outcome {
  try {
    return applyOne(target, action, recovered);
  } catch (thrown) {
    return failed(thrown, action.kind);
  }
}

/** A new pin has the time of its making, which is no time of a verification. */
function forgetVerification(directory: string): Outcome {
  const [problem] = (['verified', 'unfinished'] as const).flatMap((event) => noteTime(directory, event, 0));
  return problem === undefined ? APPLIED : failedBy(problem);
}

function applyOne(target: Target, action: Action, recovered: readonly Binding[]): Outcome {
  switch (action.kind) {
    case 'mount':
      // Mounted before the lock was taken; only reported here.
      return APPLIED;
    case 'load':
      load(target.object(), target.pins, target.expected, recovered);
      reopenPins(target);
      return forgetVerification(target.pins.directory);
    case 'set-prefix':
      tableOf(target, 'prefixes').set(action.rule, action.rule);
      return APPLIED;
    case 'drop-prefix':
      tableOf(target, 'prefixes').delete(action.rule);
      return APPLIED;
    case 'set-static':
      tableOf(target, 'statics').set(action.rule, action.rule);
      return APPLIED;
    case 'drop-static':
      tableOf(target, 'statics').delete(action.rule);
      return APPLIED;
    case 'set-port':
      // The program's counts for a port start at zero; existing ones are kept.
      tableOf(target, 'state').set(action.port.ifIndex, NO_COUNTS, 'new');
      tableOf(target, 'ports').set(action.port.ifIndex, action.policy);
      return APPLIED;
    case 'drop-port':
      tableOf(target, 'ports').delete(action.port.ifIndex);
      tableOf(target, 'state').delete(action.port.ifIndex);
      return APPLIED;
    case 'attach':
      attachTcx(target.pins.directory, programFd(target), action.port.ifIndex);
      return APPLIED;
    case 'detach':
      if (action.as === 'stray')
        detachStrays([{ ifIndex: action.port.ifIndex, programId: action.programId }]);
      else detachTcx(target.pins.directory, action.port.ifIndex);
      return APPLIED;
    case 'unpin':
      target.pins.close();
      unpinAll(action.path);
      return APPLIED;
    case 'drop-textfile':
      deleteTextfile(action.path, target.users);
      return APPLIED;
    default:
      return action satisfies never;
  }
}

/**
 * Migrates what replaced programs have learned since their map of bindings was replaced, and unpins that map when none
 * of them is attached any more. `observed` has the current attachments. Returns the problems.
 */
export function finishMigration(target: Target, { attachments }: Observed): Problem[] {
  const { directory, program, loadReason } = target.pins;
  const path = replacedDirectory(directory);
  if (program === null || loadReason !== null || !isDirectory(path)) return [];
  try {
    migrateLateBindings(target.pins);
    const attached = [...attachments.values()].flatMap((attachment) => [
      attachment.filterProgramId,
      attachment.tcxProgramId,
    ]);
    // 0 stands for a detached link.
    const isAtWork = attached.some((id) => id !== null && id !== 0 && id !== program.id);
    if (isAtWork) return [];
    for (const id of replacedIds(directory)) clearName(replacedPath(directory, id));
    clearName(path);
    reopenPins(target);
    return [];
  } catch (thrown) {
    return [problemOf(thrown, path)];
  }
}

/** Opens the pins again, as they are now. When that fails, the old ones stay open: a closed descriptor is never used. */
export function reopenPins(target: Pick<Target, 'pins' | 'expected'>): void {
  const before = target.pins;
  target.pins = openPins(before.directory, target.expected);
  before.close();
}

/** Opens the pins again if one may have changed since. */
export function refreshPins(target: Pick<Target, 'pins' | 'expected'>): void {
  const { directory, stamp } = target.pins;
  if (stampOf(directory) !== stamp) reopenPins(target);
}

function tableOf<Name extends keyof Tables>(target: Target, name: Name): NonNullable<Tables[Name]> {
  const table = target.pins.tables[name];
  if (table === undefined) throw notLoaded(target);
  return table;
}

function programFd(target: Target): number {
  const { program } = target.pins;
  if (program === null || target.pins.loadReason !== null) throw notLoaded(target);
  return program.fd;
}

function notLoaded(target: Target): SnoopyError {
  return new SnoopyError({
    code: 'map_failed',
    object: target.pins.directory,
    operation: 'use the program',
    cause: 'it is not loaded',
    fix: 'see the step "load" for the reason',
  });
}
