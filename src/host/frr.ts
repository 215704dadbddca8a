// What zebra and bgpd say, through vtysh. Reads only.

import { spawnSync } from 'node:child_process';
import { type IpAddress, type Mac, parseIp, parseMac } from '../base/address.ts';
import { errnoOf } from '../base/errors.ts';
import type { Frr, FrrAnswer, FrrHost, FrrNeighbor, FrrVni } from '../core/frr.ts';

/** A daemon that hangs must not hang doctor. */
const TIMEOUT_MS = 10_000;
/** What status waits for a daemon: whoever looks there has not come for FRR. */
const BRIEF_TIMEOUT_MS = 2_000;
const MAX_BYTES = 256 * 2 ** 20;

/** Asks FRR all that doctor looks at. vtysh is looked up in the PATH. */
export function askFrr(): FrrAnswer {
  return ask([VNIS, NEIGHBORS, BGP_VNIS, BGP_SUMMARY], TIMEOUT_MS);
}

/** Asks FRR how it is set up, and for none of its neighbors: with thousands of them that is much quicker. */
export function askFrrSetup(): FrrAnswer {
  return ask([VNIS, BGP_VNIS, BGP_SUMMARY], TIMEOUT_MS);
}

/** Asks zebra alone, for its VNIs and neighbors, and does not wait long: two processes of some 50 ms. */
export function askZebra(): FrrAnswer {
  return ask([VNIS, NEIGHBORS], BRIEF_TIMEOUT_MS);
}

/** The first command that gets no answer ends it. */
function ask(commands: readonly string[], timeoutMs: number): FrrAnswer {
  const answers = new Map<string, unknown>();
  for (const command of commands) {
    const said = vtysh(command, timeoutMs);
    if (said.kind !== 'said') return said;
    answers.set(command, said.json);
  }
  return {
    kind: 'answered',
    frr: readFrr(answers.get(VNIS), answers.get(NEIGHBORS), answers.get(BGP_VNIS), answers.get(BGP_SUMMARY)),
  };
}

/** What zebra and bgpd know of one host; nothing where they do not answer. */
export function askFrrHost(vni: number, ip: IpAddress, mac: Mac | null): FrrHost {
  const answer = (command: string): unknown => {
    const said = vtysh(`${command} json`, TIMEOUT_MS);
    return said.kind === 'said' ? said.json : undefined;
  };
  const neighbor = answer(`show evpn arp-cache vni ${vni} ip ${ip}`);
  const route = mac === null ? '' : `mac ${mac} ip ${ip}`;
  const rd = text(answer(`show bgp l2vpn evpn vni ${vni}`), 'rd');
  return readFrrHost(ip, {
    neighbor,
    route: route === '' ? undefined : answer(`show bgp l2vpn evpn route vni ${vni} ${route}`),
    // Only what is advertised under the node's own route distinguisher says to whom.
    own: route === '' || rd === undefined ? undefined : answer(`show bgp l2vpn evpn route rd ${rd} ${route}`),
  });
}

type Said =
  | Exclude<FrrAnswer, { readonly kind: 'answered' }>
  | { readonly kind: 'said'; readonly json: unknown };

function vtysh(command: string, timeoutMs: number): Said {
  const { error, status, stdout, stderr } = spawnSync('vtysh', ['-c', command], {
    encoding: 'utf8',
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
    maxBuffer: MAX_BYTES,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  if (errnoOf(error) === 'ENOENT') return { kind: 'absent' };
  const json = status === 0 ? parse(stdout) : undefined;
  if (json !== undefined) return { kind: 'said', json };
  const [said = ''] = `${stderr}\n${stdout}`.split('\n').filter((line) => line.trim() !== '');
  const isLate = errnoOf(error) === 'ETIMEDOUT';
  const why = isLate ? `no answer in ${timeoutMs / 1000} s` : (error?.message ?? said.trim());
  return { kind: 'silent', message: `vtysh -c "${command}" fails: ${why || `it ended with ${status}`}` };
}

const VNIS = 'show evpn vni detail json';
const NEIGHBORS = 'show evpn arp-cache vni all json';
const BGP_VNIS = 'show bgp l2vpn evpn vni json';
const BGP_SUMMARY = 'show bgp l2vpn evpn summary json';

/** An empty text is what some versions print where there is nothing. */
function parse(text: string): unknown {
  try {
    return JSON.parse(text.trim() === '' ? '{}' : text);
  } catch {
    return undefined;
  }
}

/** The answers as one; what was not asked, is missing or of another form in some version reads as none. */
export function readFrr(vnis: unknown, neighbors: unknown, bgpVnis: unknown, bgpSummary: unknown): Frr {
  return {
    vnis: items(vnis).flatMap(readVni),
    l3Vnis: new Set(items(vnis).flatMap((line) => (text(line, 'type') === 'L3' ? vniOf(line) : []))),
    neighbors: new Map(
      entries(neighbors).map(([vni, table]) => [Number(vni), new Map(entries(table).flatMap(readNeighbor))]),
    ),
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

/** An address and its entry; between them stands a count. */
function readNeighbor([address, entry]: readonly [string, unknown]): (readonly [IpAddress, FrrNeighbor])[] {
  const ip = parseIp(address);
  const mac: Mac | undefined = parseMac(text(entry, 'mac') ?? '');
  if (ip === undefined || mac === undefined) return [];
  return [
    [
      ip,
      {
        mac,
        isLocal: text(entry, 'type') === 'local',
        isActive: text(entry, 'state') === 'active',
        isDuplicate: field(entry, 'isDuplicate') === true,
      },
    ],
  ];
}

/** The answers about one host, likewise. */
export function readFrrHost(
  ip: IpAddress,
  { neighbor, route, own }: { readonly neighbor: unknown; readonly route: unknown; readonly own: unknown },
): FrrHost {
  const [entry] = readNeighbor([ip, neighbor]);
  const best = pathsOf(route).find((path) => field(path, 'bestpath') !== undefined);
  return {
    neighbor: entry?.[1] ?? null,
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

/** Lists of lists of paths, below whatever key: it is `paths` here and the prefix there. */
function pathsOf(route: unknown): readonly unknown[] {
  return entries(route).flatMap(([, value]) => items(value).flatMap(items));
}

function items(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function entries(value: unknown): readonly (readonly [string, unknown])[] {
  return typeof value === 'object' && value !== null ? Object.entries(value) : [];
}

function field(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, key) : undefined;
}

function text(value: unknown, key: string): string | undefined {
  const found = field(value, key);
  return typeof found === 'string' ? found : undefined;
}
