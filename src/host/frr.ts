// The state of zebra and bgpd, queried through vtysh. Reads only.

import { spawnSync } from 'node:child_process';
import { type IpAddress, type Mac, parseIp, parseMac } from '../base/address.ts';
import { errnoOf } from '../base/errors.ts';
import type { Frr, FrrAnswer, FrrDuplicates, FrrHost, FrrNeighbor, FrrVni } from '../core/frr.ts';
import type { Neighbor } from '../netlink/neighbor.ts';

/** A daemon that hangs must not hang doctor. */
export const TIMEOUT_MS = 10_000;
/** How long status waits for a daemon: FRR is not the main part of its report. */
const BRIEF_TIMEOUT_MS = 2_000;
const MAX_BYTES = 256 * 2 ** 20;

/**
 * Whether a bridge may be part of an Ethernet segment (EVPN multihoming): only then zebra is asked for which neighbors it is
 * a proxy, as the answer has several times as many bytes.
 */
export interface SegmentOptions {
  readonly mayHaveSegments: boolean;
}

/** Queries everything that doctor checks. vtysh is looked up in the PATH. */
export function queryFrr({ mayHaveSegments }: SegmentOptions): FrrAnswer {
  const commands = [VNIS, mayHaveSegments ? DETAILS : NEIGHBORS, BGP_VNIS, BGP_SUMMARY];
  return withDuplicates(query(commands, TIMEOUT_MS), TIMEOUT_MS);
}

/**
 * Queries the setup of FRR. Its neighbors come along only where a bridge may be part of an Ethernet segment: with thousands
 * of them it is much faster without.
 */
export function queryFrrSetup({ mayHaveSegments }: SegmentOptions): FrrAnswer {
  return query([VNIS, ...(mayHaveSegments ? [DETAILS] : []), BGP_VNIS, BGP_SUMMARY], TIMEOUT_MS);
}

/** Queries only zebra, for its VNIs and neighbors, with a short timeout: two processes of about 50 ms. */
export function queryZebra({ mayHaveSegments }: SegmentOptions = { mayHaveSegments: false }): FrrAnswer {
  return query([VNIS, mayHaveSegments ? DETAILS : NEIGHBORS], BRIEF_TIMEOUT_MS);
}

/** Whether zebra has the address on a VNI as a local one with this MAC; false when it does not answer. */
export function isInZebra(vni: number, { ip, mac }: Pick<Neighbor, 'ip' | 'mac'>): boolean {
  const answer = vtysh(neighborCommand(vni, ip), BRIEF_TIMEOUT_MS);
  if (answer.kind !== 'json') return false;
  return readNeighbor([ip, answer.json]).some(([, found]) => found.isLocal && found.mac === mac);
}

function neighborCommand(vni: number, ip: IpAddress): string {
  return `show evpn arp-cache vni ${vni} ip ${ip} json`;
}

/** As queryZebra, and for duplicates bgpd as well: whether they are advertised. */
export function queryAdvertised(options: SegmentOptions): FrrAnswer {
  return withDuplicates(queryZebra(options), BRIEF_TIMEOUT_MS);
}

/** Runs the commands until one gets no answer. */
function query(commands: readonly string[], timeoutMs: number): FrrAnswer {
  const answers = new Map<string, unknown>();
  for (const command of commands) {
    // Without a VNI there are none.
    const isOfNeighbors = command === NEIGHBORS || command === DETAILS;
    if (isOfNeighbors && items(answers.get(VNIS)).length === 0) continue;
    const answer = vtysh(command, timeoutMs);
    if (answer.kind !== 'json') return answer;
    answers.set(command, answer.json);
  }
  return {
    kind: 'answered',
    frr: readFrr(
      answers.get(VNIS),
      answers.get(NEIGHBORS) ?? answers.get(DETAILS),
      answers.get(BGP_VNIS),
      answers.get(BGP_SUMMARY),
    ),
  };
}

/** Adds the duplicates. Nothing is queried when zebra has marked no neighbor of this node. */
export function withDuplicates(answer: FrrAnswer, timeoutMs: number): FrrAnswer {
  if (answer.kind !== 'answered') return answer;
  const { frr } = answer;
  const vnis = [...frr.neighbors].flatMap(([vni, table]) => (hasDuplicate(table.values()) ? vni : []));
  if (vnis.length === 0) return answer;
  const macs = vtysh(DUPLICATE_MACS, timeoutMs);
  if (macs.kind !== 'json') return macs;
  const duplicates = new Map<number, FrrDuplicates>();
  for (const vni of vnis) {
    const routes = vtysh(`show bgp l2vpn evpn route vni ${vni} type macip json`, timeoutMs);
    if (routes.kind !== 'json') return routes;
    duplicates.set(vni, readDuplicates(field(macs.json, String(vni)), routes.json));
  }
  return { kind: 'answered', frr: { ...frr, duplicates } };
}

function hasDuplicate(neighbors: Iterable<FrrNeighbor>): boolean {
  for (const { isLocal, isDuplicate } of neighbors) if (isLocal && isDuplicate) return true;
  return false;
}

/** What zebra and bgpd know about one host; nothing when they do not answer. */
export function queryFrrHost(vni: number, ip: IpAddress, mac: Mac | null): FrrHost {
  const jsonOf = (command: string): unknown => {
    const answer = vtysh(command, TIMEOUT_MS);
    return answer.kind === 'json' ? answer.json : undefined;
  };
  const neighbor = jsonOf(neighborCommand(vni, ip));
  const isMarked = mac !== null && field(neighbor, 'isDuplicate') === true;
  const route = mac === null ? '' : `mac ${mac} ip ${ip}`;
  const rd = text(jsonOf(`show bgp l2vpn evpn vni ${vni} json`), 'rd');
  return readFrrHost(ip, {
    neighbor,
    mac: isMarked ? field(jsonOf(`show evpn mac vni ${vni} mac ${mac} json`), mac) : undefined,
    route: route === '' ? undefined : jsonOf(`show bgp l2vpn evpn route vni ${vni} ${route} json`),
    // Only the route under the node's own route distinguisher lists the peers that it is advertised to.
    own:
      route === '' || rd === undefined
        ? undefined
        : jsonOf(`show bgp l2vpn evpn route rd ${rd} ${route} json`),
  });
}

type VtyshAnswer =
  | Exclude<FrrAnswer, { readonly kind: 'answered' }>
  | { readonly kind: 'json'; readonly json: unknown };

export function vtysh(command: string, timeoutMs: number, read = parse): VtyshAnswer {
  const { error, status, stdout, stderr } = spawnSync('vtysh', ['-c', command], {
    encoding: 'utf8',
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
    maxBuffer: MAX_BYTES,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  if (errnoOf(error) === 'ENOENT') return { kind: 'absent' };
  const json = status === 0 ? read(stdout) : undefined;
  if (json !== undefined) return { kind: 'json', json };
  const [firstLine = ''] = `${stderr}\n${stdout}`.split('\n').filter((line) => line.trim() !== '');
  const isLate = errnoOf(error) === 'ETIMEDOUT';
  const why = isLate ? `no answer in ${timeoutMs / 1000} s` : (error?.message ?? firstLine.trim());
  const message = `vtysh -c "${command}" fails: ${why || `it ended with ${status}`}`;
  return { kind: 'silent', daemon: command.startsWith('show bgp ') ? 'bgpd' : 'zebra', message, isLate };
}

export const VNIS = 'show evpn vni detail json';
const NEIGHBORS = 'show evpn arp-cache vni all json';
/** The same, and what multihoming makes of them. */
const DETAILS = 'show evpn arp-cache vni all detail json';
const DUPLICATE_MACS = 'show evpn mac vni all duplicate json';
const BGP_VNIS = 'show bgp l2vpn evpn vni json';
export const BGP_SUMMARY = 'show bgp l2vpn evpn summary json';

/** Some versions print an empty text for an empty answer. */
function parse(text: string): unknown {
  try {
    return JSON.parse(text.trim() === '' ? '{}' : text);
  } catch {
    return undefined;
  }
}

/** Combines the answers. Data that was not queried, is missing, or has another form in some version reads as empty. */
export function readFrr(vnis: unknown, neighbors: unknown, bgpVnis: unknown, bgpSummary: unknown): Frr {
  return {
    vnis: items(vnis).flatMap(readVni),
    l3Vnis: new Set(items(vnis).flatMap((line) => (text(line, 'type') === 'L3' ? vniOf(line) : []))),
    neighbors: new Map(
      entries(neighbors).map(([vni, table]) => [Number(vni), new Map(entries(table).flatMap(readNeighbor))]),
    ),
    duplicates: new Map(),
    advertiseAllVni: text(bgpVnis, 'advertiseAllVnis') === 'Enabled',
    peers: entries(field(bgpSummary, 'peers')).map(([name, peer]) => ({
      name,
      state: text(peer, 'state') ?? 'unknown',
    })),
  };
}

function vniOf(line: unknown): number[] {
  const vni = field(line, 'vni');
  return typeof vni === 'number' ? [vni] : [];
}

function readVni(line: unknown): FrrVni[] {
  if (text(line, 'type') !== 'L2') return [];
  return vniOf(line).map((vni) => ({ vni, svi: text(line, 'sviInterface') ?? null }));
}

/** Reads an address and its entry. A count may be among them, and is skipped. */
function readNeighbor([address, entry]: readonly [string, unknown]): (readonly [IpAddress, FrrNeighbor])[] {
  const ip = parseIp(address);
  const mac: Mac | undefined = parseMac(text(entry, 'mac') ?? '');
  if (ip === undefined || mac === undefined) return [];
  // As zebra_evpn_neigh_is_ready_for_bgp of zebra/zebra_evpn_neigh.h has it.
  const isInactiveHere = field(entry, 'localInactive') === true;
  const isActiveElsewhere = field(entry, 'peerActive') === true;
  return [
    [
      ip,
      {
        mac,
        isLocal: text(entry, 'type') === 'local',
        isActive: text(entry, 'state') === 'active' && (!isInactiveHere || isActiveElsewhere),
        isProxy: isInactiveHere && isActiveElsewhere,
        isDuplicate: field(entry, 'isDuplicate') === true,
      },
    ],
  ];
}

/** The answers about one host; undefined for what was not queried. */
interface HostAnswers {
  readonly neighbor: unknown;
  readonly mac?: unknown;
  readonly route: unknown;
  readonly own: unknown;
}

/** Combines the answers about the duplicates of one VNI. A path of this node has no peer. */
export function readDuplicates(macs: unknown, routes: unknown): FrrDuplicates {
  const own = pathsOf(routes).filter((path) => text(path, 'peerId') === '(unspec)');
  return {
    macs: new Map(
      entries(field(macs, 'macs')).flatMap(([address, entry]) => {
        const mac = parseMac(address);
        return mac === undefined ? [] : [[mac, text(entry, 'type') === 'local']];
      }),
    ),
    advertised: new Set(own.flatMap((path) => parseIp(text(path, 'ip') ?? '') ?? [])),
  };
}

/** Combines the answers about one host, in the same way. */
export function readFrrHost(ip: IpAddress, { neighbor, mac, route, own }: HostAnswers): FrrHost {
  const [entry] = readNeighbor([ip, neighbor]);
  const best = pathsOf(route).find((path) => field(path, 'bestpath') !== undefined);
  return {
    neighbor: entry?.[1] ?? null,
    isMacDuplicate: field(mac, 'isDuplicate') === true,
    tunnelEnd: text(neighbor, 'remoteVtep') ?? null,
    route:
      best === undefined
        ? null
        : {
            isLocal: field(best, 'local') === true,
            nextHop: text(items(field(best, 'nexthops'))[0], 'ip') ?? null,
            peers: entries(field(own, 'advertisedTo')).map(([peer]) => peer),
          },
  };
}

/** The lists of lists of paths below any key: depending on the command it is `paths`, the prefix, or `paths` in it. */
function pathsOf(route: unknown): readonly unknown[] {
  return entries(route).flatMap(([, value]) => items(field(value, 'paths') ?? value).flatMap(items));
}

export function items(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

export function entries(value: unknown): readonly (readonly [string, unknown])[] {
  return typeof value === 'object' && value !== null ? Object.entries(value) : [];
}

export function field(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, key) : undefined;
}

export function text(value: unknown, key: string): string | undefined {
  const found = field(value, key);
  return typeof found === 'string' ? found : undefined;
}
