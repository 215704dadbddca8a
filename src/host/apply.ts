// Action -> Outcome: carries out a plan. A failed action has a `failed` outcome; nothing is thrown.

import type { IfIndex } from '../base/address.ts';
import { type ErrorCode, type Problem, problemOf, SnoopyError } from '../base/errors.ts';
import { mapPairs, takeNext } from '../base/pairs.ts';
import type { Users } from '../base/trust.ts';
import { type Action, type PortRef, summarize } from '../core/actions.ts';
import type { Observed } from '../core/observed.ts';
import { APPLIED, failedBy, type Outcome, PLANNED, type Step } from '../core/report.ts';
import { attachTcx, detachTcx, filterName, filterPlace, isOurFilter } from '../datapath/attachment.ts';
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
} from '../datapath/pins.ts';
import type { Binding } from '../datapath/records/binding.ts';
import { NO_COUNTS } from '../datapath/records/port.ts';
import type { Request } from '../netlink/message.ts';
import { failureError, type NetlinkSocket, type Result } from '../netlink/socket.ts';
import {
  createClsact,
  deleteClsact,
  deleteFilter,
  dumpFilters,
  filterOf,
  getFilter,
  putFilter,
} from '../netlink/tc.ts';
import { removePinDirectory } from './pin-directory.ts';
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

const PORT_GONE: Outcome = { kind: 'skipped', because: 'the port is gone' };
const STILL_NEEDED: Outcome = { kind: 'skipped', because: 'the program is not attached in the other way' };
/** The port keeps its entry, by which the next run knows what to detach. */
const STILL_TIED: Outcome = { kind: 'skipped', because: 'not everything could be detached' };

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

/** An action and its outcome. */
interface Done {
  readonly action: Action;
  readonly outcome: Outcome;
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
  const bare = new Set<IfIndex>();
  /** Ports that still have an attachment that was to be removed. */
  const tied = new Set<IfIndex>();
  const whyHeld = (action: Action): Outcome | null => whyNot(action, bare, tied);
  for (let i = 0; i < actions.length; ) {
    const group = takeGroup(actions, i, whyHeld);
    if (actions.length >= MANY && (i % MANY === 0 || group.length > 1))
      progress?.(describeProgress(i, actions.length, group));
    for (const { action, outcome } of applyGroup(target, group, recovered, whyHeld)) {
      steps.push({ action: summarize(action), outcome });
      if (outcome.kind === 'applied' || outcome === PORT_GONE) continue;
      if (action.kind === 'attach') bare.add(action.port.ifIndex);
      if (action.kind === 'detach') tied.add(action.port.ifIndex);
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
function whyNot(action: Action, bare: ReadonlySet<IfIndex>, tied: ReadonlySet<IfIndex>): Outcome | null {
  const { kind } = action;
  if (kind === 'detach') return bare.has(action.port.ifIndex) ? STILL_NEEDED : null;
  if (kind === 'set-port' || kind === 'drop-port') return tied.has(action.port.ifIndex) ? STILL_TIED : null;
  return kind === 'unpin' && tied.size > 0 ? STILL_TIED : null;
}

type FilterAction = Extract<Action, { kind: 'attach' | 'detach' }>;

function isFilterAction(action: Action): action is FilterAction {
  return (action.kind === 'attach' || action.kind === 'detach') && action.mode === 'clsact';
}

/** The outcome of an action that must not be taken now; null when it may. */
type WhyHeld = (action: Action) => Outcome | null;

/** The run of allowed filter actions of one kind from `start` on; else only the action at `start`. */
function takeGroup(actions: readonly Action[], start: number, whyHeld: WhyHeld): Action[] {
  const first = actions[start];
  if (first === undefined) return [];
  const isBatched = (action: Action): boolean => isFilterAction(action) && whyHeld(action) === null;
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
  whyHeld: WhyHeld,
): Done[] {
  const mayAll = group.every((action) => whyHeld(action) === null);
  if (mayAll && group.every(isFilterAction)) return applyFilters(target, group);
  return group.map((action) => ({ action, outcome: whyHeld(action) ?? apply(target, action, recovered) }));
}

function applyFilters(target: Target, group: readonly FilterAction[]): Done[] {
  try {
    return group[0]?.kind === 'attach' ? attachFilters(target, group) : detachFilters(target, group);
  } catch (thrown) {
    return group.map((action) => ({ action, outcome: failed(thrown, 'tc') }));
  }
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

function applyOne(target: Target, action: Action, recovered: readonly Binding[]): Outcome {
  switch (action.kind) {
    case 'mount':
      // Mounted before the lock was taken; only reported here.
      return APPLIED;
    case 'load':
      load(target.object(), target.pins, target.expected, recovered);
      reopenPins(target);
      return APPLIED;
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
      detachTcx(target.pins.directory, action.port.ifIndex);
      return APPLIED;
    case 'unpin':
      target.pins.close();
      removePinDirectory(action.path);
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

/** An item and the kernel's answer to its request. */
interface Answered<Item> {
  readonly item: Item;
  readonly result: Result;
}

/** Sends one request for each item, all in one batch. */
function batchFor<Item>(
  netlink: NetlinkSocket,
  items: readonly Item[],
  requestFor: (item: Item) => Request,
): Answered<Item>[] {
  return mapPairs(items, netlink.batch(items.map(requestFor)), (item, result) => ({ item, result }));
}

/** Creates missing clsact qdiscs, then the filters. EEXIST for a qdisc is a success. */
function attachFilters({ netlink, pins }: Target, actions: readonly FilterAction[]): Done[] {
  const { program } = pins;
  if (program === null || pins.loadReason !== null) {
    const outcome: Outcome = { kind: 'skipped', because: 'the program is not loaded' };
    return actions.map((action) => ({ action, outcome }));
  }
  const qdiscs = batchFor(netlink, actions, ({ port }) => createClsact(port.ifIndex));
  // A new qdisc has no filters.
  const older = qdiscs.filter(({ result }) => !result.ok).map(({ item }) => item);
  const ours = findOurs(netlink, older);
  const filters = batchFor(netlink, qdiscs, ({ item: action }) => {
    const name = filterName(action.kind === 'attach' && action.ownsClsact);
    const mode = ours.has(action) ? 'replace' : 'create';
    return putFilter(filterPlace(action.port.ifIndex), { fd: program.fd, name }, mode);
  });
  return filters.map(({ item: { item: action, result: qdisc }, result: filter }) => {
    const isBlocked = !qdisc.ok && qdisc.name !== 'EEXIST';
    return { action, outcome: outcomeOf(isBlocked ? qdisc : filter, 'attach to', action.port) };
  });
}

/** The actions whose port has our filter at our place. A filter of another owner is neither replaced nor deleted. */
function findOurs(netlink: NetlinkSocket, actions: readonly FilterAction[]): Set<FilterAction> {
  const found = batchFor(netlink, actions, ({ port }) => getFilter(filterPlace(port.ifIndex)));
  const ours = found.filter(({ result }) => isOurFilter(filterOf(result)?.bpf?.name ?? ''));
  return new Set(ours.map(({ item }) => item));
}

/** Deletes our filters, then our qdiscs without other filters. */
function detachFilters({ netlink }: Target, actions: readonly FilterAction[]): Done[] {
  const ours = findOurs(netlink, actions);
  const deletions = [...ours].map(({ port }) => deleteFilter(filterPlace(port.ifIndex)));
  const deleted = netlink.batch(deletions).values();
  return actions.map((action) => {
    const { port } = action;
    const outcome = ours.has(action) ? outcomeOf(takeNext(deleted), 'detach from', port, GONE) : APPLIED;
    const isDone = outcome.kind === 'applied' && action.kind === 'detach' && action.dropClsact;
    return { action, outcome: isDone ? dropClsact(netlink, port) : outcome };
  });
}

/** Errors that mean that there is nothing to delete. */
const GONE: readonly string[] = ['ENOENT', 'EINVAL'];

function dropClsact(netlink: NetlinkSocket, port: PortRef): Outcome {
  const { ifIndex } = port;
  const isUsed = (['ingress', 'egress'] as const).some(
    (side) => dumpFilters(netlink, ifIndex, side).length > 0,
  );
  if (isUsed) return APPLIED;
  const result = takeNext(netlink.batch([deleteClsact(ifIndex)]).values());
  return outcomeOf(result, 'delete the clsact qdisc of', port, GONE);
}

function outcomeOf(result: Result, verb: string, port: PortRef, harmless: readonly string[] = []): Outcome {
  if (result.ok || harmless.includes(result.name)) return APPLIED;
  if (result.name === 'ENODEV') return PORT_GONE;
  const context = { operation: `${verb} port "${port.name}"`, object: port.name };
  return failedBy(failureError(result, { ...context, ...diagnosisOf(verb, result.name) }).problem);
}

function diagnosisOf(verb: string, errno: string): { readonly code: ErrorCode; readonly fix?: string } {
  if (verb !== 'attach to') return { code: 'detach_failed' };
  switch (errno) {
    // The kernel has no qdisc or filter of this kind, and no module for it.
    case 'ENOENT':
      return {
        code: 'unsupported',
        fix: 'load the modules sch_ingress and cls_bpf (CONFIG_NET_SCH_INGRESS, CONFIG_NET_CLS_BPF)',
      };
    case 'EEXIST':
    case 'EINVAL':
      return {
        code: 'attach_failed',
        fix: 'remove the filter of another owner with pref 10: tc filter show ingress',
      };
    default:
      return { code: 'attach_failed' };
  }
}
