// Steps and neighbor changes -> lines: aligned by default, as - and + with `--diff`.

import { ensure } from '../base/group.ts';
import type { ActionSummary } from '../core/actions.ts';
import { LOAD_REASONS } from '../core/load-reasons.ts';
import type { NeighborChangeReport, NeighborEntry, Outcome, Step } from '../core/report.ts';
import { count, paint, printable, type RenderOptions, type Row, type Tone } from './style.ts';

/** The cell of something that does not exist. */
const NONE = '-';

/** More alike than this on one bridge are shown as one line, unless `--verbose` asks for each. */
const MAX_LIKE = 10;

/** What was done or is due, as rows; many alike share a row. With `--diff` only those that went wrong. */
export function changeRows(
  steps: readonly Step[],
  changes: readonly NeighborChangeReport[],
  options: RenderOptions,
): Row[] {
  if (options.diff) {
    return [
      ...steps.filter(({ outcome }) => !isPlain(outcome)).map(stepRow),
      ...changes.filter(({ outcome }) => !isPlain(outcome)).map(neighborRow),
    ];
  }
  return [...gather(withoutImplied(steps), STEPS, options), ...gather(changes, NEIGHBORS, options)];
}

/** A static entry is several steps, one for its address and one for each MAC: that of the address says nothing more. */
function withoutImplied(steps: readonly Step[]): readonly Step[] {
  const idOf = ({ kind, bridge, ip }: ActionSummary): string => `${kind} ${bridge} ${ip}`;
  const withMac = new Set(steps.flatMap(({ action }) => (action.mac === undefined ? [] : [idOf(action)])));
  if (withMac.size === 0) return steps;
  return steps.filter(
    ({ action, outcome }) =>
      action.ip === undefined || action.mac !== undefined || !isPlain(outcome) || !withMac.has(idOf(action)),
  );
}

/** The state before as `-` lines, and the state after as `+` lines. */
export function diffLines(
  steps: readonly Step[],
  changes: readonly NeighborChangeReport[],
  options: RenderOptions,
): string[] {
  return [
    ...withoutImplied(steps)
      .filter(({ outcome }) => isPlain(outcome))
      .map(({ action }) => stepDiff(action, options)),
    ...changes.filter(({ outcome }) => isPlain(outcome)).flatMap((change) => neighborDiff(change, options)),
  ];
}

/** The names an action is about, for one line. */
export function describeAction(action: ActionSummary): string {
  return [action.kind, ...objectCells(action)].filter((word) => word !== NONE).join(' ');
}

/** True for an outcome that needs no words: applied or planned. */
function isPlain(outcome: Outcome): boolean {
  return outcome.kind === 'applied' || outcome.kind === 'planned';
}

/** How items become rows. */
interface Style<T> {
  /** What an item is about: items of one kind about the same thing are alike. */
  readonly about: (item: T) => string;
  readonly kind: (item: T) => string;
  /** How many alike items get a row each. */
  readonly most: (item: T) => number;
  readonly row: (item: T) => Row;
  /** The one row for `size` alike items; `item` is the first. */
  readonly summary: (item: T, size: number) => Row;
}

const STEPS: Style<Step> = {
  about: ({ action }) => action.bridge ?? '',
  kind: ({ action }) => action.kind,
  most: ({ action: { kind } }) => (kind === 'attach' || kind === 'detach' ? MAX_LIKE : 1),
  row: stepRow,
  summary: ({ action, outcome }, size) => {
    const { kind, bridge = NONE } = action;
    return {
      tone: toneOf(outcome, isWithdrawal(action)),
      cells: [verb(kind, outcome), bridge, count(size, nounOf(kind), pluralOf(kind))],
    };
  },
};

const NEIGHBORS: Style<NeighborChangeReport> = {
  about: ({ device }) => device,
  kind: ({ kind }) => kind,
  most: () => MAX_LIKE,
  row: neighborRow,
  summary: ({ kind, device, outcome }, size) => ({
    tone: toneOf(outcome, kind === 'remove'),
    cells: [verb(kind, outcome), device, count(size, 'neighbor')],
  }),
};

/** Items that are alike. */
interface Group {
  size: number;
  isShown: boolean;
}

/** A row for each item, or one row for alike items when there are too many. */
function gather<T extends { readonly outcome: Outcome }>(
  items: readonly T[],
  style: Style<T>,
  options: RenderOptions,
): Row[] {
  if (options.verbose) return items.map(style.row);
  // Nested maps by existing strings: building a key for each of tens of thousands of items takes longer than the rest.
  const groups = new Map<string, Map<string, Group>>();
  const groupOf = (item: T): Group => {
    const ofKind = ensure(groups, style.kind(item), () => new Map<string, Group>());
    return ensure(ofKind, style.about(item), () => ({ size: 0, isShown: false }));
  };
  // All that went well have the same outcome: a run either plans or applies.
  for (const item of items) if (isPlain(item.outcome)) groupOf(item).size += 1;
  const rows: Row[] = [];
  for (const item of items) {
    const group = isPlain(item.outcome) ? groupOf(item) : null;
    if (group === null || group.size <= style.most(item)) {
      rows.push(style.row(item));
    } else if (!group.isShown) {
      group.isShown = true;
      rows.push(style.summary(item, group.size));
    }
  }
  return rows;
}

function nounOf(kind: ActionSummary['kind']): string {
  switch (kind) {
    case 'attach':
    case 'detach':
    case 'set-port':
    case 'drop-port':
      return 'port';
    case 'set-prefix':
    case 'drop-prefix':
      return 'prefix';
    case 'set-static':
    case 'drop-static':
      return 'static entry';
    case 'load':
    case 'mount':
    case 'unpin':
    case 'drop-textfile':
      return 'time';
    default:
      return kind satisfies never;
  }
}

function pluralOf(kind: ActionSummary['kind']): string {
  const noun = nounOf(kind);
  if (noun === 'static entry') return 'static entries';
  return noun === 'prefix' ? 'prefixes' : `${noun}s`;
}

function stepRow({ action, outcome }: Step): Row {
  return {
    tone: toneOf(outcome, isWithdrawal(action)),
    cells: [verb(action.kind, outcome), ...objectCells(action), ...afterword(outcome)],
  };
}

function objectCells(action: ActionSummary): string[] {
  const { kind, bridge = NONE } = action;
  switch (kind) {
    case 'mount':
    case 'unpin':
    case 'drop-textfile':
      return [action.path ?? NONE];
    case 'load':
      return [`program and maps: ${LOAD_REASONS[action.reason ?? 'absent'].cause}`];
    case 'set-prefix':
    case 'drop-prefix':
      return [bridge, action.prefix ?? NONE];
    case 'set-static':
    case 'drop-static':
      return [bridge, action.ip ?? NONE, ...(action.mac === undefined ? [] : [`for ${action.mac}`])];
    case 'set-port':
    case 'drop-port':
    case 'attach':
    case 'detach':
      return [bridge, action.port ?? NONE];
    default:
      return kind satisfies never;
  }
}

function isWithdrawal({ kind }: ActionSummary): boolean {
  return kind === 'detach' || kind === 'unpin' || kind.startsWith('drop-');
}

/** Without the way, a port that changes from one to the other would be added and removed in the same words. */
const WAYS: Readonly<Record<NonNullable<ActionSummary['as']>, string>> = {
  tcx: 'by TCX',
  filter: 'by a filter',
  stray: 'by a run with other pins',
};

/** How `--diff` names what a `+` line adds or a `-` line removes. */
function stepDiff(action: ActionSummary, options: RenderOptions): string {
  const states: Readonly<Record<ActionSummary['kind'], string>> = {
    mount: 'mounted',
    unpin: 'pinned',
    'drop-textfile': 'textfile',
    load: '',
    'set-prefix': '',
    'drop-prefix': '',
    'set-static': 'static',
    'drop-static': 'static',
    'set-port': 'policy',
    'drop-port': 'policy',
    attach: 'attached',
    detach: 'attached',
  };
  const { kind, as } = action;
  const way = as === undefined ? '' : WAYS[as];
  const words = [...objectCells(action), states[kind], way].filter((word) => word !== '' && word !== NONE);
  return diffLine(isWithdrawal(action) ? '-' : '+', words.join(' '), options);
}

function diffLine(sign: '-' | '+', words: string, options: RenderOptions): string {
  return paint(`${sign} ${printable(words)}`, sign === '+' ? 'good' : 'bad', options.color);
}

function neighborRow(change: NeighborChangeReport): Row {
  const { kind, device, ip, mac, port, because, outcome } = change;
  const why = isPlain(outcome) ? [because] : afterword(outcome);
  return {
    tone: toneOf(outcome, kind === 'remove'),
    cells: [verb(kind, outcome), device, ip, mac ?? NONE, port ?? NONE, ...why],
  };
}

/** As iproute2 spells a neighbor, before and after. */
function neighborDiff(change: NeighborChangeReport, options: RenderOptions): string[] {
  const line = (sign: '-' | '+', entry: NeighborEntry | null): string[] => {
    if (entry === null) return [];
    const mac = entry.mac === null ? [] : ['lladdr', entry.mac];
    const words = [change.ip, 'dev', change.device, ...mac, ...entry.flags, 'nud', entry.state];
    return [diffLine(sign, [...words, 'proto', entry.protocol].join(' '), options)];
  };
  return [...line('-', change.before), ...line('+', change.after)];
}

function verb(kind: string, outcome: Outcome): string {
  return outcome.kind === 'planned' ? `would ${kind}` : kind;
}

function afterword(outcome: Outcome): string[] {
  switch (outcome.kind) {
    case 'applied':
    case 'planned':
      return [];
    case 'skipped':
      return [`skipped: ${outcome.because}`];
    case 'failed':
      return [`failed: ${outcome.message}`];
    default:
      return outcome satisfies never;
  }
}

function toneOf(outcome: Outcome, isWithdrawal: boolean): Tone {
  switch (outcome.kind) {
    case 'applied':
    case 'planned':
      return isWithdrawal ? 'notable' : 'good';
    case 'skipped':
      return 'quiet';
    case 'failed':
      return 'bad';
    default:
      return outcome satisfies never;
  }
}
