// Any report -> one JSON document.

import type { Problem } from '../base/errors.ts';

/** The report as JSON with an end of line. */
export function renderJson(report: object): string {
  return `${JSON.stringify(report, null, 2)}\n`;
}

/** The document that stands for a report when an error ended the command. */
export function errorReport(errors: readonly Problem[]): object {
  return { version: 1, ok: false, errors };
}
