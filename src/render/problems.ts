// Errors that ended a command -> lines for stderr.

import type { Problem } from '../base/errors.ts';
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
