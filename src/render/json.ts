// Any report -> one JSON document.

import { formatProblem, type Problem } from '../base/errors.ts';
import type { Warning } from '../core/warning.ts';
import { formatWarning } from './warnings.ts';

/** Any report. Its warnings and errors are data; the document has them as text. */
export interface Document {
  readonly version: 1;
  readonly warnings?: readonly Warning[];
  readonly errors?: readonly Problem[];
}

/** The report as a JSON document with an end of line. */
export function renderJson(report: Document): string {
  return `${JSON.stringify(inWords(report), null, 2)}\n`;
}

/** The same in one line, for a stream of reports. */
export function renderJsonLine(report: Document): string {
  return `${JSON.stringify(inWords(report))}\n`;
}

/** The document for a command that an error ended. */
export function errorReport(errors: readonly Problem[]): Document & { readonly ok: false } {
  return { version: 1, ok: false, errors };
}

function inWords(report: Document): object {
  const { warnings, errors } = report;
  return {
    ...report,
    ...(warnings === undefined ? {} : { warnings: warnings.map(formatWarning) }),
    ...(errors === undefined ? {} : { errors: errors.map(entryOf) }),
  };
}

/** `place`: a problem of a configuration has more keys, such as its line (see ConfigProblem). */
function entryOf(problem: Problem): object {
  const { code, object, operation, cause, fix, errno, details, ...place } = problem;
  return { code, object, message: formatProblem(problem), ...place };
}
