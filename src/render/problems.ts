// Errors that ended a command -> lines for stderr.

import type { Problem } from '../base/errors.ts';
import type { ReconcileReport } from '../core/report.ts';
import { joinLines, printable } from './style.ts';

/** One line each; what is wrong with a configuration begins with its place, so that editors can go there. */
export function renderProblems(problems: readonly Problem[]): string {
  return joinLines(
    problems.map(({ code, message }) => {
      const line = message.split('\n').map(printable).join('\n');
      return code === 'config_invalid' ? line : `snoopy: ${line}`;
    }),
  );
}

/** What keeps nothing from being done. */
export function renderWarning(message: string): string {
  return joinLines([`snoopy: warning: ${printable(message)}`]);
}

/** What failed, a line each: the errors of a report, and the messages of its steps and neighbor changes. */
export function renderFailures(
  report: Pick<ReconcileReport, 'errors'> & Partial<Pick<ReconcileReport, 'steps' | 'neighbors'>>,
): string {
  const { errors, steps = [], neighbors } = report;
  const outcomes = [...steps, ...(neighbors?.changes ?? [])].map(({ outcome }) => outcome);
  const failed = outcomes.flatMap((outcome) => (outcome.kind === 'failed' ? [outcome.message] : []));
  const told = new Set(errors.map(({ message }) => message));
  const untold = [...new Set(failed)].filter((message) => !told.has(message));
  return renderProblems(errors) + joinLines(untold.map((message) => `snoopy: ${printable(message)}`));
}
