// What is wrong with single nodes: no report, no run, problems, limits, an old version. Pure.

import { groupBy } from '../../base/group.ts';
import type { AuditedNode, Fabric } from './collection.ts';
import { finding, type Sighted, settled } from './finding.ts';
import type { FindingId } from './wording.ts';
import { FOUND, LOOK } from './wording.ts';

/** Longer than any interval that the documentation recommends, in seconds; as doctor has it. */
const LATE = 300;

export function checkNodes({ nodes, missing }: Fabric): Sighted[] {
  const times = nodes.map(({ at }) => at).sort((a, b) => a - b);
  const silent = [...missing].sort(byName).map(({ name, message }) => {
    const draft = { nodes: [name], found: FOUND['no-report']({ node: name, message }) };
    return settled(finding('no-report', { ...draft, look: { node: name, command: LOOK.report } }));
  });
  const reported = [...nodes].sort(byName).flatMap((node) => checkNode(node, usualFor(node, times)));
  return [...silent, ...reported, ...checkVersions(nodes)];
}

/**
 * When most other reports were made. One wrong clock does not move it, as it would move the newest time; of two nodes either
 * clock may be the wrong one.
 */
function usualFor({ at }: AuditedNode, sorted: readonly number[]): number {
  const [first = at, second = at] = sorted;
  if (sorted.length === 2) return first + second - at;
  return sorted[Math.floor(sorted.length / 2)] ?? at;
}

function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  return a.name < b.name ? -1 : 1;
}

/** `usual`: when most other reports were made. */
function checkNode(node: AuditedNode, usual: number): Sighted[] {
  const { name, at, succeededAt, frrMessage, isOk, messages, limited, dropped } = node;
  const found: Sighted[] = [];
  const add = (id: FindingId, words: string, command: string): void => {
    found.push(settled(finding(id, { nodes: [name], found: words, look: { node: name, command } })));
  };
  if (frrMessage !== null) add('no-frr', FOUND['no-frr']({ node: name, message: frrMessage }), LOOK.doctor);
  const age = succeededAt === null ? null : at - succeededAt;
  if (age === null || age > LATE) add('not-run', FOUND['not-run']({ node: name, age }), LOOK.timer);
  if (!isOk) add('problem', FOUND.problem({ node: name, messages }), LOOK.doctor);
  if (Math.abs(at - usual) > LATE)
    add('old-report', FOUND['old-report']({ node: name, ahead: at - usual }), LOOK.clock);
  if (limited.length > 0) add('limits', FOUND.limits({ node: name, ports: limited }), LOOK.status);
  if (dropped > 0) add('ring', FOUND.ring({ node: name, dropped }), LOOK.doctor);
  return found;
}

/** A finding for each version but the newest. */
function checkVersions(nodes: readonly AuditedNode[]): Sighted[] {
  const groups = [...groupBy(nodes, ({ version }) => version)].sort(([a], [b]) => compareVersions(b, a));
  const [[newest] = [''], ...older] = groups;
  return older.map(([version, group]) => {
    const names = group.map(({ name }) => name).sort();
    const look = { node: names[0] ?? '', command: 'snoopy --version' };
    return settled(
      finding('behind', { nodes: names, found: FOUND.behind({ version, newest, nodes: names }), look }),
    );
  });
}

/** By number, part by part; what is no number by text, and before a version without it: 1.0.0-rc.1 is before 1.0.0. */
function compareVersions(a: string, b: string): number {
  const [left, right] = [a, b].map((version) => version.split(/[.+~-]/));
  for (let i = 0; i < Math.max(left?.length ?? 0, right?.length ?? 0); i++) {
    const [one = '', other = ''] = [left?.[i], right?.[i]];
    if (one === other) continue;
    const difference = Number(one) - Number(other);
    if (Number.isNaN(difference)) return other === '' || (one !== '' && one < other) ? -1 : 1;
    if (difference !== 0) return difference;
  }
  return 0;
}
