// The audit: the reports of many nodes -> what is wrong with the fabric as a whole. Pure.

import type { Problem } from '../../base/errors.ts';
import { ensure } from '../../base/group.ts';
import { type Audited, type Changes, changesOf } from './changes.ts';
import { advertised, type Collection, type Fabric } from './collection.ts';
import type { Again, Finding, Sighted } from './finding.ts';
import { checkConflicts, checkFrozen } from './frozen.ts';
import { checkNodes } from './nodes.ts';
import { checkOwners } from './owners.ts';
import { checkRoutes } from './routes.ts';
import { checkVnis } from './vnis.ts';
import { FINDING_IDS } from './wording.ts';

/** What `audit --format json` prints. */
export interface AuditReport {
  readonly version: 1;
  /** False when there is a failure or an error; warnings and what is in motion are none. */
  readonly ok: boolean;
  /** Nodes with a report. */
  readonly nodes: number;
  readonly vnis: number;
  /** Addresses that are advertised; one in several VNIs counts in each. */
  readonly addresses: number;
  /** When the reports were made, in seconds since the epoch; null without a report. */
  readonly from: number | null;
  readonly to: number | null;
  /** The heaviest first. */
  readonly findings: readonly Finding[];
  /** What may be nothing but a change that was under way. */
  readonly moving: readonly Finding[];
  /** The nodes whose reports, made again, decide what is moving or not listed. */
  readonly again: readonly Again[];
  /** Only with --since. */
  readonly changes?: Changes;
  /** What the audit itself could not do. */
  readonly errors: readonly Problem[];
}

/** `settle`: in how many seconds a change reaches all nodes, with the differences of their clocks. `old`: for --since. */
export function audit(collection: Collection, settle: number, old?: Collection): AuditReport {
  const fabric = collection.fabric();
  const before = old === undefined ? undefined : look(old.fabric(fabric), settle);
  const earlier = collection.earlierFabric(fabric);
  const known = [before, earlier === undefined ? undefined : look(earlier, settle)];
  const sighted = known.reduce(
    (all, one) => (one === undefined ? all : confirm(all, fabric, one, settle)),
    look(fabric, settle).sighted,
  );
  const findings = sighted.filter(({ isMoving }) => !isMoving).map(({ finding }) => finding);
  const times = fabric.nodes.map(({ at }) => at);
  const tables = [...fabric.claims.values()];
  const addresses = tables.reduce(
    (sum, table) => sum + [...table.values()].filter((claims) => advertised(claims).length > 0).length,
    0,
  );
  return {
    version: 1,
    ok: findings.every(({ status }) => status !== 'failure'),
    nodes: fabric.nodes.length,
    vnis: new Set(fabric.nodes.flatMap(({ vnis }) => vnis.map(({ vni }) => vni))).size,
    addresses,
    from: extreme(times, Math.min),
    to: extreme(times, Math.max),
    findings,
    moving: sighted.filter(({ isMoving }) => isMoving).map(({ finding }) => finding),
    again: mergeAgain(sighted),
    ...(before === undefined ? {} : { changes: changesOf(before, { fabric, findings }) }),
    errors: [],
  };
}

/** The first or the last of them. A call has a limit of arguments, reports have none. */
function extreme(times: readonly number[], of: (a: number, b: number) => number): number | null {
  return times.length === 0 ? null : times.reduce((found, time) => of(found, time));
}

/** A fabric, and what was found in it. */
interface Looked extends Audited {
  readonly sighted: readonly Sighted[];
}

function look(fabric: Fabric, settle: number): Looked {
  const sighted = examine(fabric, settle);
  const findings = sighted.flatMap(({ finding, isMoving }) => (isMoving ? [] : [finding]));
  return { fabric, sighted, findings };
}

/**
 * What is in motion, and was so in earlier reports already, is no coincidence: unless it has come since, each time anew. The
 * order in which nodes are asked is mostly the same, and leaves the same things open each time. All earlier reports of the nodes
 * that it is about must be older than the newest ones: a report does not confirm what it says itself.
 */
function confirm(
  sighted: readonly Sighted[],
  now: Fabric,
  before: Looked,
  settle: number,
): readonly Sighted[] {
  const first = before.fabric.nodes.reduce((least, { at }) => Math.min(least, at), Number.POSITIVE_INFINITY);
  const wasSeen = seenIn(before.sighted.map(({ finding }) => finding));
  const [earlier, newest] = [timesOf(before.fabric), timesOf(now)];
  const isAnew = ({ again = [] }: Sighted): boolean => {
    const last = again.reduce(
      (latest, { node }) => Math.max(latest, earlier.get(node) ?? Number.POSITIVE_INFINITY),
      Number.NEGATIVE_INFINITY,
    );
    return again.every(({ node }) => last < (newest.get(node) ?? last));
  };
  return sighted.map((one) => {
    const isOld = one.isMoving && one.since !== undefined && first - one.since > settle;
    const isConfirmed = isOld && isAnew(one) && wasSeen(one.finding);
    return isConfirmed ? { ...one, isMoving: false } : one;
  });
}

function timesOf({ nodes }: Fabric): ReadonlyMap<string, number> {
  return new Map(nodes.map(({ name, at }) => [name, at]));
}

/**
 * Returns whether a finding is about nothing new: every address of it at every node of it is in one of `findings`. A finding may be
 * about tens of thousands of addresses at hundreds of nodes, so these are not multiplied: addresses that are in the same findings are
 * looked at once.
 */
function seenIn(findings: readonly Finding[]): (finding: Finding) => boolean {
  const about = new Map<string, number[]>();
  const at = new Map<string, Set<number>>();
  for (const [index, { id, vni, addresses, nodes }] of findings.entries()) {
    for (const ip of addresses) ensure(about, `${id} ${vni} ${ip}`, (): number[] => []).push(index);
    for (const node of nodes) ensure(at, node, () => new Set<number>()).add(index);
  }
  const shared = new Map<string, readonly number[]>();
  const indexes = new Map([...about].map(([key, list]) => [key, ensure(shared, list.join(), () => list)]));
  return ({ id, vni, addresses, nodes }) => {
    const different = new Set(addresses.map((ip) => indexes.get(`${id} ${vni} ${ip}`) ?? NOWHERE));
    return [...different].every((list) =>
      nodes.every((node) => list.some((index) => at.get(node)?.has(index) === true)),
    );
  };
}

const NOWHERE: readonly number[] = [];

function examine(fabric: Fabric, settle: number): Sighted[] {
  const { sighted, isContested } = checkOwners(fabric, settle);
  const all = [
    ...sighted,
    ...checkRoutes(fabric, isContested, settle),
    ...checkFrozen(fabric),
    ...checkConflicts(fabric),
    ...checkNodes(fabric),
    ...checkVnis(fabric),
  ];
  const weight = new Map(FINDING_IDS.map((id, place) => [id, place]));
  const weightOf = ({ finding }: Sighted): number => weight.get(finding.id) ?? 0;
  return all.sort((a, b) => weightOf(a) - weightOf(b));
}

/** The nodes of all of them, each once. */
function mergeAgain(sighted: readonly Sighted[]): Again[] {
  const details = new Map<string, Set<string>>();
  for (const { again = [] } of sighted)
    for (const one of again) {
      const known = ensure(details, one.node, () => new Set<string>());
      for (const place of one.details) known.add(place);
    }
  return [...details]
    .map(([node, places]) => ({ node, details: [...places].sort() }))
    .sort((a, b) => (a.node < b.node ? -1 : 1));
}
