// Problems and warnings -> lines for stderr.

import { formatProblem, type Problem } from '../base/errors.ts';
import type { ReconcileReport } from '../core/report.ts';
import type { Warning } from '../core/warning.ts';
import { joinLines, printable } from './style.ts';
import { formatWarning } from './warnings.ts';

/** One line for each problem. A problem of a configuration begins with its place, so that editors can jump there. */
export function renderProblems(problems: readonly Problem[]): string {
  return joinLines(
    problems.map((problem) => {
      const text = formatProblem(problem).split('\n').map(printable).join('\n');
      return problem.code === 'config_invalid' ? text : `snoopy: ${text}`;
    }),
  );
}

/** A warning as a line of its own. */
export function renderWarning(warning: Warning): string {
  return joinLines([`snoopy: warning: ${printable(formatWarning(warning))}`]);
}

/** What failed, a line each: the errors of a report, and the messages of its steps and neighbor changes. */
export function renderFailures(
  report: Pick<ReconcileReport, 'errors'> & Partial<Pick<ReconcileReport, 'steps' | 'neighbors'>>,
): string {
  const { errors, steps = [], neighbors } = report;
  const outcomes = [...steps, ...(neighbors?.changes ?? [])].map(({ outcome }) => outcome);
  const failed = outcomes.flatMap((outcome) => (outcome.kind === 'failed' ? [outcome.message] : []));
  const reported = new Set(errors.map(formatProblem));
  const others = [...new Set(failed)].filter((message) => !reported.has(message));
  return renderProblems(errors) + joinLines(others.map((message) => `snoopy: ${printable(message)}`));
}
