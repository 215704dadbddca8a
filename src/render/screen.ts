// A report drawn over the previous one: `--watch` on a terminal.

import { count } from './style.ts';

/** The size of a terminal in characters. */
export interface ScreenSize {
  readonly columns: number;
  readonly rows: number;
}

const HOME = '\u001b[H';
const CLEAR_REST_OF_LINE = '\u001b[K';
const CLEAR_BELOW = '\u001b[J';

/** Scrolls the current screen up into the scroll-back buffer. */
export function renderScrollOut({ rows }: ScreenSize): string {
  return '\n'.repeat(rows);
}

/**
 * The text as a whole screen. It is drawn over the old one line by line, so that nothing flickers. The last line counts
 * the lines that do not fit. The process may end at any time without cleaning up: the cursor is never hidden, and stays
 * below the text.
 */
export function renderScreen(text: string, size: ScreenSize): string {
  const lines = text.split('\n').slice(0, -1);
  // The last row is for the cursor.
  const shown = fitting(lines, size.columns, size.rows - 1);
  if (shown < lines.length) {
    const kept = fitting(lines, size.columns, size.rows - 2);
    const rest = `... ${count(lines.length - kept, 'more line')}: narrow it down by --bridge, --port, --ip or --mac`;
    lines.splice(kept, Number.POSITIVE_INFINITY, rest.slice(0, size.columns));
  }
  return `${HOME}${lines.map((line) => `${line}${CLEAR_REST_OF_LINE}\n`).join('')}${CLEAR_BELOW}`;
}

/** How many of the lines fit into the rows. A line longer than a row takes several. */
function fitting(lines: readonly string[], columns: number, rows: number): number {
  let left = rows;
  const end = lines.findIndex((line) => {
    left -= Math.max(1, Math.ceil(visibleLength(line) / columns));
    return left < 0;
  });
  return end < 0 ? lines.length : end;
}

/** The text without color codes. */
function visibleLength(line: string): number {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the pattern is for an escape code.
  return line.replaceAll(/\u001b\[\d*m/g, '').length;
}
