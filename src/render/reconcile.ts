// The reports of `reconcile` and `remove` -> text: one line when there is nothing to say.

import type { Problem } from '../base/errors.ts';
import type { ActionSummary } from '../core/actions.ts';
import type {
  BridgeReport,
  NeighborChangeReport,
  Outcome,
  ReconcileReport,
  RemoveReport,
  Step,
} from '../core/report.ts';
import { describeAction, renderNeighbors, renderSteps } from './changes.ts';
import {
  alignRows,
  count,
  formatTally,
  joinLines,
  paint,
  printable,
  type RenderOptions,
  type Row,
} from './style.ts';

/** The report of a reconcile run as text. */
export function renderReconcile(report: ReconcileReport, options: RenderOptions): string {
  const lines = [
    ...renderSteps(report.steps, options),
    ...renderNeighbors(report.neighbors.changes, options),
    ...renderTrouble(report, report.warnings, options),
  ];
  if (options.verbose) lines.push(...renderFigures(report));
  lines.push(renderSummary(describeScope(report), report, report.warnings.length, options));
  return joinLines(lines);
}

/** The report of a removal as text. */
export function renderRemove(report: RemoveReport, options: RenderOptions): string {
  return joinLines([
    ...renderSteps(report.steps, options),
    ...renderNeighbors(report.neighbors.changes, options),
    ...renderTrouble(report, [], options),
    renderSummary('snoopy', report, 0, options),
  ]);
}

type Changes = Pick<ReconcileReport, 'steps' | 'neighbors' | 'remaining' | 'errors' | 'check'>;

/** What went wrong, or is still due, and has no line of its own among the changes. */
function renderTrouble(report: Changes, warnings: readonly string[], options: RenderOptions): string[] {
  const rows: Row[] = warnings.map((warning) => ({ tone: 'notable', cells: ['warning', warning] }));
  const told = new Set(
    outcomesOf(report).flatMap((outcome) => (outcome.kind === 'failed' ? [outcome.message] : [])),
  );
  for (const { message } of report.errors.filter((error) => !told.has(error.message))) {
    rows.push({ tone: 'bad', cells: ['error', message] });
  }
  if (!report.check) {
    const failed = new Set(report.steps.filter(isFailed).map(({ action }) => describeAction(action)));
    for (const action of report.remaining.map(describeAction).filter((text) => !failed.has(text))) {
      rows.push({ tone: 'notable', cells: ['still due', action] });
    }
  }
  return alignRows(rows, options.color);
}

function isFailed({ outcome }: Step | NeighborChangeReport): boolean {
  return outcome.kind === 'failed';
}

function outcomesOf({ steps, neighbors }: Pick<Changes, 'steps' | 'neighbors'>): readonly Outcome[] {
  return [...steps, ...neighbors.changes].map(({ outcome }) => outcome);
}

/** `2 bridges (1 absent: vmbr9), 5 ports, 12 neighbors` */
function describeScope({ bridges, neighbors }: ReconcileReport): string {
  const absent = bridges.filter(({ present }) => !present).map(({ name }) => name);
  const missing = absent.length === 0 ? '' : ` (absent: ${absent.join(', ')})`;
  const ports = bridges.reduce((sum: number, bridge: BridgeReport) => sum + bridge.ports.length, 0);
  return `${count(bridges.length, 'bridge')}${missing}, ${count(ports, 'port')}, ${count(neighbors.total, 'neighbor')}`;
}

function renderSummary(scope: string, report: Changes, warnings: number, options: RenderOptions): string {
  const outcomes = outcomesOf(report);
  const failures = outcomes.filter(({ kind }) => kind === 'failed').length;
  const problems = Math.max(failures, countErrors(report.errors, report.remaining, report.check));
  const parts: string[] = [];
  const steps = count(report.steps.filter(({ outcome }) => isDone(outcome)).length, 'step');
  const changes = count(
    report.neighbors.changes.filter(({ outcome }) => isDone(outcome)).length,
    'neighbor change',
  );
  if (report.steps.length > 0) parts.push(report.check ? `${steps} due` : `${steps} done`);
  if (report.neighbors.changes.length > 0) parts.push(report.check ? `${changes} due` : `${changes} done`);
  if (problems > 0) parts.push(paint(count(problems, 'problem'), 'bad', options.color));
  else if (warnings > 0) parts.push(paint(count(warnings, 'warning'), 'notable', options.color));
  return `${printable(scope)}: ${parts.length === 0 ? 'nothing to do' : parts.join(', ')}`;
}

function countErrors(
  errors: readonly Problem[],
  remaining: readonly ActionSummary[],
  check: boolean,
): number {
  return Math.max(errors.length, check ? 0 : remaining.length);
}

function isDone(outcome: Outcome): boolean {
  return outcome.kind === 'applied' || outcome.kind === 'planned';
}

function renderFigures({ ring, counters }: ReconcileReport): string[] {
  const { sightings, created, moved, duplicates, ignored, rejected } = counters;
  return [
    `ring: ${count(ring.records, 'record')} read, ${ring.dropped} dropped`,
    `seen: ${count(sightings, 'sighting')}, ${created} new, ${moved} moved, ${duplicates} frozen, ${ignored} ignored`,
    `rejected: ${formatTally(rejected)}`,
  ];
}
