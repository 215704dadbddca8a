// The report of `doctor` -> text: a line for each check, and below a complaint why it matters and what mends it.

import type { Check, CheckStatus } from '../core/doctor/check.ts';
import type { DoctorReport } from '../core/doctor/diagnose.ts';
import { alignRows, count, joinLines, paint, printable, type RenderOptions, type Tone } from './style.ts';

const TONES: Readonly<Record<CheckStatus, Tone>> = { ok: 'good', warning: 'notable', failure: 'bad' };
const INDENT = ' '.repeat('warning'.length + 2);

/** The report of `doctor` as text. */
export function renderDoctor({ checks }: DoctorReport, options: RenderOptions): string {
  const rows = checks.map(({ id, status, subject, found }) => ({
    tone: TONES[status],
    cells: [status, subject === null ? id : `${id} ${subject}`, found],
  }));
  const heads = alignRows(rows, options.color);
  const lines = checks.flatMap((check, i) => [heads[i] ?? '', ...renderRemedy(check, options)]);
  return joinLines([...lines, summaryOf(checks)]);
}

function renderRemedy({ why, remedy, status }: Check, { color }: RenderOptions): string[] {
  if (remedy === null) return [];
  return [
    `${INDENT}${paint(`why: ${why}`, 'quiet', color)}`,
    `${INDENT}${paint('do:', TONES[status], color)}  ${printable(remedy)}`,
  ];
}

function summaryOf(checks: readonly Check[]): string {
  const number = (status: CheckStatus): number => checks.filter((check) => check.status === status).length;
  return `${count(number('failure'), 'failure')}, ${count(number('warning'), 'warning')}, ${number('ok')} ok`;
}
