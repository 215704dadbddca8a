// A fabric that exists only as the reports of its nodes: hosts that come, move and go, and faults planted in it.
import type { IpAddress, Mac } from '../../src/base/address.ts';
import { digestOf } from '../../src/core/digest.ts';
import type { Details } from '../../src/core/fabric-report.ts';
import { Bag, Random } from './random.ts';

/** A time before every report, in seconds since the epoch; hosts that do not move are older than that. */
export const START = 1_800_000_000;
const LONG_AGO = START - 100_000;
/** Seconds in which a change has reached every node. */
const SPREAD = 1;

export interface ModelOptions {
  readonly seed: number;
  readonly nodes: number;
  readonly vnis: number;
  /** Hosts of each node in each of its VNIs. */
  readonly hosts: number;
  /** Seconds from the first report to the last. */
  readonly window: number;
  /** How many faults to plant. */
  readonly faults: number;
  /** How many hosts come, move or go about the time of the reports. */
  readonly changes: number;
  /** In how many seconds the audit expects a change to reach all nodes. */
  readonly settle: number;
}

export interface ModelNode {
  readonly number: number;
  readonly name: string;
  readonly vtep: string;
  /** Some have other VNIs than others. */
  readonly vnis: readonly number[];
  /** When it is asked first. */
  readonly at: number;
}

interface Host {
  readonly vni: number;
  readonly ip: string;
  readonly mac: string;
  /** The nodes where it is, each from some time on; undefined: nowhere. */
  readonly stays: readonly { readonly from: number; readonly node: ModelNode | undefined }[];
}

/** A row of zebra's table. */
interface Row {
  readonly ip: string;
  readonly mac: string;
  readonly place: string;
  readonly since: number;
  readonly state: string;
}

/** Changes the table of one node: rows of one VNI. */
type Edit = (rows: Row[], node: ModelNode, vni: number) => void;

/** What a planted fault must be reported as: check, VNI, address and node. */
export type Expected = `${string}|${number | ''}|${string}|${string}`;

type Fault = (model: FabricModel) => void;

export class FabricModel {
  readonly nodes: readonly ModelNode[];
  readonly expected = new Set<Expected>();
  /** Addresses that change about the time of the reports. */
  readonly changing = new Set<string>();
  readonly #random: Random;
  readonly #options: ModelOptions;
  readonly #vnis: readonly number[];
  readonly #hosts: Host[] = [];
  readonly #edits: Edit[] = [];
  /** Changes of whole documents, by node. */
  readonly #documentEdits = new Map<ModelNode, ((document: Record<string, unknown>) => object)[]>();
  /** Hosts that have a fault or change already. */
  readonly #taken = new Set<Host>();
  /** Nodes without a usable report. */
  readonly #silent = new Set<ModelNode>();
  #next = 0;

  constructor(options: ModelOptions) {
    this.#options = options;
    this.#random = new Random(options.seed);
    this.#vnis = Array.from({ length: options.vnis }, (_, i) => 100 + i);
    this.nodes = Array.from({ length: options.nodes }, (_, i) => this.#makeNode(i + 1));
    for (const node of this.nodes)
      for (const vni of node.vnis)
        for (let i = 0; i < options.hosts; i++) this.#hosts.push(this.#makeHost(vni, node));
    this.#plant(options.faults);
    for (let i = 0; i < options.changes; i++) this.#change();
  }

  #makeNode(number: number): ModelNode {
    const at = START + (number === 1 ? 0 : this.#random.next() * this.#options.window);
    // The first ones have all VNIs, so that every VNI has nodes to compare.
    const vnis = number <= 4 ? this.#vnis : this.#vnis.filter(() => this.#random.chance(0.8));
    return { number, name: `n${number}`, vtep: `192.0.${number >> 8}.${number & 255}`, vnis, at };
  }

  #newAddress(): { readonly ip: string; readonly mac: string } {
    const id = ++this.#next;
    const bytes = [(id >> 16) & 255, (id >> 8) & 255, id & 255];
    const hex = bytes.map((byte) => byte.toString(16).padStart(2, '0')).join(':');
    const ip = this.#random.chance(0.3) ? `2001:db8::${id.toString(16)}` : `10.${bytes.join('.')}`;
    return { ip, mac: `02:00:00:${hex}` };
  }

  #makeHost(vni: number, node: ModelNode): Host {
    return { vni, ...this.#newAddress(), stays: [{ from: LONG_AGO, node }] };
  }

  /** The report of a node, made at some time: a plain object, as `status --all` prints it. */
  document(node: ModelNode, at = node.at, details: Details = 'all'): object {
    const isSilent = this.#silent.has(node);
    const groups = isSilent ? [] : node.vnis.map((vni) => ({ vni, rows: this.#rowsOf(node, vni, at) }));
    const document: Record<string, unknown> = {
      version: 1,
      ok: true,
      frr: { state: 'answered', message: '' },
      bridges: [{ name: 'br0', present: true, ports: ['tap1'], bindings: 1, neighbors: 1 }],
      ports: [{ name: 'tap1', limit: 64, bindings: 1, limitedSince: 0 }],
      bindings: [],
      ring: { pending: false, dropped: 0 },
      errors: [],
      fabric: {
        at,
        node: { name: node.name, routerId: node.vtep, vteps: isSilent ? [] : [node.vtep] },
        versions: { snoopy: '1.2.10', kernel: '6.12', frr: '10.3' },
        succeededAt: at - 10,
        vnis: node.vnis.map((vni) => ({
          vni,
          active: !isSilent,
          vtep: isSilent ? null : node.vtep,
          bridge: 'br0',
          vlan: vni,
          suppress: true,
        })),
        local: groups.flatMap(({ vni, rows }) => localGroup(vni, rows, node, at)),
        remote: groups.flatMap(({ vni, rows }) => remoteGroups(vni, rows, node, at, details)),
        conflicts: [],
      },
    };
    return (this.#documentEdits.get(node) ?? []).reduce<object>(
      (edited, edit) => edit(edited as Record<string, unknown>),
      document,
    );
  }

  /** zebra's table of a VNI as it is at a node. */
  #rowsOf(node: ModelNode, vni: number, at: number): Row[] {
    const rows = this.#hosts.flatMap((host) => (host.vni === vni ? this.#rowOf(host, node, at) : []));
    for (const edit of this.#edits) edit(rows, node, vni);
    return rows;
  }

  #rowOf({ ip, mac, stays, vni }: Host, node: ModelNode, at: number): Row[] {
    const state = 'owned';
    // News takes its time, another one to each node; the old owner notices a move last.
    const delay = ((node.number * 37) % 100) / 100;
    const reached = stays.filter(
      ({ from, node: owner }) => from + (owner === node ? 0 : delay * SPREAD) <= at,
    );
    const stay = reached.at(-1);
    if (stay?.node === undefined || !stay.node.vnis.includes(vni)) return [];
    const since = stay.node === node || stay.from === LONG_AGO ? stay.from : stay.from + delay * SPREAD;
    return [{ ip, mac, place: stay.node.vtep, since, state }];
  }

  /** Hosts at the time of the reports, by node, that nothing is planted in. */
  #freeHost(isMeant: (host: Host, node: ModelNode) => boolean = () => true): [Host, ModelNode] | undefined {
    const free = this.#hosts.filter((host) => {
      const node = host.stays[0]?.node;
      return node !== undefined && !this.#taken.has(host) && !this.#silent.has(node) && isMeant(host, node);
    });
    const host = this.#random.pick(free);
    const node = host?.stays[0]?.node;
    if (host === undefined || node === undefined) return undefined;
    this.#taken.add(host);
    return [host, node];
  }

  /** Other nodes with the VNI and a usable report. */
  #others(vni: number, ...but: readonly ModelNode[]): ModelNode[] {
    return this.nodes.filter(
      (node) => node.vnis.includes(vni) && !but.includes(node) && !this.#silent.has(node),
    );
  }

  #plant(count: number): void {
    const faults = new Bag(this.#random, [...FAULTS.keys()]);
    const drawn = Array.from({ length: count }, () => faults.draw());
    // What silences nodes comes first, so that no other fault is planted there; then what takes many hosts at once.
    drawn.sort((a, b) => a - b);
    for (const index of drawn) FAULTS[index]?.(this);
  }

  expect(id: string, nodes: readonly ModelNode[], vni: number | '' = '', ip = ''): void {
    for (const { name } of nodes) this.expected.add(`${id}|${vni}|${ip}|${name}`);
  }

  #change(): void {
    const found = this.#freeHost();
    if (found === undefined) return;
    const [host, node] = found;
    const { window } = this.#options;
    const when = START - 20 + this.#random.next() * (window + 25);
    const kind = this.#random.pick(['move', 'come', 'go']);
    const target = this.#random.pick(this.#others(host.vni, node));
    const stays =
      kind === 'come'
        ? [{ from: when, node }]
        : kind === 'go'
          ? [...host.stays, { from: when, node: undefined }]
          : [...host.stays, { from: when, node: target ?? node }];
    // One that leaves at the time of a report may look like a fault, as docs/audit.md says.
    const margin = this.#options.settle + 2 * SPREAD;
    if (kind === 'go' && this.nodes.some(({ at }) => Math.abs(at - when) <= margin)) return;
    this.changing.add(host.ip);
    this.#hosts[this.#hosts.indexOf(host)] = { ...host, stays };
  }

  #editDocument(node: ModelNode, edit: (document: Record<string, unknown>) => object): void {
    this.#documentEdits.set(node, [...(this.#documentEdits.get(node) ?? []), edit]);
  }

  /** A node that no fault of a node has yet. */
  #plainNode(isMeant: (node: ModelNode) => boolean = () => true): ModelNode | undefined {
    const plain = this.nodes.filter((node) => !this.#documentEdits.has(node) && !this.#silent.has(node));
    return plain.length < 3 ? undefined : this.#random.pick(plain.filter(isMeant));
  }

  // The faults.

  silence(document: (node: ModelNode) => (before: Record<string, unknown>) => object, id: string): void {
    if (this.nodes.length - this.#silent.size <= 4) return;
    // The first ones are needed, so that every VNI has nodes to compare.
    const node = this.#random.pick(this.nodes.slice(4).filter((one) => !this.#silent.has(one)));
    if (node === undefined) return;
    this.#silent.add(node);
    for (const expected of this.expected)
      if (expected.endsWith(`|${node.name}`)) this.expected.delete(expected);
    this.expect(id, [node]);
    this.#editDocument(node, document(node));
    if (this.#options.hosts === 0) return;
    for (const vni of node.vnis) this.expect('unknown-place', this.#others(vni, node));
  }

  secondOwner(): void {
    const [host, owner] = this.#freeHost(({ vni }, node) => this.#others(vni, node).length > 0) ?? [];
    if (host === undefined || owner === undefined) return;
    const { vni, ip } = host;
    const second = this.#random.pick(this.#others(vni, owner));
    if (second === undefined) return;
    const { mac } = this.#newAddress();
    this.expect('two-owners', [owner, second], vni, ip);
    this.#edits.push((rows, node, table) => {
      if (table !== vni || node === owner) return;
      // Some nodes have the one, some the other.
      if (node === second || node.number % 2 === 0)
        replaceRow(rows, ip, { ip, mac, place: second.vtep, since: LONG_AGO, state: 'owned' });
    });
  }

  clonedMac(): void {
    const [host, owner] = this.#freeHost(({ vni }, node) => this.#others(vni, node).length > 0) ?? [];
    if (host === undefined || owner === undefined) return;
    const { vni, mac, ip } = host;
    const second = this.#random.pick(this.#others(vni, owner));
    if (second === undefined) return;
    const other = this.#newAddress().ip;
    for (const one of [ip, other]) this.expect('mac-twice', [owner, second], vni, one);
    this.#edits.push((rows, node, table) => {
      if (table !== vni) return;
      if (node !== owner)
        replaceRow(rows, other, { ip: other, mac, place: second.vtep, since: LONG_AGO, state: 'owned' });
      if (node !== owner && node.number % 2 === 0) removeRow(rows, ip);
    });
  }

  ghostOfOwner(): void {
    const [host, owner] = this.#freeHost() ?? [];
    if (host === undefined || owner === undefined) return;
    const { vni, ip } = host;
    this.expect('ghost', [owner], vni, ip);
    this.#edits.push((rows, node, table) => {
      const row = rows.find((one) => one.ip === ip);
      if (table === vni && node === owner && row !== undefined)
        replaceRow(rows, ip, { ...row, state: 'ghost' });
    });
  }

  /** Some nodes of a VNI, at least one. */
  #some(nodes: readonly ModelNode[]): ModelNode[] {
    return this.#random.shuffle(nodes).slice(0, this.#random.between(1, Math.min(3, nodes.length)));
  }

  /** Changes the row of one host at some other nodes. */
  #atSome(
    id: string,
    edit: (row: Row, rows: Row[], receivers: readonly ModelNode[], owner: ModelNode) => void,
  ): void {
    const [host, owner] = this.#freeHost(({ vni }, node) => this.#others(vni, node).length > 0) ?? [];
    if (host === undefined || owner === undefined) return;
    const { vni, ip } = host;
    const receivers = this.#some(this.#others(vni, owner));
    this.expect(id, receivers, vni, ip);
    this.#edits.push((rows, node, table) => {
      const row = rows.find((one) => one.ip === ip);
      if (table === vni && receivers.includes(node) && row !== undefined) edit(row, rows, receivers, owner);
    });
  }

  ghost(): void {
    const [host, owner] = this.#freeHost(({ vni }, node) => this.#others(vni, node).length > 0) ?? [];
    if (host === undefined || owner === undefined) return;
    const { vni } = host;
    const address = this.#newAddress();
    const receivers = this.#some(this.#others(vni, owner));
    this.expect('ghost', receivers, vni, address.ip);
    this.#edits.push((rows, node, table) => {
      if (table === vni && receivers.includes(node))
        rows.push({ ...address, place: owner.vtep, since: LONG_AGO, state: 'owned' });
    });
  }

  hole(): void {
    this.#atSome('hole', ({ ip }, rows) => removeRow(rows, ip));
  }

  wrongMac(): void {
    const { mac } = this.#newAddress();
    this.#atSome('wrong-mac', (row, rows) => replaceRow(rows, row.ip, { ...row, mac }));
  }

  wrongNextHop(): void {
    const [host, owner] = this.#freeHost(({ vni }, node) => this.#others(vni, node).length > 1) ?? [];
    if (host === undefined || owner === undefined) return;
    const { vni, ip } = host;
    const [wrong, ...rest] = this.#random.shuffle(this.#others(vni, owner));
    if (wrong === undefined) return;
    const receivers = this.#some(rest);
    this.expect('wrong-next-hop', receivers, vni, ip);
    this.#edits.push((rows, node, table) => {
      const row = rows.find((one) => one.ip === ip);
      if (table === vni && receivers.includes(node) && row !== undefined)
        replaceRow(rows, ip, { ...row, place: wrong.vtep });
    });
  }

  wrongVni(): void {
    const [vni, other] = this.#random.shuffle(this.#vnis);
    if (vni === undefined || other === undefined) return;
    const both = this.nodes.filter(({ vnis }) => vnis.includes(vni) && vnis.includes(other));
    const [host, owner] = this.#freeHost((one, node) => one.vni === vni && both.includes(node)) ?? [];
    if (host === undefined || owner === undefined) return;
    const { ip, mac } = host;
    const candidates = both.filter((node) => node !== owner && !this.#silent.has(node));
    if (candidates.length === 0) return;
    const receivers = this.#some(candidates);
    this.expect('wrong-vni', receivers, other, ip);
    this.#edits.push((rows, node, table) => {
      if (!receivers.includes(node)) return;
      if (table === vni) removeRow(rows, ip);
      if (table === other) rows.push({ ip, mac, place: owner.vtep, since: LONG_AGO, state: 'owned' });
    });
  }

  /** A node that has nothing of another one, as behind an import filter. */
  blank(): void {
    const [host, owner] =
      this.#freeHost(
        ({ vni }, node) =>
          this.#others(vni, node).length > 0 &&
          this.#hosts.every((one) => one.vni !== vni || one.stays[0]?.node !== node || !this.#taken.has(one)),
      ) ?? [];
    if (host === undefined || owner === undefined) return;
    const { vni } = host;
    const receiver = this.#random.pick(this.#others(vni, owner));
    if (receiver === undefined) return;
    for (const one of this.#hosts) {
      if (one.vni !== vni || one.stays[0]?.node !== owner) continue;
      this.#taken.add(one);
      this.expect('hole', [receiver], vni, one.ip);
    }
    const own = new Set(
      this.#hosts.filter((one) => one.stays[0]?.node === owner && one.vni === vni).map(({ ip }) => ip),
    );
    this.#edits.push((rows, node, table) => {
      if (table === vni && node === receiver) for (const ip of own) removeRow(rows, ip);
    });
  }

  /** A host that still sends with an address that another node has; its own node has not run since. */
  rival(): void {
    const [host, owner] = this.#freeHost(({ vni }, node) => this.#others(vni, node).length > 0) ?? [];
    if (host === undefined || owner === undefined) return;
    const { vni, ip } = host;
    const rival = this.#random.pick(this.#others(vni, owner));
    if (rival === undefined) return;
    const { mac } = this.#newAddress();
    this.expect('two-owners', [owner, rival], vni, ip);
    this.#edits.push((rows, node, table) => {
      if (table === vni && node === rival)
        rows.push({ ip, mac, place: rival.vtep, since: START - 120, state: 'rival' });
    });
  }

  conflict(): void {
    const node = this.#random.pick(this.#others(this.#vnis[0] ?? 0));
    const vni = node?.vnis[0];
    if (node === undefined || vni === undefined) return;
    const { ip } = this.#newAddress();
    this.expect('conflict', [node], vni, ip);
    this.#editDocument(node, (document) => {
      const fabric = fabricOf(document);
      const conflicts = [...(fabric['conflicts'] as object[]), { vni, ip, moves: 3 }];
      return { ...document, fabric: { ...fabric, conflicts } };
    });
  }

  frozen(): void {
    const node = this.#random.pick(this.#others(this.#vnis[0] ?? 0));
    const vni = node?.vnis[0];
    if (node === undefined || vni === undefined) return;
    const { ip, mac } = this.#newAddress();
    this.expect('frozen', [node], vni, ip);
    this.#editDocument(node, (document) => ({
      ...document,
      bindings: [
        ...(document['bindings'] as object[]),
        { bridge: 'br0', vlan: vni, ip, mac, state: 'frozen' },
      ],
    }));
  }

  /** A node with a VNI that its zebra lacks: it has no address of it, and the others have none of its hosts there. */
  lostVni(): void {
    const missingAt = ({ vnis }: ModelNode): number[] => this.#vnis.filter((vni) => !vnis.includes(vni));
    const node = this.#plainNode((one) => one.vnis.length > 0 && missingAt(one).length > 0);
    const vni = node && this.#random.pick(missingAt(node));
    if (node === undefined || vni === undefined) return;
    this.expect('no-vni', [node], vni);
    this.#editDocument(node, (document) => {
      const fabric = fabricOf(document);
      const lost = { vni, active: false, vtep: null, bridge: 'br0', vlan: vni, suppress: true };
      return { ...document, fabric: { ...fabric, vnis: [...(fabric['vnis'] as object[]), lost] } };
    });
  }

  nodeFault(
    id: string,
    edit: (document: Record<string, unknown>, vni: number) => object,
    isOfVni = false,
  ): void {
    const node = this.#plainNode();
    const vni = node?.vnis[0];
    if (node === undefined || vni === undefined) return;
    this.expect(id, [node], isOfVni ? vni : '');
    this.#editDocument(node, (document) => edit(document, vni));
  }
}

function fabricOf(document: Record<string, unknown>): Record<string, unknown> {
  return document['fabric'] as Record<string, unknown>;
}

/** Changes the setup of one VNI in a document. */
function withVni(document: Record<string, unknown>, vni: number, change: object): object {
  const fabric = fabricOf(document);
  const vnis = (fabric['vnis'] as { vni: number }[]).map((one) =>
    one.vni === vni ? { ...one, ...change } : one,
  );
  return { ...document, fabric: { ...fabric, vnis } };
}

/** In the order in which they are planted. */
const FAULTS: readonly Fault[] = [
  (model) =>
    model.silence(
      () => () => ({
        version: 1,
        ok: false,
        errors: [{ code: 'unreachable', object: 'x', message: 'no answer' }],
      }),
      'no-report',
    ),
  // zebra does not answer; or it does, and without bgpd it has no VNI.
  (model) =>
    model.silence(
      ({ number, vnis }) =>
        (before) =>
          number % 2 === 0 && vnis.length > 0
            ? before
            : { ...before, frr: { state: 'silent', message: 'vtysh fails' } },
      'no-frr',
    ),
  (model) => model.blank(),
  (model) => model.secondOwner(),
  (model) => model.clonedMac(),
  (model) => model.ghostOfOwner(),
  (model) => model.ghost(),
  (model) => model.hole(),
  (model) => model.wrongMac(),
  (model) => model.wrongNextHop(),
  (model) => model.wrongVni(),
  (model) => model.frozen(),
  (model) => model.conflict(),
  (model) => model.rival(),
  (model) => model.lostVni(),
  (model) =>
    model.nodeFault('not-run', (document) => {
      const fabric = fabricOf(document);
      return { ...document, fabric: { ...fabric, succeededAt: Number(fabric['at']) - 86_400 } };
    }),
  (model) =>
    model.nodeFault('problem', (document) => ({
      ...document,
      ok: false,
      errors: [{ code: 'bridge_missing', object: 'br9', message: 'no br9' }],
    })),
  (model) => model.nodeFault('ring', (document) => ({ ...document, ring: { pending: false, dropped: 7 } })),
  (model) =>
    model.nodeFault('limits', (document) => ({
      ...document,
      ports: [{ name: 'tap1', limit: 64, bindings: 64, limitedSince: 0 }],
    })),
  (model) =>
    model.nodeFault('behind', (document) => {
      const fabric = fabricOf(document);
      return { ...document, fabric: { ...fabric, versions: { snoopy: '1.2.9', kernel: '6.1', frr: null } } };
    }),
  (model) =>
    model.nodeFault('suppress', (document, vni) => withVni(document, vni, { suppress: false }), true),
  (model) => model.nodeFault('mapping', (document, vni) => withVni(document, vni, { bridge: 'br7' }), true),
];

function removeRow(rows: Row[], ip: string): void {
  const at = rows.findIndex((row) => row.ip === ip);
  if (at >= 0) rows.splice(at, 1);
}

function replaceRow(rows: Row[], ip: string, row: Row): void {
  removeRow(rows, ip);
  rows.push(row);
}

function groupOf(vni: number, place: string, rows: readonly Row[], at: number): object {
  const pairs = rows.map(({ ip, mac }) => ({ ip: ip as IpAddress, mac: mac as Mac }));
  const youngest = rows.length === 0 ? null : Math.min(...rows.map((row) => ageOf(row, at)));
  return { vni, place, count: rows.length, digest: digestOf(pairs), youngest };
}

function ageOf({ since }: Row, at: number): number {
  return Math.floor(at - since);
}

function localGroup(vni: number, rows: readonly Row[], node: ModelNode, at: number): object[] {
  const own = rows.filter(({ place }) => place === node.vtep);
  if (own.length === 0) return [];
  const entries = own.map((row) => ({ ip: row.ip, mac: row.mac, age: ageOf(row, at), state: row.state }));
  const advertised = own.filter(({ state }) => state !== 'rival');
  return [{ ...groupOf(vni, node.vtep, advertised, at), entries }];
}

function remoteGroups(
  vni: number,
  rows: readonly Row[],
  node: ModelNode,
  at: number,
  details: Details,
): object[] {
  const places = new Map<string, Row[]>();
  for (const row of rows) {
    if (row.place === node.vtep) continue;
    const group = places.get(row.place);
    if (group === undefined) places.set(row.place, [row]);
    else group.push(row);
  }
  return [...places].map(([place, group]) => {
    const isListed = details === 'all' || details.includes(place);
    const entries = group.map((row) => ({ ip: row.ip, mac: row.mac, age: ageOf(row, at) }));
    return { ...groupOf(vni, place, group, at), ...(isListed ? { entries } : {}) };
  });
}
