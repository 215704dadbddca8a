// What has changed between two gatherings of reports (`--since`): findings, nodes, and where addresses are. Pure.

import type { IpAddress } from '../../base/address.ts';
import { advertised, type Claim, type Fabric } from './collection.ts';
import type { Finding } from './finding.ts';

export interface Changes {
  readonly findings: { readonly new: readonly Finding[]; readonly fixed: readonly Finding[] };
  readonly nodes: { readonly new: readonly string[]; readonly gone: readonly string[] };
  readonly addresses: {
    readonly new: number;
    readonly gone: number;
    readonly moved: readonly Move[];
  };
}

/** An address that has another owner or another MAC now. */
export interface Move {
  readonly vni: number;
  readonly ip: IpAddress;
  readonly from: Owner;
  readonly to: Owner;
}

interface Owner {
  readonly node: string;
  readonly mac: string;
}

export interface Audited {
  readonly fabric: Fabric;
  readonly findings: readonly Finding[];
}

export function changesOf(old: Audited, now: Audited): Changes {
  const before = namesOf(old.fabric);
  const after = namesOf(now.fabric);
  return {
    findings: { new: without(now.findings, old.findings), fixed: without(old.findings, now.findings) },
    nodes: {
      new: [...after].filter((name) => !before.has(name)).sort(),
      gone: [...before].filter((name) => !after.has(name)).sort(),
    },
    addresses: compareOwners(old.fabric.claims, now.fabric.claims),
  };
}

function namesOf({ nodes }: Fabric): Set<string> {
  return new Set(nodes.map(({ name }) => name));
}

/** The findings of which at least one part is not among the others. */
function without(findings: readonly Finding[], others: readonly Finding[]): Finding[] {
  const known = new Set(others.flatMap(partsOf));
  return findings.filter((finding) => partsOf(finding).some((part) => !known.has(part)));
}

/** By address where a finding is about addresses, else by node: the nodes of a hole may change while it stays one. */
function partsOf({ id, vni, addresses, nodes }: Finding): string[] {
  return (addresses.length > 0 ? addresses : nodes).map((subject) => `${id} ${vni} ${subject}`);
}

function compareOwners(old: Fabric['claims'], now: Fabric['claims']): Changes['addresses'] {
  const moved: Move[] = [];
  let added = 0;
  let gone = 0;
  for (const [vni, table] of now)
    for (const [ip, claims] of table) {
      const after = ownerOf(claims);
      const before = ownerOf(old.get(vni)?.get(ip) ?? []);
      if (after === undefined) continue;
      if (before === undefined) added += 1;
      else if (before.node !== after.node || before.mac !== after.mac)
        moved.push({ vni, ip, from: before, to: after });
    }
  for (const [vni, table] of old)
    for (const [ip, claims] of table)
      if (ownerOf(claims) !== undefined && ownerOf(now.get(vni)?.get(ip) ?? []) === undefined) gone += 1;
  return { new: added, gone, moved };
}

/** The first by name of those that advertise it; undefined when no node does. */
function ownerOf(claims: readonly Claim[]): Owner | undefined {
  const owners = advertised(claims).map(({ node, mac }) => ({ node: node.name, mac }));
  return owners.reduce<Owner | undefined>(
    (first, owner) => (first === undefined || owner.node < first.node ? owner : first),
    undefined,
  );
}
