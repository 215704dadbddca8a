// A report that is drawn over the one before: `--watch` on a terminal.

import { count } from './style.ts';

/** Of a terminal, in characters. */
export interface ScreenSize {
  readonly columns: number;
  readonly rows: number;
}

const HOME = '\u001b[H';
const CLEAR_REST_OF_LINE = '\u001b[K';
const CLEAR_BELOW = '\u001b[J';

/** Moves what stands on the screen up and out, to where it can be scrolled back to. */
export function renderScrollOut({ rows }: ScreenSize): string {
  return '\n'.repeat(rows);
}

/**
 * The text as a whole screen, drawn over what is there line by line, so that nothing flickers. What the screen has
 * no room for is counted in the last line. Nothing is to be restored afterwards, however the process ends: the
 * cursor is never hidden, and stands below the text.
 */
export function renderScreen(text: string, size: ScreenSize): string {
  const lines = text.split('\n').slice(0, -1);
  // The last row is the cursor's.
  const shown = fitting(lines, size.columns, size.rows - 1);
  if (shown < lines.length) {
    const kept = fitting(lines, size.columns, size.rows - 2);
    const rest = `... ${count(lines.length - kept, 'more line')}: narrow it down by --bridge, --port, --ip or --mac`;
    lines.splice(kept, Number.POSITIVE_INFINITY, rest.slice(0, size.columns));
  }
  return `${HOME}${lines.map((line) => `${line}${CLEAR_REST_OF_LINE}\n`).join('')}${CLEAR_BELOW}`;
}

/** How many of the lines fit in so many rows, where one that is too long for a row takes more. */
function fitting(lines: readonly string[], columns: number, rows: number): number {
  let left = rows;
  const end = lines.findIndex((line) => {
    left -= Math.max(1, Math.ceil(visibleLength(line) / columns));
    return left < 0;
  });
  return end < 0 ? lines.length : end;
}

/** Without the codes that set colors. */
function visibleLength(line: string): number {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: an escape code is what is looked for.
  return line.replaceAll(/\u001b\[\d*m/g, '').length;
}
