// Steps and neighbor changes -> lines: aligned by default, as - and + with `--diff`.

import { ensure } from '../base/group.ts';
import type { ActionSummary } from '../core/actions.ts';
import { LOAD_REASONS } from '../core/load-reasons.ts';
import type { NeighborChangeReport, NeighborEntry, Outcome, Step } from '../core/report.ts';
import { count, paint, printable, type RenderOptions, type Row, type Tone } from './style.ts';

/** Where there is no such thing. */
const NONE = '-';

/** More of one kind on one bridge than this become one line, unless every one is asked for. */
const MAX_LIKE = 10;

/** What was done, or is due, as rows: one each, many alike in one. None with `--diff`, but for what went wrong. */
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
  return [...gather(steps, STEPS, options), ...gather(changes, NEIGHBORS, options)];
}

/** What was there before as `-` and what is there after as `+`. */
export function diffLines(
  steps: readonly Step[],
  changes: readonly NeighborChangeReport[],
  options: RenderOptions,
): string[] {
  return [
    ...steps.filter(({ outcome }) => isPlain(outcome)).map(({ action }) => stepDiff(action, options)),
    ...changes.filter(({ outcome }) => isPlain(outcome)).flatMap((change) => neighborDiff(change, options)),
  ];
}

/** The names an action is about, for one line. */
export function describeAction(action: ActionSummary): string {
  return [action.kind, ...objectCells(action)].filter((word) => word !== NONE).join(' ');
}

/** Applied or planned, so that its kind says everything. */
function isPlain(outcome: Outcome): boolean {
  return outcome.kind === 'applied' || outcome.kind === 'planned';
}

/** How things become rows. */
interface Style<T> {
  /** What it is about: those of one kind about the same are alike. */
  readonly about: (item: T) => string;
  readonly kind: (item: T) => string;
  /** So many that are alike may stand one by one. */
  readonly most: (item: T) => number;
  readonly row: (item: T) => Row;
  /** The one row for `size` of them, of which `item` is the first. */
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

/** Those that are alike. */
interface Group {
  size: number;
  isTold: boolean;
}

/** A row for each item, or one for all that are alike where they are too many. */
function gather<T extends { readonly outcome: Outcome }>(
  items: readonly T[],
  style: Style<T>,
  options: RenderOptions,
): Row[] {
  if (options.verbose) return items.map(style.row);
  // By names that are there already: to put a key together for each of tens of thousands takes longer than the rest.
  const groups = new Map<string, Map<string, Group>>();
  const groupOf = (item: T): Group => {
    const ofKind = ensure(groups, style.kind(item), () => new Map<string, Group>());
    return ensure(ofKind, style.about(item), () => ({ size: 0, isTold: false }));
  };
  // What went well went so in one way: a run plans, or applies.
  for (const item of items) if (isPlain(item.outcome)) groupOf(item).size += 1;
  const rows: Row[] = [];
  for (const item of items) {
    const group = isPlain(item.outcome) ? groupOf(item) : null;
    if (group === null || group.size <= style.most(item)) {
      rows.push(style.row(item));
    } else if (!group.isTold) {
      group.isTold = true;
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
      return 'address';
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
  return noun === 'prefix' || noun === 'address' ? `${noun}es` : `${noun}s`;
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

/** How `--diff` calls what is there after a `+`, or was there before a `-`. */
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
  const words = [...objectCells(action), states[action.kind]].filter((word) => word !== '' && word !== NONE);
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
