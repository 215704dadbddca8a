// The report of `audit` -> text: a summary, then what is wrong, each with its node and the command that looks further.

import { some } from '../base/text.ts';
import { formatAge } from '../base/units.ts';
import type { AuditReport } from '../core/audit/audit.ts';
import type { Changes, Move } from '../core/audit/changes.ts';
import type { Finding } from '../core/audit/finding.ts';
import type { FindingStatus } from '../core/audit/wording.ts';
import { count, joinLines, paint, printable, type RenderOptions, type Tone, wrap } from './style.ts';

const TONES: Readonly<Record<FindingStatus, Tone>> = { warning: 'notable', failure: 'bad' };
const STATUS_WIDTH = 'warning'.length;
const INDENT = ' '.repeat(STATUS_WIDTH + 2);
const WHY = 'why: ';
const NAME_WIDTH = 'wrong-next-hop'.length;
/** How many findings of one check are printed; --verbose prints all. */
const MOST = 10;
const MOST_MOVED = 5;
const FIXED = '  fixed  ';

/** The report of `audit` as text. Except for commands, lines fit the width of the terminal, as far as names allow. */
export function renderAudit(report: AuditReport, options: RenderOptions): string {
  const { findings, moving, again, changes } = report;
  const isNew = new Set(changes?.findings.new);
  return joinLines([
    ...wrap(summaryOf(report), options.width),
    ...renderFindings(findings, options, (finding) => (isNew.has(finding) ? ', new' : '')),
    ...(moving.length === 0 ? [] : renderMoving(moving, options)),
    ...(again.length === 0
      ? []
      : wrap(`Gather again to be sure: ${some(again.map(({ node }) => printable(node)))}.`, options.width)),
    ...(changes === undefined ? [] : renderChanges(changes, options)),
    resultOf(report, options),
  ]);
}

function summaryOf({ nodes, vnis, addresses, from, to }: AuditReport): string {
  const reports = count(nodes, 'node');
  const span = from === null || to === null ? '' : `, reported within ${formatAge(to - from)}`;
  return `${reports}${span}: ${count(addresses, 'address', 'addresses')} in ${count(vnis, 'VNI')}`;
}

function resultOf({ ok, findings, moving, errors }: AuditReport, { color }: RenderOptions): string {
  const number = (status: FindingStatus): number => findings.filter((one) => one.status === status).length;
  const parts = [
    count(number('failure'), 'failure'),
    count(number('warning'), 'warning'),
    `${moving.length} in motion`,
    ...(errors.length === 0 ? [] : [count(errors.length, 'error')]),
  ];
  return paint(parts.join(', '), ok ? 'good' : 'bad', color);
}

function renderFindings(
  findings: readonly Finding[],
  options: RenderOptions,
  noteOf: (finding: Finding) => string,
): string[] {
  const shown = new Map<string, number>();
  const lines = findings.flatMap((finding) => {
    const before = shown.get(finding.id) ?? 0;
    shown.set(finding.id, before + 1);
    if (before >= MOST && !options.verbose) return [];
    return renderFinding(finding, noteOf(finding), before === 0, options);
  });
  const hidden = [...shown].filter(([, number]) => number > MOST && !options.verbose);
  return [
    ...lines,
    ...hidden.map(([id, number]) => `${INDENT}${number - MOST} more ${id}: --verbose prints them`),
  ];
}

/** Why it matters is printed once for each check. The command is one line, however long, so that it can be copied. */
function renderFinding(
  { id, status, found, why, look }: Finding,
  note: string,
  isFirst: boolean,
  { color, width }: RenderOptions,
): string[] {
  const name = `${id}${note}`.padEnd(NAME_WIDTH);
  const head = `${paint(status, TONES[status], color)}${' '.repeat(STATUS_WIDTH - status.length)}  ${name}  `;
  const column = STATUS_WIDTH + 2 + name.length + 2;
  const [first = '', ...rest] = wrap(printable(found), width - column);
  const reason = isFirst ? wrap(why, width - INDENT.length - WHY.length) : [];
  return [
    head + first,
    ...rest.map((line) => ' '.repeat(column) + line),
    ...reason.map(
      (line, i) => INDENT + paint(`${i === 0 ? WHY : ' '.repeat(WHY.length)}${line}`, 'quiet', color),
    ),
    `${INDENT}${paint(`on ${printable(look.node)}:`, TONES[status], color)} ${printable(look.command)}`,
  ];
}

function renderMoving(moving: readonly Finding[], { color, width, verbose }: RenderOptions): string[] {
  const shown = verbose ? moving : moving.slice(0, MOST);
  return [
    ...wrap('In motion: younger than the time between the reports; no proof of a fault.', width),
    ...shown.flatMap(({ id, found }) =>
      wrap(`${id}: ${printable(found)}`, width - 2).map((line) => `  ${paint(line, 'quiet', color)}`),
    ),
    ...(shown.length < moving.length
      ? [`  ${moving.length - shown.length} more: --verbose prints them`]
      : []),
  ];
}

function renderChanges({ findings, nodes, addresses }: Changes, { width, color }: RenderOptions): string[] {
  const { moved } = addresses;
  const named = (word: string, names: readonly string[]): string[] =>
    names.length === 0 ? [] : wrap(`  ${word}: ${printable(some(names))}`, width);
  return [
    `Since then: ${count(findings.new.length, 'new finding')}, ${findings.fixed.length} fixed; ` +
      `${addresses.new} addresses new, ${addresses.gone} gone, ${moved.length} moved`,
    ...named('new nodes', nodes.new),
    ...named('nodes without a report now', nodes.gone),
    ...findings.fixed.slice(0, MOST).flatMap(({ id, found }) => {
      const [first = '', ...rest] = wrap(`${id}: ${printable(found)}`, width - FIXED.length);
      return [
        `${paint('  fixed', 'good', color)}  ${first}`,
        ...rest.map((line) => ' '.repeat(FIXED.length) + line),
      ];
    }),
    ...(findings.fixed.length > MOST ? [`  ${findings.fixed.length - MOST} more fixed`] : []),
    ...moved.slice(0, MOST_MOVED).map(describeMove),
    ...(moved.length > MOST_MOVED ? [`  ${moved.length - MOST_MOVED} more moved`] : []),
  ];
}

function describeMove({ vni, ip, from, to }: Move): string {
  return `  moved  ${ip} of VNI ${vni}: ${printable(from.node)} (${from.mac}) -> ${printable(to.node)} (${to.mac})`;
}
