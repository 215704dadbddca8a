// A row of the benchmark: snoopy's figure beside a peer's, the goal, and whether it is met.

export type Unit = 'ns' | 'us' | 'ms' | 'MB' | 'calls';

export interface Side {
  readonly what: string;
  readonly value: number;
  readonly unit: Unit;
}

/** How the two figures are compared: `ratio` is own / peer, `gain` is peer / own, `difference` is own - peer, `value` is own. */
export type Comparison = 'ratio' | 'gain' | 'difference' | 'value';

export interface Goal {
  readonly kind: 'at most' | 'at least';
  readonly value: number;
}

export interface Row {
  readonly group: string;
  readonly name: string;
  readonly own: Side;
  readonly peer: Side;
  readonly comparison: Comparison;
  readonly value: number;
  /** Null: only printed. */
  readonly goal: Goal | null;
  readonly met: boolean | null;
}

export const atMost = (value: number): Goal => ({ kind: 'at most', value });
export const atLeast = (value: number): Goal => ({ kind: 'at least', value });

export function row(
  group: string,
  name: string,
  own: Side,
  peer: Side,
  comparison: Comparison,
  goal: Goal | null = null,
): Row {
  const value = compare(own.value, peer.value, comparison);
  const met = goal === null ? null : goal.kind === 'at most' ? value <= goal.value : value >= goal.value;
  return { group, name, own, peer, comparison, value, goal, met };
}

function compare(own: number, peer: number, comparison: Comparison): number {
  switch (comparison) {
    case 'ratio':
      return own / peer;
    case 'gain':
      return peer / own;
    case 'difference':
      return own - peer;
    case 'value':
      return own;
    default:
      return comparison satisfies never;
  }
}

/** The rows as a table of text. */
export function renderRows(rows: readonly Row[]): string {
  const head = ['', 'snoopy', 'beside', '', 'is', 'goal', ''];
  const lines = rows.map((one) => [
    `${one.group}: ${one.name}`,
    amount(one.own),
    amount(one.peer),
    one.peer.what,
    result(one),
    one.goal === null ? '' : `${one.goal.kind === 'at most' ? '<=' : '>='} ${one.goal.value}`,
    one.met === null ? '' : one.met ? 'met' : 'NOT MET',
  ]);
  const table = [head, ...lines];
  const widths = head.map((_, column) => Math.max(...table.map((line) => line[column]?.length ?? 0)));
  const isNumber = (column: number): boolean => column === 1 || column === 2 || column === 4;
  return table
    .map((line) =>
      line
        .map((cell, column) =>
          isNumber(column) ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0),
        )
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

function amount({ value, unit }: Side): string {
  return `${digits(value)} ${unit}`;
}

function result({ value, comparison, own }: Row): string {
  if (comparison === 'value') return `${digits(value)} ${own.unit}`;
  if (comparison === 'difference') return `${value < 0 ? '' : '+'}${digits(value)} ${own.unit}`;
  return comparison === 'ratio' ? `${value.toFixed(2)} x` : `${value.toFixed(2)} x as fast`;
}

/** Three significant digits. */
function digits(value: number): string {
  const size = Math.abs(value);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2);
}
