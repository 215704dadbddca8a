// Addresses with two owners, and MACs in two places. Pure.

import type { IpAddress, Mac } from '../../base/address.ts';
import { ensure, groupBy, split } from '../../base/group.ts';
import { advertised, type Claim, type Fabric } from './collection.ts';
import { finding, type Sighted } from './finding.ts';
import { overlap } from './motion.ts';
import { FOUND, LOOK } from './wording.ts';

/** Which addresses of a VNI several nodes have, by right or not: other nodes have one of these, and not the others. */
export type Contested = (vni: number, ip: IpAddress) => boolean;

export interface Owners {
  readonly sighted: readonly Sighted[];
  readonly isContested: Contested;
}

export function checkOwners({ claims }: Fabric, settle: number): Owners {
  const sighted: Sighted[] = [];
  const contested = new Map<number, Set<IpAddress>>();
  for (const [vni, table] of claims) {
    const own = ensure(contested, vni, () => new Set<IpAddress>());
    for (const group of sameMac(table)) {
      for (const { ip } of group) own.add(ip);
      sighted.push(describeMac(vni, group, settle));
    }
    for (const [ip, all] of table) {
      const owners = all.length < 2 ? [] : [...advertised(all), ...rivalsOf(all)];
      if (areOne(owners)) continue;
      // One MAC at two places has been reported as that.
      if (!own.has(ip) && isContradictory(owners)) sighted.push(describeAddress(vni, ip, owners, settle));
      own.add(ip);
    }
  }
  return { sighted, isContested: (vni, ip) => contested.get(vni)?.has(ip) ?? false };
}

/** The default interval between runs, in seconds. */
const RUN = 10;

/** Hosts that have sent with an address of another node: the next run takes it back, unless they only wait for that run. */
function rivalsOf(claims: readonly Claim[]): Claim[] {
  return claims.flatMap((claim) => (claim.state === 'rival' ? [{ ...claim, since: claim.since + RUN }] : []));
}

/** All nodes may have one gateway address, each with a MAC of its own. */
function isHost({ state }: Claim): boolean {
  return state !== 'gateway';
}

/** True for one host: two nodes of one place share its addresses, those of one Ethernet segment, or behind one anycast VTEP. */
function areOne([first, ...rest]: readonly Claim[]): boolean {
  return rest.every(({ place, mac }) => place === first?.place && mac === first.mac);
}

/** True when they are not one host, nor one gateway: a host with a gateway's MAC is that gateway, in a container for example. */
function isContradictory(owners: readonly Claim[]): boolean {
  const [hosts, gateways] = split(owners, isHost);
  return !areOne(hosts) || hosts.some((host) => gateways.some(({ mac }) => mac !== host.mac));
}

/** The claims of each MAC that is in two places. */
function sameMac(table: ReadonlyMap<IpAddress, readonly Claim[]>): Claim[][] {
  const places = new Map<Mac, string | null>();
  const twice = new Set<Mac>();
  const all = [...table.values()].flatMap((claims) => advertised(claims).filter(isHost));
  for (const { mac, place } of all) {
    const known = places.get(mac);
    if (known === undefined) places.set(mac, place);
    else if (known !== place) twice.add(mac);
  }
  if (twice.size === 0) return [];
  return [
    ...groupBy(
      all.filter(({ mac }) => twice.has(mac)),
      ({ mac }) => mac,
    ).values(),
  ];
}

/** True when two that contradict each other were there at one time. */
function isProven(claims: readonly Claim[], settle: number): boolean {
  return claims.some((a, i) =>
    claims.slice(i + 1).some((b) => isContradictory([a, b]) && overlap(a, b, settle)),
  );
}

function namesOf(claims: readonly Claim[]): string[] {
  return [...new Set(claims.map(({ node }) => node.name))].sort();
}

function describeMac(vni: number, claims: readonly Claim[], settle: number): Sighted {
  const [first] = claims;
  const mac = first?.mac ?? '';
  const ips = [...new Set(claims.map(({ ip }) => ip))].sort();
  const nodes = namesOf(claims);
  const look = { node: nodes[0] ?? '', command: LOOK.explain(ips[0] ?? '') };
  const found = FOUND['mac-twice']({ vni, mac, nodes, ips });
  return {
    finding: finding('mac-twice', { vni, nodes, addresses: ips, found, look }),
    isMoving: !isProven(claims, settle),
    again: nodes.map((node) => ({ node, details: [] })),
  };
}

function describeAddress(vni: number, ip: IpAddress, claims: readonly Claim[], settle: number): Sighted {
  const owners = split(claims, isHost).flatMap((some) =>
    some.map(({ node, mac }) => ({ node: node.name, mac })).sort((a, b) => (a.node < b.node ? -1 : 1)),
  );
  const nodes = owners.map(({ node }) => node);
  const found = FOUND['two-owners']({ vni, ip, owners });
  const look = { node: nodes[0] ?? '', command: LOOK.explain(ip) };
  return {
    finding: finding('two-owners', { vni, nodes, addresses: [ip], found, look }),
    isMoving: !isProven(claims, settle),
    again: nodes.map((node) => ({ node, details: [] })),
  };
}
