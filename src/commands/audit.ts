// Compares the reports of many nodes. Needs no root, no kernel and no configuration.

import { resolve } from 'node:path';
import { problemOf } from '../base/errors.ts';
import { type AuditReport, audit } from '../core/audit/audit.ts';
import { Collection } from '../core/audit/collection.ts';
import { readDocument } from '../core/audit/document.ts';
import { readDocuments } from '../host/documents.ts';
import { replaceTextfile } from '../host/textfile.ts';
import { renderAuditMetrics } from '../render/audit-metrics.ts';
import type { Environment } from './environment.ts';

export interface AuditOptions {
  /** Files and directories of reports; none: standard input. */
  readonly paths: readonly string[];
  /** A file or directory of earlier reports to compare with; null: none. */
  readonly since: string | null;
  /** In how many milliseconds a change reaches all nodes, with the differences of their clocks. */
  readonly settleMs: number;
  /** Path of a Prometheus textfile, from the working directory; null: none. */
  readonly textfile: string | null;
}

/** Throws SnoopyError `syscall_failed` for a path that cannot be read. A textfile that cannot be written is an error of the report. */
export function runAudit(
  { paths, since, settleMs, textfile }: AuditOptions,
  { users, wallClock }: Pick<Environment, 'users' | 'wallClock'>,
): AuditReport {
  const reports = collect(paths);
  const report = audit(reports, settleMs / 1000, since === null ? undefined : collect([since]));
  if (textfile === null) return report;
  const path = resolve(textfile);
  try {
    replaceTextfile(path, renderAuditMetrics(report, wallClock() / 1000), users);
    return report;
  } catch (thrown) {
    return { ...report, ok: false, errors: [problemOf(thrown, path)] };
  }
}

function collect(paths: readonly string[]): Collection {
  const collection = new Collection();
  for (const { source, value, message = 'no report, or no JSON' } of readDocuments(paths))
    collection.add(value === undefined ? { name: source, message } : readDocument(value, source));
  return collection;
}
