// The reports of a fabric, reduced one by one so that memory does not grow with what they repeat. Pure.
//
// Almost all nodes have the same of one place: for each VNI and place there is one entry for each digest, with the nodes that
// reported it, and the addresses once, from whichever report lists them.

import type { IpAddress, Mac } from '../../base/address.ts';
import { ensure, groupBy } from '../../base/group.ts';
import { isAdvertised, type LocalState } from '../fabric-report.ts';
import {
  type NodeReport,
  type NoReport,
  type ReportedEntry,
  type ReportedGroup,
  readEntries,
} from './document.ts';
import type { Presence } from './motion.ts';
import { type Identity, sameNodes } from './same-nodes.ts';

/** A node, as its newest report has it. */
export interface AuditedNode
  extends Pick<
    NodeReport,
    'at' | 'routerId' | 'version' | 'succeededAt' | 'vnis' | 'lostVnis' | 'frrMessage' | 'isOk' | 'messages'
  > {
  /** Its position among all reports. */
  readonly index: number;
  readonly hostname: string;
  /** Its host name; with its router ID where several nodes have that name. */
  readonly name: string;
  readonly vteps: readonly string[];
  readonly frozen: NodeReport['frozen'];
  readonly conflicts: NodeReport['conflicts'];
  readonly dropped: number;
  readonly limited: readonly string[];
}

/** An address that a node has as its own. */
export interface Claim extends Presence {
  readonly vni: number;
  readonly ip: IpAddress;
  readonly mac: Mac;
  readonly state: LocalState;
  readonly place: string;
  readonly node: AuditedNode;
}

/** What nodes have of one place in one VNI, as one digest. */
export interface Variant {
  readonly digest: string;
  readonly count: number;
  /** Null: no report lists them. */
  readonly entries: readonly ReportedEntry[] | null;
  /** The time of the report that lists them with their ages: of one of the holders, and maybe an earlier one. */
  readonly listedAt: number;
  readonly holders: readonly Holder[];
}

export interface Holder {
  readonly node: AuditedNode;
  /** When its youngest entry came at the latest. */
  readonly youngest: number;
}

/** All that is known of a fabric. */
export interface Fabric {
  readonly nodes: readonly AuditedNode[];
  readonly missing: readonly NoReport[];
  /** By VNI and address: those that are advertised, and those that are frozen or inactive. */
  readonly claims: ReadonlyMap<number, ReadonlyMap<IpAddress, readonly Claim[]>>;
  /** By VNI and place. */
  readonly variants: ReadonlyMap<number, ReadonlyMap<string, readonly Variant[]>>;
}

interface Reduced {
  readonly count: number;
  entries: readonly ReportedEntry[] | null;
  /** The report that lists them. */
  source: number;
  readonly holders: number[];
  readonly youngest: number[];
}

interface Own {
  readonly vni: number;
  readonly place: string;
  readonly entries: readonly ReportedEntry[];
}

interface Missing {
  readonly messages: Set<string>;
  /** How many reports had been added when it was last missing. */
  after: number;
}

type Kept = Omit<NodeReport, 'local' | 'remote'> & { readonly local: readonly Own[] };

export class Collection {
  readonly #reports: Kept[] = [];
  /** Why there is no report, by node. */
  readonly #missing = new Map<string, Missing>();
  readonly #variants = new Map<number, Map<string, Map<string, Reduced>>>();

  /** Takes what the audit needs of a report, or that there is none. Several reports of one node: the newest counts. */
  add(report: NodeReport | NoReport): void {
    if ('message' in report) {
      this.#lack(report.name, report.message);
      return;
    }
    const { local, remote, ...rest } = report;
    const own: Own[] = [];
    for (const { vni, place, entries } of local) {
      const read = entries === null ? undefined : readEntries(entries);
      if (read === undefined) {
        this.#lack(report.name, 'its report does not list its own addresses');
        return;
      }
      own.push({ vni, place, entries: read });
    }
    const index = this.#reports.push({ ...rest, local: own }) - 1;
    for (const group of remote) this.#reduce(group, index, report.at);
  }

  #lack(name: string, message: string): void {
    const known = ensure(this.#missing, name, (): Missing => ({ messages: new Set(), after: 0 }));
    known.messages.add(message);
    known.after = this.#reports.length;
  }

  #reduce({ vni, place, count, digest, youngest, entries }: ReportedGroup, index: number, at: number): void {
    const places = ensure(this.#variants, vni, () => new Map<string, Map<string, Reduced>>());
    const digests = ensure(places, place, () => new Map<string, Reduced>());
    const known = ensure(
      digests,
      digest,
      (): Reduced => ({ count, entries: null, source: index, holders: [], youngest: [] }),
    );
    known.holders.push(index);
    known.youngest.push(youngest === null ? Number.NEGATIVE_INFINITY : at - youngest);
    if (entries === null || (known.entries !== null && !this.#isReplaced(known.source, index))) return;
    const read = readEntries(entries);
    if (read === undefined) return;
    known.entries = read;
    known.source = index;
  }

  /** True when another report is a later one of the same node: its ages say more than those in the first one. */
  #isReplaced(index: number, by: number): boolean {
    const [one, other] = [this.#reports[index], this.#reports[by]];
    if (one === undefined || other === undefined) return false;
    const isSame = one.routerId === other.routerId || fits(one, other) || fits(other, one);
    return one.name === other.name && isSame && one.at < other.at;
  }

  /** The fabric as the newest reports of its nodes have it. `later`: a fabric whose nodes keep their names in this one. */
  fabric(later?: Fabric): Fabric {
    return this.#fabricOf(
      ofNodes(this.#reports).flatMap((reports) => reports.slice(-1)),
      later,
    );
  }

  /** The same with the report before the newest, of nodes that have one; undefined: none has. */
  earlierFabric(later: Fabric): Fabric | undefined {
    const nodes = ofNodes(this.#reports);
    if (nodes.every(({ length }) => length < 2)) return undefined;
    return this.#fabricOf(
      nodes.map((reports) => reports.at(-2) ?? reports.at(-1) ?? 0),
      later,
    );
  }

  #fabricOf(live: readonly number[], later?: Fabric): Fabric {
    const named = nameNodes(this.#reports, live);
    const nodes = later === undefined ? named : renameNodes(named, later.nodes);
    return {
      nodes: [...nodes.values()],
      missing: [...this.#missing].flatMap(([name, { messages, after }]): NoReport[] =>
        this.#isReported(name, after) ? [] : [{ name, message: [...messages].join('; ') }],
      ),
      claims: this.#claims(nodes),
      variants: new Map(
        [...this.#variants].map(([vni, places]) => [
          vni,
          new Map([...places].map(([place, digests]) => [place, this.#variantsOf(digests, nodes)])),
        ]),
      ),
    };
  }

  /** True when a report of that name was added later than so many: a node that answers no more has none. */
  #isReported(name: string, after: number): boolean {
    return this.#reports.slice(after).some((report) => report.name === name);
  }

  #variantsOf(digests: ReadonlyMap<string, Reduced>, nodes: ReadonlyMap<number, AuditedNode>): Variant[] {
    return [...digests].flatMap(([digest, { count, entries, source, holders, youngest }]) => {
      const live = holders.flatMap((index, i): Holder[] => {
        const node = nodes.get(index);
        return node === undefined ? [] : [{ node, youngest: youngest[i] ?? Number.NEGATIVE_INFINITY }];
      });
      const listedAt = this.#reports[source]?.at ?? 0;
      return live.length === 0 ? [] : [{ digest, count, entries, listedAt, holders: live }];
    });
  }

  #claims(nodes: ReadonlyMap<number, AuditedNode>): Map<number, Map<IpAddress, Claim[]>> {
    const claims = new Map<number, Map<IpAddress, Claim[]>>();
    for (const [index, node] of nodes) {
      for (const { vni, place, entries } of this.#reports[index]?.local ?? []) {
        const table = ensure(claims, vni, () => new Map<IpAddress, Claim[]>());
        for (const { ip, mac, age, state } of entries) {
          const since = sinceOf(node.at, age);
          const claim: Claim = { vni, ip, mac, state: state ?? 'inactive', place, node, since, at: node.at };
          ensure(table, ip, (): Claim[] => []).push(claim);
        }
      }
    }
    return claims;
  }
}

/** When something of that age came at the latest. */
export function sinceOf(at: number, age: number | null): number {
  return age === null ? Number.NEGATIVE_INFINITY : at - age;
}

/** The claims of those that other nodes must have. */
export function advertised(claims: readonly Claim[]): readonly Claim[] {
  return claims.every(isAdvertised) ? claims : claims.filter(isAdvertised);
}

/**
 * The positions of the reports of each node, the newest last. A node is known by its name and its router ID. Without FRR it does
 * not report that one: such a report belongs to the one node of that name that it fits, by its VTEPs if it has any.
 */
function ofNodes(reports: readonly Kept[]): number[][] {
  const byName = groupBy([...reports.entries()], ([, { name }]) => name);
  const nodes = [...byName.values()].flatMap(nodesOf);
  return nodes.map((node) => node.sort(([, a], [, b]) => a.at - b.at).map(([index]) => index));
}

/** A report and its position. */
type Numbered = readonly [number, Kept];

/** The same of reports with one name. Those that say most of their node come first: the order of the files does not matter. */
function nodesOf(reports: readonly Numbered[]): Numbered[][] {
  const alike = [...groupBy(reports, ([, report]) => identityOf(report))];
  const nodes: Numbered[][] = [];
  for (const [, group] of alike.sort(([a], [b]) => (a < b ? -1 : 1))) {
    const fitting = nodes.filter((node) =>
      node.some(([, known]) => group.some(([, report]) => fits(known, report))),
    );
    const [first] = fitting;
    if (first === undefined || fitting.length > 1) nodes.push(group);
    else first.push(...group);
  }
  return nodes;
}

/** In the order of what it says: router IDs, then VTEPs, then nothing. */
function identityOf({ routerId, vteps }: Kept): string {
  if (routerId !== null) return `1 ${routerId}`;
  return vteps.length > 0 ? `2 ${vteps.join()}` : '3';
}

/** True when a report that has no router ID may be of the node of another one. */
function fits(known: Kept, report: Kept): boolean {
  if (report.routerId !== null) return false;
  return report.vteps.length === 0 || report.vteps.join() === known.vteps.join();
}

/** The nodes by the position of their report. */
function nameNodes(reports: readonly Kept[], live: readonly number[]): Map<number, AuditedNode> {
  const counts = new Map<string, number>();
  for (const index of live) {
    const name = reports[index]?.name ?? '';
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  const nodes = new Map<number, AuditedNode>();
  for (const index of live) {
    const report = reports[index];
    if (report === undefined) continue;
    const { local, name, ...rest } = report;
    const node = { ...rest, index, hostname: name };
    nodes.set(index, { ...node, name: counts.get(name) === 1 ? name : fullName(node) });
  }
  return nodes;
}

/** The name of a node whose host name is not unique. */
function fullName({ hostname, routerId, vteps }: Identity): string {
  return `${hostname} (${routerId ?? vteps[0] ?? '?'})`;
}

/** The nodes by the names that they have later: there other nodes may have the same host name, or none. */
function renameNodes(
  nodes: ReadonlyMap<number, AuditedNode>,
  later: readonly AuditedNode[],
): Map<number, AuditedNode> {
  const same = sameNodes([...nodes.values()], later);
  const taken = new Set(later.map(({ name }) => name));
  const nameOf = (node: AuditedNode): string =>
    same.get(node)?.name ?? (taken.has(node.name) ? fullName(node) : node.name);
  return new Map([...nodes].map(([index, node]) => [index, { ...node, name: nameOf(node) }]));
}
