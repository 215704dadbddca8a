// The reports of `reconcile` and `remove` -> text: one line when there is nothing to report.

import { formatProblem, type Problem } from '../base/errors.ts';
import type { ActionSummary } from '../core/actions.ts';
import type { BridgeReport, Outcome, ReconcileReport, RemoveReport, Step } from '../core/report.ts';
import type { Warning } from '../core/warning.ts';
import { changeRows, describeAction, diffLines } from './changes.ts';
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
import { formatWarning } from './warnings.ts';

/** The report of a reconcile run as text. */
export function renderReconcile(report: ReconcileReport, options: RenderOptions): string {
  const lines = renderChanges(report, report.warnings, options);
  if (options.verbose) lines.push(...renderFigures(report));
  lines.push(
    renderSummary(describeScope(report), report, report.warnings.length, options, describeSent(report)),
  );
  return joinLines(lines);
}

/** True when the text would only be that there was nothing to do. */
export function hasNothingToSay({ ok, steps, neighbors, warnings }: ReconcileReport): boolean {
  // A bridge may be left out on purpose, so that this warning alone is no news.
  const news = warnings.filter(({ kind }) => kind !== 'unnamed');
  return ok && steps.length === 0 && neighbors.changes.length === 0 && news.length === 0;
}

/** The report of a removal as text. */
export function renderRemove(report: RemoveReport, options: RenderOptions): string {
  return joinLines([...renderChanges(report, [], options), renderSummary('snoopy', report, 0, options)]);
}

type Changes = Pick<ReconcileReport, 'steps' | 'neighbors' | 'remaining' | 'errors' | 'check'>;

function renderChanges(report: Changes, warnings: readonly Warning[], options: RenderOptions): string[] {
  const { steps, neighbors } = report;
  const rows = [...changeRows(steps, neighbors.changes, options), ...troubleRows(report, warnings)];
  const diff = options.diff ? diffLines(steps, neighbors.changes, options) : [];
  return [...diff, ...alignRows(rows, options.color)];
}

/** Rows for problems and due steps that have no row among the changes. */
function troubleRows(report: Changes, warnings: readonly Warning[]): Row[] {
  const rows: Row[] = warnings.map((warning) => ({
    tone: 'notable',
    cells: ['warning', formatWarning(warning)],
  }));
  const shown = new Set(report.errors.length === 0 ? [] : failuresOf(report));
  for (const message of report.errors.map(formatProblem).filter((text) => !shown.has(text))) {
    rows.push({ tone: 'bad', cells: ['error', message] });
  }
  if (report.check) return rows;
  const failed = new Set(report.steps.filter(isFailed).map(({ action }) => describeAction(action)));
  for (const action of report.remaining.map(describeAction).filter((text) => !failed.has(text))) {
    rows.push({ tone: 'notable', cells: ['still due', action] });
  }
  return rows;
}

function isFailed({ outcome }: Step): boolean {
  return outcome.kind === 'failed';
}

function failuresOf({ steps, neighbors }: Changes): string[] {
  return [...steps, ...neighbors.changes].flatMap(({ outcome }) =>
    outcome.kind === 'failed' ? [outcome.message] : [],
  );
}

/** The number of each kind. */
function tally(items: readonly { readonly outcome: Outcome }[]): Record<Outcome['kind'], number> {
  const numbers = { planned: 0, applied: 0, skipped: 0, failed: 0 };
  for (const { outcome } of items) numbers[outcome.kind] += 1;
  return numbers;
}

/** `2 bridges (1 absent: vmbr9), 5 ports, 12 neighbors` */
function describeScope({ bridges, neighbors }: ReconcileReport): string {
  const absent = bridges.filter(({ present }) => !present).map(({ name }) => name);
  const missing = absent.length === 0 ? '' : ` (absent: ${absent.join(', ')})`;
  const ports = bridges.reduce((sum: number, bridge: BridgeReport) => sum + bridge.ports.length, 0);
  return `${count(bridges.length, 'bridge')}${missing}, ${count(ports, 'port')}, ${count(neighbors.total, 'neighbor')}`;
}

/** What a run has sent to hosts: the result of a run that changes nothing otherwise. */
function describeSent({ probes, hints, confirms, announcements, frr }: ReconcileReport): string[] {
  const probed = probes.sent + hints.probed + confirms.sent;
  return [
    ...(probed > 0 ? [`${count(probed, 'probe')} sent`] : []),
    ...(announcements.sent > 0 ? [`${count(announcements.sent, 'announcement')} sent`] : []),
    ...(frr.renewed > 0 ? [`${count(frr.renewed, 'neighbor')} written anew for zebra`] : []),
  ];
}

function renderSummary(
  scope: string,
  report: Changes,
  warnings: number,
  options: RenderOptions,
  sent: readonly string[] = [],
): string {
  const ofSteps = tally(report.steps);
  const ofChanges = tally(report.neighbors.changes);
  const failures = ofSteps.failed + ofChanges.failed;
  const problems = Math.max(failures, countErrors(report.errors, report.remaining, report.check));
  const skipped = ofSteps.skipped + ofChanges.skipped;
  const steps = ofSteps.applied + ofSteps.planned;
  const changes = ofChanges.applied + ofChanges.planned;
  const state = report.check ? 'due' : 'done';
  const parts: string[] = [];
  if (steps > 0) parts.push(`${count(steps, 'step')} ${state}`);
  if (changes > 0) parts.push(`${count(changes, 'neighbor change')} ${state}`);
  parts.push(...sent);
  if (skipped > 0) parts.push(`${skipped} skipped`);
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

function renderFigures({
  ring,
  counters,
  probes,
  announcements,
  confirms,
  hints,
}: ReconcileReport): string[] {
  const { sightings, created, moved, duplicates, ignored, rejected } = counters;
  const hinted = `${count(hints.probed, 'hint')} probed, ${hints.learned} learned`;
  const owners = `${count(confirms.sent, 'owner')} probed, ${confirms.answered} answered`;
  const sent = `${count(probes.sent, 'probe')} and ${count(announcements.sent, 'announcement')} sent`;
  return [
    `ring: ${count(ring.records, 'record')} read, ${ring.dropped} dropped; ${sent}; ${owners}; ${hinted}`,
    `seen: ${count(sightings, 'sighting')}, ${created} new, ${moved} moved, ${duplicates} frozen, ${ignored} ignored, ${count(counters.hints, 'hint')}`,
    `rejected: ${formatTally(rejected)}`,
  ];
}
