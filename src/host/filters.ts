// The filters of the program, and the qdiscs that hold them: attached and detached in netlink batches.

import type { IfIndex } from '../base/address.ts';
import type { ErrorCode } from '../base/errors.ts';
import { split } from '../base/group.ts';
import { mapPairs, takeNext } from '../base/pairs.ts';
import type { Action, PortRef } from '../core/actions.ts';
import { APPLIED, failedBy, type Outcome } from '../core/report.ts';
import { filterName, filterPlace, isOurFilter } from '../datapath/attachment.ts';
import type { Pins } from '../datapath/pins.ts';
import { EEXIST, sleep } from '../ffi/libc.ts';
import type { Request } from '../netlink/message.ts';
import { failureError, type NetlinkSocket, type Result } from '../netlink/socket.ts';
import {
  countFilters,
  createQdisc,
  deleteFilter,
  deleteQdisc,
  dumpQdiscs,
  filterOf,
  getFilter,
  lookUpQdiscs,
  putFilter,
} from '../netlink/tc.ts';

/** An action and its outcome. */
export interface Done {
  readonly action: Action;
  readonly outcome: Outcome;
}

export const PORT_GONE: Outcome = { kind: 'skipped', because: 'the port is gone' };

type AttachFilter = Extract<Action, { kind: 'attach' }>;
type DetachFilter = Extract<Action, { kind: 'detach'; dropQdisc: boolean }>;
export type FilterAction = AttachFilter | DetachFilter;

export function isFilterAction(action: Action): action is FilterAction {
  return isAttachFilter(action) || isDetachFilter(action);
}

export function isAttachFilter(action: Action): action is AttachFilter {
  return action.kind === 'attach' && action.as === 'filter';
}

export function isDetachFilter(action: Action): action is DetachFilter {
  return action.kind === 'detach' && action.as === 'filter';
}

/** What filters are applied to. */
interface Target {
  readonly netlink: NetlinkSocket;
  readonly pins: Pins;
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

/**
 * How long a program may take to create a qdisc on a port that it has just made, or whose qdisc it has just deleted, as Proxmox
 * VE and libvirt do for a rate limit: some calls of `tc`. Its command would fail if snoopy were there first.
 */
const GIVE_WAY_MS = 2_000;
const LOOK_AGAIN_MS = 20;

/**
 * Creates missing qdiscs, then the filters. A missing one of kind `ingress` another program may be about to create, also where
 * there was one when the action was planned: it waits for that, and attaches to it at once. EEXIST for a qdisc is a success.
 */
export function attachFilters(target: Target, actions: readonly AttachFilter[]): Done[] {
  const { netlink, pins } = target;
  const { program } = pins;
  if (program === null || pins.loadReason !== null) {
    const outcome: Outcome = { kind: 'skipped', because: 'the program is not loaded' };
    return actions.map((action) => ({ action, outcome }));
  }
  const outcomes = new Map<IfIndex, Outcome>();
  const attach = (some: readonly AttachFilter[], how: { readonly creates: boolean }): void => {
    for (const { action, outcome } of attachNow(target, program.fd, some, how)) {
      outcomes.set(action.port.ifIndex, outcome);
    }
  };
  const givesWay = ({ qdisc }: AttachFilter): boolean => qdisc === 'ingress';
  attach(
    actions.filter((action) => !givesWay(action)),
    { creates: true },
  );
  let waiting = actions.filter(givesWay);
  for (let waitedMs = 0; waiting.length > 0 && waitedMs < GIVE_WAY_MS; waitedMs += LOOK_AGAIN_MS) {
    const [there, missing] = partition(waiting, portsWithQdisc(netlink, waiting));
    attach(there, { creates: false });
    const failed = there.filter(({ port }) => outcomes.get(port.ifIndex)?.kind === 'failed');
    const [, gone] = failed.length === 0 ? [[], []] : partition(failed, portsWithQdisc(netlink, failed));
    waiting = [...missing, ...gone].map((action) => ({ ...action, createsQdisc: true }));
    if (waiting.length > 0) sleep(LOOK_AGAIN_MS);
  }
  setOwner(pins, waiting, true);
  attach(
    waiting.map((action) => ({ ...action, ownsQdisc: true })),
    { creates: true },
  );
  return actions.map((action) => ({ action, outcome: outcomes.get(action.port.ifIndex) ?? PORT_GONE }));
}

/** Those whose ports are among these, and the others. */
function partition(
  actions: readonly AttachFilter[],
  ports: ReadonlySet<IfIndex>,
): readonly [AttachFilter[], AttachFilter[]] {
  const isAmong = ({ port }: AttachFilter): boolean => ports.has(port.ifIndex);
  return split(actions, isAmong);
}

/** The ports of these actions that have a clsact or ingress qdisc. */
function portsWithQdisc(netlink: NetlinkSocket, actions: readonly AttachFilter[]): ReadonlySet<IfIndex> {
  const ports = actions.map(({ port }) => port.ifIndex);
  return new Set(lookUpQdiscs(netlink, ports).map(({ ifIndex }) => ifIndex));
}

/** The answer of the kernel for a qdisc that exists. */
const EXISTS: Result = { ok: false, errno: EEXIST, name: 'EEXIST', message: undefined };

/** Not `creates`: the ports have qdiscs, and one that is deleted in this moment is not created anew. */
function attachNow(
  { netlink, pins }: Target,
  fd: number,
  actions: readonly AttachFilter[],
  { creates }: { readonly creates: boolean },
): readonly { readonly action: AttachFilter; readonly outcome: Outcome }[] {
  if (actions.length === 0) return [];
  const qdiscs = creates
    ? batchFor(netlink, actions, ({ port, qdisc }) => createQdisc(port.ifIndex, qdisc))
    : actions.map((item) => ({ item, result: EXISTS }));
  // A new qdisc has no filters.
  const older = qdiscs.filter(({ result }) => !result.ok).map(({ item }) => item);
  const isThere = ({ item, result }: Answered<AttachFilter>): boolean =>
    item.createsQdisc && !result.ok && result.name === 'EEXIST';
  const theirs = new Set(qdiscs.filter(isThere).map(({ item }) => item));
  setOwner(pins, theirs, false);
  const ours = findOurs(netlink, older);
  const moved = replaceQdiscs(netlink, pins, fd, [...ours]);
  const rest = qdiscs.filter(({ item }) => !moved.has(item));
  const filters = batchFor(netlink, rest, ({ item: action }) =>
    putOurFilter(
      action,
      fd,
      ours.has(action) ? 'replace' : 'create',
      action.ownsQdisc && !theirs.has(action),
    ),
  );
  const results = new Map([...moved, ...filters.map(({ item, result }) => [item.item, result] as const)]);
  return qdiscs.map(({ item: action, result: qdisc }) => {
    const isBlocked = !qdisc.ok && qdisc.name !== 'EEXIST';
    const result = isBlocked ? qdisc : (results.get(action) ?? qdisc);
    return { action, outcome: outcomeOf(result, 'attach to', action.port) };
  });
}

function putOurFilter(
  { port }: AttachFilter,
  fd: number,
  mode: 'create' | 'replace',
  ownsQdisc: boolean,
): Request {
  return putFilter(filterPlace(port.ifIndex), { fd, name: filterName(ownsQdisc) }, mode);
}

/** Records whether the qdiscs of these ports are ours. Before their filters, which say so too. */
function setOwner({ tables }: Pins, actions: Iterable<AttachFilter>, ownsQdisc: boolean): void {
  for (const { port } of actions) {
    const policy = tables.ports?.get(port.ifIndex);
    if (policy === undefined || policy.ownsQdisc === ownsQdisc) continue;
    tables.ports?.set(port.ifIndex, { ...policy, ownsQdisc });
  }
}

/** The actions whose port has our filter at our place. A filter of another owner is neither replaced nor deleted. */
function findOurs<Item extends FilterAction>(netlink: NetlinkSocket, actions: readonly Item[]): Set<Item> {
  const found = batchFor(netlink, actions, ({ port }) => getFilter(filterPlace(port.ifIndex)));
  const ours = found.filter(({ result }) => isOurFilter(filterOf(result)?.bpf?.name ?? ''));
  return new Set(ours.map(({ item }) => item));
}

/** Deletes our filters, then our qdiscs without other filters. */
export function detachFilters({ netlink }: Target, actions: readonly DetachFilter[]): Done[] {
  const ours = findOurs(netlink, actions);
  const deletions = [...ours].map(({ port }) => deleteFilter(filterPlace(port.ifIndex)));
  const deleted = netlink.batch(deletions).values();
  return actions.map((action) => {
    const { port } = action;
    const outcome = ours.has(action) ? outcomeOf(takeNext(deleted), 'detach from', port, GONE) : APPLIED;
    const isDone = outcome.kind === 'applied' && action.dropQdisc;
    return { action, outcome: isDone ? dropQdisc(netlink, port) : outcome };
  });
}

/** Errors that mean that there is nothing to delete. */
const GONE: readonly string[] = ['ENOENT', 'EINVAL'];

function dropQdisc(netlink: NetlinkSocket, port: PortRef): Outcome {
  const { ifIndex } = port;
  if (countFilters(netlink, ifIndex) > 0) return APPLIED;
  const result = takeNext(netlink.batch([deleteQdisc(ifIndex)]).values());
  return outcomeOf(result, 'delete the qdisc of', port, GONE);
}

/**
 * Replaces the clsact qdiscs that an earlier version created, and that have no filter but ours, by the ingress qdiscs that the
 * actions want, each with its filter, in one call. Returns the answers for the filters.
 */
function replaceQdiscs(
  netlink: NetlinkSocket,
  pins: Pins,
  fd: number,
  actions: readonly AttachFilter[],
): Map<AttachFilter, Result> {
  const candidates = actions.filter(({ qdisc, ownsQdisc }) => qdisc === 'ingress' && ownsQdisc);
  if (candidates.length === 0) return new Map();
  const clsacts = dumpQdiscs(netlink).filter(({ kind }) => kind === 'clsact');
  const withClsact = new Set(clsacts.map(({ ifIndex }) => ifIndex));
  const replaced = candidates.filter(
    ({ port: { ifIndex } }) => withClsact.has(ifIndex) && countFilters(netlink, ifIndex) === 1,
  );
  const results = netlink.batch(
    replaced.flatMap((action) => [
      deleteQdisc(action.port.ifIndex),
      createQdisc(action.port.ifIndex, 'ingress'),
      putOurFilter(action, fd, 'create', true),
    ]),
  );
  const answers = results.values();
  const attached = replaced.map((item) => {
    const deleted = takeNext(answers);
    const created = takeNext(answers);
    const result = takeNext(answers);
    // Another program has created one between the two calls, and our filter is in that.
    const isTheirs = deleted.ok && !created.ok && created.name === 'EEXIST' && result.ok;
    return { item, result, isTheirs };
  });
  const theirs = attached.filter(({ isTheirs }) => isTheirs).map(({ item }) => item);
  setOwner(pins, theirs, false);
  const renamed = batchFor(netlink, theirs, (action) => putOurFilter(action, fd, 'replace', false));
  return new Map([...attached, ...renamed].map(({ item, result }) => [item, result] as const));
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
