// Entries that nodes have of a place, and that the place does not have: ghosts, wrong next hops, wrong VNIs, wrong MACs. Pure.

import { ensure, groupBy, split } from '../../base/group.ts';
import { type AuditedNode, advertised, type Claim, type Fabric, type Holder } from './collection.ts';
import { type Again, finding, type Sighted } from './finding.ts';
import { lacks, latest, overlap, type Presence } from './motion.ts';
import { type Extra, keyOf, namesOf, presenceOf } from './places.ts';
import { FOUND, LOOK } from './wording.ts';

type WrongId = 'ghost' | 'wrong-next-hop' | 'wrong-vni' | 'wrong-mac';

export interface Wrong extends Extra {
  readonly id: WrongId | 'none';
  /** The address at its owner. */
  readonly claim: Claim | undefined;
  readonly proven: readonly AuditedNode[];
  readonly moving: readonly AuditedNode[];
}

/**
 * What is wrong with entries that their places do not have. An address that one node has seen move is in motion everywhere:
 * while it moves, its old place does not have it any more, and not all nodes know yet.
 */
export function judgeAll(extras: readonly Extra[], fabric: Fabric, settle: number): Wrong[] {
  const first = fabric.nodes.reduce((least, { at }) => Math.min(least, at), Number.POSITIVE_INFINITY);
  const judged = extras.map((extra) => judge(extra, fabric, first, settle));
  const moving = new Set(judged.filter((one) => one.moving.length > 0).map(addressOf));
  return judged.map((one) =>
    one.proven.length > 0 && moving.has(addressOf(one))
      ? { ...one, proven: [], moving: [...one.proven, ...one.moving] }
      : one,
  );
}

function addressOf({ vni, entry }: Extra): string {
  return `${vni} ${entry.ip}`;
}

/** `first`: when the first report was made. */
function judge(extra: Extra, { claims }: Fabric, first: number, settle: number): Wrong {
  const { vni, place, entry, holders, members } = extra;
  const here = advertised(claims.get(vni)?.get(entry.ip) ?? []);
  const there = here.find((claim) => claim.place === place);
  const claim = there ?? here[0] ?? inAnotherVni(claims, extra);
  const isProven = (holder: Holder): boolean => {
    const presence = presenceOf(extra, holder);
    if (claim !== undefined) return overlap(presence, claim, settle);
    if (members.length === 0) return first - presence.since > settle;
    return members.every(({ at }) => lacks(presence, at, settle));
  };
  const [proven, moving] = split(holders, isProven);
  return {
    ...extra,
    ...{ id: idOf(extra, claim), claim },
    proven: proven.map(({ node }) => node),
    moving: moving.map(({ node }) => node),
  };
}

function idOf({ vni, place, members }: Extra, claim: Claim | undefined): Wrong['id'] {
  if (claim === undefined) return members.length === 0 ? 'none' : 'ghost';
  if (claim.vni !== vni) return 'wrong-vni';
  return claim.place === place ? 'wrong-mac' : 'wrong-next-hop';
}

/** The same host, at the same place, in another VNI. */
function inAnotherVni(claims: Fabric['claims'], { vni, place, entry }: Extra): Claim | undefined {
  for (const [other, table] of claims) {
    if (other === vni) continue;
    const same = advertised(table.get(entry.ip) ?? []).find(
      (claim) => claim.place === place && claim.mac === entry.mac,
    );
    if (same !== undefined) return same;
  }
  return undefined;
}

/**
 * Where nodes have an address otherwise than its owner: it is wrong there, not missing as well. Nor is it missing where FRR has
 * frozen it, or at a node of its segment that does not advertise it.
 */
export class Elsewhere {
  readonly #nodes = new Map<string, Set<AuditedNode>>();

  constructor(wrong: readonly Wrong[], { claims }: Pick<Fabric, 'claims'>) {
    for (const { claim, holders } of wrong) {
      if (claim === undefined) continue;
      for (const { node } of holders) this.#add(claim, node);
    }
    for (const table of claims.values())
      for (const all of table.values()) {
        const silent = all.filter(({ state }) => state === 'frozen' || state === 'inactive');
        if (silent.length === 0) continue;
        for (const claim of advertised(all))
          for (const { state, place, node } of silent)
            if (state === 'frozen' || place === claim.place) this.#add(claim, node);
      }
  }

  #add(claim: Claim, node: AuditedNode): void {
    ensure(this.#nodes, idOfClaim(claim), () => new Set<AuditedNode>()).add(node);
  }

  has(claim: Claim): ReadonlySet<AuditedNode> | undefined {
    return this.#nodes.get(idOfClaim(claim));
  }
}

/** The same for an address that two nodes of one place have. */
function idOfClaim({ vni, place, ip }: Claim): string {
  return `${vni} ${place} ${ip}`;
}

/** When the last of its parts came: the entry at its holders, the address at its owner. */
function lastOf(wrong: Wrong): Pick<Presence, 'since'> {
  const present = wrong.holders.map((holder) => presenceOf(wrong, holder));
  return { since: latest(wrong.claim === undefined ? present : [...present, wrong.claim]) };
}

export function describeWrong(wrong: readonly Wrong[]): Sighted[] {
  const parts = wrong.flatMap((one) => [
    { ...one, nodes: one.proven, isMoving: false },
    { ...one, nodes: one.moving, isMoving: true },
  ]);
  const groups = groupBy(
    parts.filter(({ nodes }) => nodes.length > 0),
    ({ id, vni, place, nodes, isMoving, claim, entry }) =>
      [
        id,
        vni,
        place,
        claim?.place,
        claim?.vni,
        isMoving,
        keyOf(nodes),
        id === 'wrong-mac' ? entry.ip : '',
      ].join(' '),
  );
  return [...groups.values()].flatMap((group): Sighted[] => {
    const [first] = group;
    if (first === undefined || first.id === 'none') return [];
    const { id, vni, place, claim, entry, members, isMoving } = first;
    const nodes = namesOf(first.nodes);
    const ips = group.map((one) => one.entry.ip).sort();
    const at = members.length === 0 ? place : `${place} (${namesOf(members).join(', ')})`;
    const data = { vni, ips, nodes, place: at, owner: claim?.node.name ?? '', mac: entry.mac };
    const found = wordsOf(id, data, claim);
    const look = { node: nodes[0] ?? '', command: LOOK.bgp({ vni, ip: entry.ip, mac: entry.mac }) };
    const holders = first.nodes.map(
      ({ name }): Again => ({ node: name, details: [place, ...(claim === undefined ? [] : [claim.place])] }),
    );
    const owners = [...members, ...(claim === undefined ? [] : [claim.node])].map(
      ({ name }): Again => ({ node: name, details: [] }),
    );
    return [
      {
        finding: finding(id, { vni, nodes, addresses: ips, found, look }),
        isMoving,
        since: latest(group.map(lastOf)),
        again: [...holders, ...owners],
      },
    ];
  });
}

interface WrongData {
  readonly vni: number;
  readonly ips: readonly string[];
  readonly nodes: readonly string[];
  readonly place: string;
  readonly owner: string;
  readonly mac: string;
}

function wordsOf(id: WrongId, data: WrongData, claim: Claim | undefined): string {
  switch (id) {
    case 'ghost':
      return FOUND.ghost(data);
    case 'wrong-next-hop':
      return FOUND['wrong-next-hop'](data);
    case 'wrong-vni':
      return FOUND['wrong-vni']({ ...data, right: claim?.vni ?? 0 });
    case 'wrong-mac':
      return FOUND['wrong-mac']({ ...data, right: claim?.mac ?? '' });
    default:
      return id satisfies never;
  }
}
