// A document of `status --all` -> what the audit reads of it. Another program may have changed it: every value is checked. Pure.

import { type IpAddress, type Mac, parseIp, parseMac } from '../../base/address.ts';
import type { Conflict, LocalState, VniReport } from '../fabric-report.ts';
import { describeLostVnis, LOOK } from './wording.ts';

/** The report of one node. Times are seconds since the epoch. */
export interface NodeReport {
  readonly name: string;
  readonly at: number;
  /** Null: not known, as bgpd did not answer. */
  readonly routerId: string | null;
  readonly vteps: readonly string[];
  readonly version: string;
  readonly succeededAt: number | null;
  readonly vnis: readonly VniReport[];
  /** VNIs of configured bridges that are not active. */
  readonly lostVnis: readonly number[];
  readonly local: readonly ReportedGroup[];
  readonly remote: readonly ReportedGroup[];
  readonly conflicts: readonly Conflict[];
  /** Null: FRR answered, and the node takes part in EVPN. */
  readonly frrMessage: string | null;
  readonly isOk: boolean;
  readonly messages: readonly string[];
  readonly frozen: readonly { readonly ip: IpAddress; readonly bridge: string; readonly vlan: number }[];
  readonly dropped: number;
  /** Ports that are at their limit, or reject messages because of it. */
  readonly limited: readonly string[];
}

export interface ReportedGroup {
  readonly vni: number;
  readonly place: string;
  readonly count: number;
  readonly digest: string;
  /** Null: not known. */
  readonly youngest: number | null;
  /** Null: the report does not list them. */
  readonly entries: readonly unknown[] | null;
}

export interface ReportedEntry {
  readonly ip: IpAddress;
  readonly mac: Mac;
  /** Null: not known. */
  readonly age: number | null;
  /** Of an address of the node itself; null for those of others. */
  readonly state: LocalState | null;
}

/** A document that cannot be audited. */
export interface NoReport {
  readonly name: string;
  readonly message: string;
}

type Fields = Readonly<Record<string, unknown>>;

/** Thrown inside this file only: the first value that is not as it must be. */
class Unreadable extends Error {}

/** `source` names a document that does not name its node. */
export function readDocument(value: unknown, source: string): NodeReport | NoReport {
  try {
    return readNode(object(value, 'document'));
  } catch (thrown) {
    if (!(thrown instanceof Unreadable)) throw thrown;
    return { name: source, message: thrown.message };
  }
}

function readNode(document: Fields): NodeReport {
  if (document['fabric'] === undefined) throw new Unreadable(whyNoFabric(document));
  const fabric = object(document['fabric'], 'fabric');
  const node = object(fabric['node'], 'fabric.node');
  const local = list(fabric['local'], 'fabric.local').map((group) => readGroup(group, 'fabric.local'));
  const remote = list(fabric['remote'], 'fabric.remote').map((group) => readGroup(group, 'fabric.remote'));
  const tables = new Set([...local, ...remote].map(({ vni }) => vni));
  const vnis = list(fabric['vnis'], 'fabric.vnis').map((value) => readVni(value, tables));
  const lost = lostVnis(vnis, document);
  const hasNone = vnis.every(({ active }) => !active);
  return {
    name: text(node['name'], 'fabric.node.name'),
    at: number(fabric['at'], 'fabric.at'),
    routerId: textOrNull(node['routerId'], 'fabric.node.routerId'),
    vteps: list(node['vteps'], 'fabric.node.vteps').map((vtep) => text(vtep, 'fabric.node.vteps')),
    version: text(object(fabric['versions'], 'fabric.versions')['snoopy'], 'fabric.versions.snoopy'),
    succeededAt: numberOrNull(fabric['succeededAt'], 'fabric.succeededAt'),
    vnis,
    lostVnis: lost,
    local,
    remote,
    conflicts: list(fabric['conflicts'], 'fabric.conflicts').map(readConflict),
    frrMessage:
      readSilence(object(document['frr'], 'frr')) ??
      (hasNone && lost.length > 0 ? describeLostVnis(lost) : null),
    isOk: document['ok'] === true,
    messages: messagesOf(document),
    frozen: list(document['bindings'], 'bindings').flatMap(readFrozen),
    dropped: number(object(document['ring'], 'ring')['dropped'], 'ring.dropped'),
    limited: list(document['ports'], 'ports').flatMap(readLimited),
  };
}

/** Why FRR did not answer; undefined: it answered. */
function readSilence(frr: Fields): string | undefined {
  const state = text(frr['state'], 'frr.state');
  const message = text(frr['message'], 'frr.message');
  if (state === 'answered') return undefined;
  return message === '' ? `FRR is ${state}` : message;
}

/** The VNIs of configured bridges that are not active. A bridge that is not configured may belong to another program. */
function lostVnis(vnis: readonly VniReport[], document: Fields): number[] {
  const lost = vnis.filter(({ active }) => !active);
  if (lost.length === 0) return [];
  const bridges = list(document['bridges'], 'bridges').map((bridge) => object(bridge, 'bridges')['name']);
  return lost.filter(({ bridge }) => bridges.includes(bridge)).map(({ vni }) => vni);
}

/** A command that an error ended prints a document with the error; so does a playbook for a node that does not answer. */
function whyNoFabric(document: Fields): string {
  const messages = messagesOf(document);
  return messages.length > 0 ? messages.join('; ') : `no report of \`${LOOK.report}\``;
}

function messagesOf({ errors }: Fields): string[] {
  if (!Array.isArray(errors)) return [];
  return errors.map((error) => text(object(error, 'errors')['message'], 'errors.message'));
}

/** `tables`: the VNIs that zebra has neighbors of. A report without `active` shows by them, or by its VTEP, that zebra has the VNI. */
function readVni(value: unknown, tables: ReadonlySet<number>): VniReport {
  const fields = object(value, 'fabric.vnis');
  const vni = number(fields['vni'], 'fabric.vnis.vni');
  const vtep = textOrNull(fields['vtep'], 'fabric.vnis.vtep');
  const { active = vtep !== null || tables.has(vni) } = fields;
  return {
    vni,
    active: active === true,
    vtep,
    bridge: textOrNull(fields['bridge'], 'fabric.vnis.bridge'),
    vlan: number(fields['vlan'], 'fabric.vnis.vlan'),
    suppress: fields['suppress'] === true,
  };
}

function readConflict(value: unknown): Conflict {
  const fields = object(value, 'fabric.conflicts');
  const ip = parseIp(text(fields['ip'], 'fabric.conflicts.ip'));
  if (ip === undefined) throw new Unreadable('fabric.conflicts: no address');
  const moves = number(fields['moves'], 'fabric.conflicts.moves');
  return { ip, vni: number(fields['vni'], 'fabric.conflicts.vni'), moves };
}

function readGroup(value: unknown, key: string): ReportedGroup {
  const fields = object(value, key);
  const { entries } = fields;
  return {
    vni: number(fields['vni'], `${key}.vni`),
    place: placeOf(fields['place'], `${key}.place`),
    count: number(fields['count'], `${key}.count`),
    digest: text(fields['digest'], `${key}.digest`),
    youngest: numberOrNull(fields['youngest'], `${key}.youngest`),
    entries: entries === undefined ? null : list(entries, `${key}.entries`),
  };
}

/** It becomes a part of commands that people copy. */
function placeOf(value: unknown, key: string): string {
  const place = text(value, key);
  if (/^[0-9a-f.:]*$/i.test(place)) return place;
  throw new Unreadable(`${key} is no next hop`);
}

const STATES: ReadonlySet<string> = new Set<LocalState>([
  'owned',
  'ghost',
  'gateway',
  'inactive',
  'frozen',
  'rival',
]);

function isState(value: unknown): value is LocalState {
  return typeof value === 'string' && STATES.has(value);
}

/** The addresses of a group, read only where they are needed. Undefined: one of them is not as it must be. */
export function readEntries(entries: readonly unknown[]): readonly ReportedEntry[] | undefined {
  try {
    return entries.map(readEntry);
  } catch (thrown) {
    if (thrown instanceof Unreadable) return undefined;
    throw thrown;
  }
}

function readEntry(value: unknown): ReportedEntry {
  const fields = object(value, 'entries');
  const ip = parseIp(text(fields['ip'], 'entries.ip'));
  const mac = parseMac(text(fields['mac'], 'entries.mac'));
  if (ip === undefined || mac === undefined) throw new Unreadable('entries: no address, or no MAC');
  const { state } = fields;
  return { ip, mac, age: numberOrNull(fields['age'], 'entries.age'), state: isState(state) ? state : null };
}

function readFrozen(value: unknown): { ip: IpAddress; bridge: string; vlan: number }[] {
  const fields = object(value, 'bindings');
  if (fields['state'] !== 'frozen') return [];
  const ip = parseIp(text(fields['ip'], 'bindings.ip'));
  const bridge = text(fields['bridge'], 'bindings.bridge');
  return ip === undefined ? [] : [{ ip, bridge, vlan: number(fields['vlan'], 'bindings.vlan') }];
}

function readLimited(value: unknown): string[] {
  const fields = object(value, 'ports');
  const limit = number(fields['limit'], 'ports.limit');
  const isFull = limit > 0 && number(fields['bindings'], 'ports.bindings') >= limit;
  const rejects = number(fields['limitedSince'], 'ports.limitedSince') > 0;
  return isFull || rejects ? [text(fields['name'], 'ports.name')] : [];
}

function object(value: unknown, key: string): Fields {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Fields;
  throw new Unreadable(`${key} is no object`);
}

function list(value: unknown, key: string): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw new Unreadable(`${key} is no list`);
}

function text(value: unknown, key: string): string {
  if (typeof value === 'string') return value;
  throw new Unreadable(`${key} is no text`);
}

function textOrNull(value: unknown, key: string): string | null {
  return value === null ? null : text(value, key);
}

function number(value: unknown, key: string): number {
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  throw new Unreadable(`${key} is no number`);
}

function numberOrNull(value: unknown, key: string): number | null {
  return value === null ? null : number(value, key);
}
