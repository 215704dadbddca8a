// The reports of a fabric, reduced one by one so that memory does not grow with what they repeat. Pure.
//
// Almost all nodes have the same of one place: for each VNI and place there is one entry for each digest, with the nodes that
// reported it, and the addresses once, from whichever report lists them.

import type { IpAddress, Mac } from '../../base/address.ts';
import { ensure } from '../../base/group.ts';
import { isAdvertised, type LocalState } from '../fabric-report.ts';
import {
  type NodeReport,
  type NoReport,
  type ReportedEntry,
  type ReportedGroup,
  readEntries,
} from './document.ts';
import type { Presence } from './motion.ts';

/** A node, as its newest report has it. */
export interface AuditedNode
  extends Pick<NodeReport, 'at' | 'version' | 'succeededAt' | 'vnis' | 'frrMessage' | 'isOk' | 'messages'> {
  /** Its position among all reports. */
  readonly index: number;
  /** Its host name; with its VTEP where several nodes have that name. */
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
  /** The node whose report lists them; its ages are exact. */
  readonly source: AuditedNode | null;
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
  source: number;
  readonly holders: number[];
  readonly youngest: number[];
}

interface Own {
  readonly vni: number;
  readonly place: string;
  readonly entries: readonly ReportedEntry[];
}

type Kept = Omit<NodeReport, 'local' | 'remote'> & { readonly local: readonly Own[] };

export class Collection {
  readonly #reports: Kept[] = [];
  /** Why there is no report, by node. */
  readonly #missing = new Map<string, Set<string>>();
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
    ensure(this.#missing, name, () => new Set<string>()).add(message);
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
    if (known.entries !== null || entries === null) return;
    known.entries = readEntries(entries) ?? null;
    known.source = index;
  }

  /** The fabric as the newest reports of its nodes have it. */
  fabric(): Fabric {
    return this.#fabricOf(ofNodes(this.#reports).flatMap((reports) => reports.slice(-1)));
  }

  /** The same with the report before the newest, of nodes that have one; undefined: none has. */
  earlierFabric(): Fabric | undefined {
    const nodes = ofNodes(this.#reports);
    if (nodes.every(({ length }) => length < 2)) return undefined;
    return this.#fabricOf(nodes.map((reports) => reports.at(-2) ?? reports.at(-1) ?? 0));
  }

  #fabricOf(live: readonly number[]): Fabric {
    const nodes = nameNodes(this.#reports, live);
    const reported = new Set([...nodes.values()].map(({ name }) => name));
    return {
      nodes: [...nodes.values()],
      missing: [...this.#missing].flatMap(([name, messages]): NoReport[] =>
        reported.has(name) ? [] : [{ name, message: [...messages].join('; ') }],
      ),
      claims: this.#claims(nodes),
      variants: new Map(
        [...this.#variants].map(([vni, places]) => [
          vni,
          new Map([...places].map(([place, digests]) => [place, variantsOf(digests, nodes)])),
        ]),
      ),
    };
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

function variantsOf(
  digests: ReadonlyMap<string, Reduced>,
  nodes: ReadonlyMap<number, AuditedNode>,
): Variant[] {
  return [...digests].flatMap(([digest, { count, entries, source, holders, youngest }]) => {
    const live = holders.flatMap((index, i): Holder[] => {
      const node = nodes.get(index);
      return node === undefined ? [] : [{ node, youngest: youngest[i] ?? Number.NEGATIVE_INFINITY }];
    });
    return live.length === 0
      ? []
      : [{ digest, count, entries, source: nodes.get(source) ?? null, holders: live }];
  });
}

/**
 * The positions of the reports of each node, the newest last. A node is one with its name and its router ID or, where bgpd has
 * not told it, its VTEPs, as far as it knows them: without FRR it does not.
 */
function ofNodes(reports: readonly Kept[]): number[][] {
  const byName = new Map<string, number[][]>();
  for (const [index, report] of reports.entries()) {
    const others = ensure(byName, report.name, (): number[][] => []);
    const same = others.find(([first = 0]) => {
      const other = reports[first];
      return other !== undefined && isSame(other, report);
    });
    if (same === undefined) others.push([index]);
    else same.push(index);
  }
  const atOf = (index: number): number => reports[index]?.at ?? 0;
  return [...byName.values()].flat().map((indices) => indices.sort((a, b) => atOf(a) - atOf(b)));
}

function isSame(a: Pick<Kept, 'routerId' | 'vteps'>, b: Pick<Kept, 'routerId' | 'vteps'>): boolean {
  if (a.routerId !== null && b.routerId !== null) return a.routerId === b.routerId;
  return a.vteps.length === 0 || b.vteps.length === 0 || a.vteps.join() === b.vteps.join();
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
    const isAlone = counts.get(name) === 1;
    nodes.set(index, { ...rest, index, name: isAlone ? name : `${name} (${report.vteps[0] ?? '?'})` });
  }
  return nodes;
}
