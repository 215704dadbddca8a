// The report of `doctor` -> text: a line for each check, and below a problem why it matters and the fix.

import type { Check, CheckStatus } from '../core/doctor/check.ts';
import type { DoctorReport } from '../core/doctor/diagnose.ts';
import { count, joinLines, paint, printable, type RenderOptions, type Tone, wrap } from './style.ts';

const TONES: Readonly<Record<CheckStatus, Tone>> = { ok: 'good', warning: 'notable', failure: 'bad' };
const STATUS_WIDTH = 'warning'.length;
const WHY = 'why: ';
/** Beside a wider name the finding gets a line of its own. */
const MOST_NAME = 32;

/** The report of `doctor` as text. Except for a fix, lines fit the width of the terminal, as far as names allow. */
export function renderDoctor({ checks, proposal }: DoctorReport, options: RenderOptions): string {
  const nameOf = ({ id, subject }: Check): string => printable(subject === null ? id : `${id} ${subject}`);
  const names = checks.map((check) => nameOf(check).length).filter((length) => length <= MOST_NAME);
  const column = STATUS_WIDTH + 2 + Math.max(0, ...names) + 2;
  const lines = checks.flatMap((check) => [
    ...renderFound(check, nameOf(check), column, options),
    ...renderRemedy(check, options),
  ]);
  const begin =
    proposal === undefined
      ? []
      : ['', 'snoopy init --write creates this configuration:', '', ...proposal.trimEnd().split('\n')];
  return joinLines([...lines, summaryOf(checks), ...begin]);
}

function renderFound(
  { status, found }: Check,
  name: string,
  column: number,
  { color, width }: RenderOptions,
): string[] {
  const head = `${paint(status, TONES[status], color)}${' '.repeat(STATUS_WIDTH - status.length)}  ${name}`;
  const [first = '', ...rest] = wrap(printable(found), width - column);
  const gap = column - STATUS_WIDTH - 2 - name.length;
  const lines = gap > 0 ? [head + ' '.repeat(gap) + first] : [head, ' '.repeat(column) + first];
  return [...lines, ...rest.map((line) => ' '.repeat(column) + line)];
}

/** The fix is one line, however long, so that it can be copied. */
function renderRemedy({ why, remedy, status }: Check, { color, width }: RenderOptions): string[] {
  if (remedy === null) return [];
  const indent = ' '.repeat(STATUS_WIDTH + 2);
  const [first = '', ...rest] = wrap(why, width - indent.length - WHY.length);
  return [
    `${indent}${paint(WHY + first, 'quiet', color)}`,
    ...rest.map((line) => `${indent}${' '.repeat(WHY.length)}${paint(line, 'quiet', color)}`),
    `${indent}${paint('fix:', TONES[status], color)} ${printable(remedy)}`,
  ];
}

function summaryOf(checks: readonly Check[]): string {
  const number = (status: CheckStatus): number => checks.filter((check) => check.status === status).length;
  return `${count(number('failure'), 'failure')}, ${count(number('warning'), 'warning')}, ${number('ok')} ok`;
}
