// Action -> Outcome: carries out a plan. An action that fails has an outcome that says so; nothing is thrown.

import type { IfIndex } from '../base/address.ts';
import { type ErrorCode, type Problem, problemOf, SnoopyError } from '../base/errors.ts';
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
  losesBindings,
  openPins,
  type Pins,
  replacedDirectory,
  replacedIds,
  replacedPath,
} from '../datapath/pins.ts';
import type { Binding } from '../datapath/records/binding.ts';
import { NO_COUNTS } from '../datapath/records/port.ts';
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

/** What applying needs; `pins` is replaced by a load. */
export interface Target {
  readonly netlink: NetlinkSocket;
  readonly expected: Expected;
  /** Users whose files are trusted. */
  readonly users: Users;
  /** The object to load, read only when it is needed. */
  readonly object: () => Uint8Array;
  /** Bindings recovered from elsewhere when their map is lost; called only then. */
  adopt: () => readonly Binding[];
  pins: Pins;
}

const PORT_GONE: Outcome = { kind: 'skipped', because: 'the port is gone' };
const STILL_NEEDED: Outcome = { kind: 'skipped', because: 'the program is not attached in the other way' };
/** By its entry the next run knows what to detach from a port. */
const STILL_TIED: Outcome = { kind: 'skipped', because: 'not everything could be detached' };

/** Every action as it would stand in a report of `--check`. */
export function planned(actions: readonly Action[]): Step[] {
  return actions.map((action) => ({ action: summarize(action), outcome: PLANNED }));
}

/** Progress is reported where there are so many actions, and after every so many. */
const MANY = 50;

/**
 * Applies the actions in order; filters are attached and detached many in one netlink batch. `progress` is called
 * with how far they are, where there are many.
 */
export function applyActions(
  target: Target,
  actions: readonly Action[],
  progress: ((line: string) => void) | null,
): Step[] {
  const steps: Step[] = [];
  /** Ports to which the program could not be attached: what is attached in the other way stays. */
  const bare = new Set<IfIndex>();
  /** Ports that still have an attachment that was to be removed. */
  const tied = new Set<IfIndex>();
  for (let i = 0; i < actions.length; ) {
    const group = takeGroup(actions, i);
    if (actions.length >= MANY && (i % MANY === 0 || group.length > 1))
      progress?.(describeProgress(i, actions.length, group));
    const due = group.filter((action) => whyNot(action, bare, tied) === null);
    const done = applyGroup(target, due);
    const outcomes = new Map(due.map((action, j) => [action, done[j] ?? APPLIED]));
    for (const action of group) {
      const outcome = outcomes.get(action) ?? whyNot(action, bare, tied) ?? APPLIED;
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

/** Why an action must not be taken after what came before it; null: it may. */
function whyNot(action: Action, bare: ReadonlySet<IfIndex>, tied: ReadonlySet<IfIndex>): Outcome | null {
  const { kind } = action;
  if (kind === 'detach') return bare.has(action.port.ifIndex) ? STILL_NEEDED : null;
  if (kind === 'set-port' || kind === 'drop-port') return tied.has(action.port.ifIndex) ? STILL_TIED : null;
  return kind === 'unpin' && tied.size > 0 ? STILL_TIED : null;
}

function applyGroup(target: Target, group: readonly Action[]): Outcome[] {
  return group.some(isFilterAction)
    ? applyFilters(target, group)
    : group.map((action) => apply(target, action));
}

type FilterAction = Extract<Action, { kind: 'attach' | 'detach' }>;

function isFilterAction(action: Action): action is FilterAction {
  return (action.kind === 'attach' || action.kind === 'detach') && action.mode === 'clsact';
}

/** The run of filter actions of one kind that begins at `start`; else that action alone. */
function takeGroup(actions: readonly Action[], start: number): Action[] {
  const first = actions[start];
  if (first === undefined) return [];
  let end = start + 1;
  if (isFilterAction(first)) {
    while (actions[end]?.kind === first.kind && isFilterAction(actions[end] ?? first)) end++;
  }
  return actions.slice(start, end);
}

function applyFilters(target: Target, group: readonly Action[]): Outcome[] {
  const filters = group.filter(isFilterAction);
  try {
    return filters[0]?.kind === 'attach' ? attachFilters(target, filters) : detachFilters(target, filters);
  } catch (thrown) {
    return group.map(() => failed(thrown, 'tc'));
  }
}

function failed(thrown: unknown, object: string): Outcome {
  return failedBy(problemOf(thrown, object));
}

function apply(target: Target, action: Action): Outcome {
  try {
    return applyOne(target, action);
  } catch (thrown) {
    return failed(thrown, action.kind);
  }
}

function applyOne(target: Target, action: Action): Outcome {
  switch (action.kind) {
    case 'mount':
      // Done before the lock was taken, and only reported here.
      return APPLIED;
    case 'load':
      reload(target, losesBindings(target.pins) ? target.adopt() : []);
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
      // The program's own counts of a port begin at zero, and are kept where they are.
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
 * of them is attached any more. `observed` has the attachments as they are now. Returns why it could not.
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
    // 0 is a link that is detached.
    const isAtWork = attached.some((id) => id !== null && id !== 0 && id !== program.id);
    if (isAtWork) return [];
    for (const id of replacedIds(directory)) clearName(replacedPath(directory, id));
    clearName(path);
    reopen(target);
    return [];
  } catch (thrown) {
    return [problemOf(thrown, path)];
  }
}

function reload(target: Target, adopted: readonly Binding[]): void {
  load(target.object(), target.pins, target.expected, adopted);
  reopen(target);
}

function reopen(target: Target): void {
  const { directory } = target.pins;
  target.pins.close();
  target.pins = openPins(directory, target.expected);
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

/** Makes clsact qdiscs where there are none, then puts the filters; EEXIST of a qdisc is as good as made. */
function attachFilters({ netlink, pins }: Target, actions: readonly FilterAction[]): Outcome[] {
  if (pins.program === null || pins.loadReason !== null) {
    return actions.map(() => ({ kind: 'skipped', because: 'the program is not loaded' }));
  }
  const { fd } = pins.program;
  const qdiscs = netlink.batch(actions.map(({ port }) => createClsact(port.ifIndex)));
  // A qdisc that has just been made has no filters.
  const older = actions.filter((_, i) => qdiscs[i]?.ok !== true);
  const found = areOurs(netlink, older);
  const ours = new Set(older.filter((_, i) => found[i] === true));
  const filters = netlink.batch(
    actions.map((action) => {
      const name = filterName(action.kind === 'attach' && action.ownsClsact);
      return putFilter(
        filterPlace(action.port.ifIndex),
        { fd, name },
        ours.has(action) ? 'replace' : 'create',
      );
    }),
  );
  return actions.map(({ port }, i) => {
    const qdisc = qdiscs[i];
    if (qdisc !== undefined && !qdisc.ok && qdisc.name !== 'EEXIST')
      return outcomeOf(qdisc, 'attach to', port);
    return outcomeOf(filters[i], 'attach to', port);
  });
}

/** For each port, whether the filter at our place is ours; one of another owner is neither replaced nor deleted. */
function areOurs(netlink: NetlinkSocket, actions: readonly FilterAction[]): boolean[] {
  const found = netlink.batch(actions.map(({ port }) => getFilter(filterPlace(port.ifIndex))));
  return found.map((result) => isOurFilter(filterOf(result)?.bpf?.name ?? ''));
}

/** Deletes our filters, then our qdiscs that have no other filters. */
function detachFilters({ netlink }: Target, actions: readonly FilterAction[]): Outcome[] {
  const ours = areOurs(netlink, actions);
  const results = netlink.batch(
    actions.flatMap(({ port }, i) => (ours[i] === true ? [deleteFilter(filterPlace(port.ifIndex))] : [])),
  );
  return actions.map((action, i) => {
    const result = ours[i] === true ? results.shift() : undefined;
    const outcome = outcomeOf(result, 'detach from', action.port, ['ENOENT', 'EINVAL']);
    if (outcome.kind !== 'applied' || action.kind !== 'detach' || !action.dropClsact) return outcome;
    const { ifIndex } = action.port;
    const used = (['ingress', 'egress'] as const).some(
      (side) => dumpFilters(netlink, ifIndex, side).length > 0,
    );
    if (used) return outcome;
    return outcomeOf(netlink.batch([deleteClsact(ifIndex)])[0], 'delete the clsact qdisc of', action.port, [
      'ENOENT',
      'EINVAL',
    ]);
  });
}

function outcomeOf(
  result: Result | undefined,
  verb: string,
  port: PortRef,
  harmless: readonly string[] = [],
): Outcome {
  if (result === undefined || result.ok || harmless.includes(result.name)) return APPLIED;
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
