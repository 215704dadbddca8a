// Colors, columns and counts: what all text reports share.

export interface RenderOptions {
  readonly color: boolean;
  /** Show what changes as - and + lines. */
  readonly diff: boolean;
  readonly verbose: boolean;
  /** Columns of the terminal. */
  readonly width: number;
}

export type Tone = 'good' | 'notable' | 'bad' | 'quiet' | 'plain';

const CODES: Readonly<Record<Tone, string>> = {
  good: '\u001b[32m',
  notable: '\u001b[33m',
  bad: '\u001b[31m',
  quiet: '\u001b[2m',
  plain: '',
};

/** The text in a tone; unchanged without colors. */
export function paint(text: string, tone: Tone, color: boolean): string {
  return color && tone !== 'plain' && text !== '' ? `${CODES[tone]}${text}\u001b[0m` : text;
}

/** A line of a table; its first cell carries the tone. */
export interface Row {
  readonly tone: Tone;
  readonly cells: readonly string[];
}

/** Rows as lines with aligned columns. */
export function alignRows(rows: readonly Row[], color: boolean): string[] {
  const widths: number[] = [];
  for (const { cells } of rows) {
    for (const [column, cell] of cells.entries()) {
      // The last cell of a row needs no padding.
      if (column < cells.length - 1) widths[column] = Math.max(widths[column] ?? 0, printable(cell).length);
    }
  }
  return rows.map(({ tone, cells }) => {
    const padded = cells.map((cell, column) => printable(cell).padEnd(widths[column] ?? 0));
    const [first = '', ...rest] = padded;
    const line = [first, ...rest].join('  ').trimEnd();
    const head = first.trimEnd();
    return paint(head, tone, color) + line.slice(head.length);
  });
}

/** The text without control characters: a name may contain any, and a terminal obeys them. */
export function printable(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, '?');
}

/** `1 port`, `2 ports` */
export function count(number: number, noun: string, plural: string = `${noun}s`): string {
  return `${number} ${number === 1 ? noun : plural}`;
}

/** The counts that are not zero: `3 spoofed, 1 subnet`; `none` when all are. */
export function formatTally(tally: Readonly<Record<string, number>>): string {
  const parts = Object.entries(tally).filter(([, number]) => number !== 0);
  return parts.length === 0 ? 'none' : parts.map(([name, number]) => `${number} ${name}`).join(', ');
}

/** Lines as a text; empty for no lines. */
export function joinLines(lines: readonly string[]): string {
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`;
}

/** A text in lines of at most `width` characters, broken between words; no line for an empty text. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ').filter((each) => each !== '')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width)
      lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}
