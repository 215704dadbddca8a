// What `status --all` asks zebra and bgpd: every neighbor with its origin and age, and what names this node. Reads only.

import { type IpAddress, type Mac, parseIp, parseMac } from '../base/address.ts';
import type { FrrAnswer, FrrOrigin } from '../core/frr.ts';
import {
  BGP_SUMMARY,
  entries,
  field,
  items,
  readFrr,
  TIMEOUT_MS,
  text,
  VNIS,
  vtysh,
  withDuplicates,
} from './frr.ts';

const NEIGHBORS = 'show evpn arp-cache vni all detail json';
const SEGMENTS = 'show evpn es json';
const MACS = 'show evpn mac vni all detail json';

/** The answer has `fabric`. A bgpd that does not answer leaves only its router ID unknown. */
export function queryFabric(): FrrAnswer {
  const vnis = vtysh(VNIS, TIMEOUT_MS);
  if (vnis.kind !== 'json') return vnis;
  const neighbors =
    items(vnis.json).length === 0 ? ({ kind: 'json', json: {} } as const) : vtysh(NEIGHBORS, TIMEOUT_MS);
  if (neighbors.kind !== 'json') return neighbors;
  const summary = vtysh(BGP_SUMMARY, TIMEOUT_MS);
  const bgp = summary.kind === 'json' ? summary.json : undefined;
  const answer = withDuplicates(
    { kind: 'answered', frr: readFrr(vnis.json, neighbors.json, undefined, bgp) },
    TIMEOUT_MS,
  );
  if (answer.kind !== 'answered') return answer;
  const fabric = {
    routerId: text(bgp, 'routerId') ?? null,
    version: queryVersion(),
    vteps: readVteps(vnis.json),
    origins: readOrigins(neighbors.json, querySegments()),
  };
  return { kind: 'answered', frr: { ...answer.frr, fabric } };
}

/** The first line is `FRRouting 8.4.4 (host) on Linux(6.12)`. */
function queryVersion(): string | null {
  const answer = vtysh('show version', TIMEOUT_MS, (output) => /^FRRouting (\S+)/.exec(output)?.[1]);
  return answer.kind === 'json' ? String(answer.json) : null;
}

/** The Ethernet segments of MACs of this node, by VNI. Nodes without a segment are asked for no MACs. */
type Segments = ReadonlyMap<number, ReadonlyMap<Mac, string>>;

function querySegments(): Segments {
  const known = vtysh(SEGMENTS, TIMEOUT_MS);
  if (known.kind !== 'json' || items(known.json).length === 0) return new Map();
  const macs = vtysh(MACS, TIMEOUT_MS);
  return macs.kind === 'json' ? readSegments(macs.json) : new Map();
}

/** Reads the segments of MACs from the answer to `show evpn mac vni all detail json`. */
export function readSegments(macs: unknown): Segments {
  return new Map(
    entries(macs).map(([vni, table]) => [
      Number(vni),
      new Map(
        entries(field(table, 'macs')).flatMap(([address, entry]) => {
          const mac = parseMac(address);
          const segment = text(entry, 'esi');
          return mac === undefined || segment === undefined ? [] : [[mac, segment] as const];
        }),
      ),
    ]),
  );
}

function readVteps(vnis: unknown): ReadonlyMap<number, string> {
  return new Map(
    items(vnis).flatMap((line) => {
      const vni = field(line, 'vni');
      const vtep = parseIp(text(line, 'vtepIp') ?? '');
      return typeof vni === 'number' && vtep !== undefined && vtep !== '0.0.0.0' ? [[vni, vtep]] : [];
    }),
  );
}

/** Reads where neighbors come from, and their ages, from the answer to `show evpn arp-cache vni all detail json`. */
export function readOrigins(
  neighbors: unknown,
  segments: Segments,
): ReadonlyMap<number, ReadonlyMap<IpAddress, FrrOrigin>> {
  return new Map(
    entries(neighbors).map(([vni, table]) => {
      const ofMacs = segments.get(Number(vni));
      return [Number(vni), new Map(entries(table).flatMap((line) => readOrigin(line, ofMacs)))];
    }),
  );
}

function readOrigin(
  [address, entry]: readonly [string, unknown],
  segments: ReadonlyMap<Mac, string> | undefined,
): (readonly [IpAddress, FrrOrigin])[] {
  const ip = parseIp(address);
  const mac = parseMac(text(entry, 'mac') ?? '');
  if (ip === undefined || mac === undefined) return [];
  const hop = text(entry, 'remoteEs') ?? parseIp(text(entry, 'remoteVtep') ?? '');
  const ageMs = parseUptime(text(entry, 'uptime') ?? '');
  return [[ip, { place: hop ?? segments?.get(mac) ?? null, ageMs }]];
}

/** Seconds in a unit of `frrtime_to_interval`. */
const UNITS = { w: 604_800, d: 86_400, h: 3_600, m: 60 } as const;

/** `00:00:12`, `1d02h03m` or `01w2d03h`, in milliseconds. */
export function parseUptime(uptime: string): number | undefined {
  const clock = /^(\d+):(\d\d):(\d\d)$/.exec(uptime);
  if (clock !== null) {
    const [, hours, minutes, seconds] = clock.map(Number);
    return ((hours ?? 0) * UNITS.h + (minutes ?? 0) * UNITS.m + (seconds ?? 0)) * 1000;
  }
  if (!/^(?:\d+[wdhm])+$/.test(uptime)) return undefined;
  const parts = [...uptime.matchAll(/(\d+)([wdhm])/g)];
  return (
    parts.reduce((sum, [, n, unit]) => sum + Number(n) * (UNITS[unit as keyof typeof UNITS] ?? 0), 0) * 1000
  );
}
