// The reports of a large fabric as files, as a gathering leaves them: digests, and addresses where they differ; some faults.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { IpAddress, Mac } from '../../src/base/address.ts';
import { digestOf } from '../../src/core/digest.ts';
import { Random } from './random.ts';

export interface LargeFabric {
  readonly nodes: number;
  /** Hosts of each node, spread over the VNIs. */
  readonly hosts: number;
  readonly vnis: number;
  readonly seed: number;
  /** How many faults of each kind. */
  readonly faults: number;
}

const AT = 1_800_000_000;
const AGE = 50_000;

interface Host {
  readonly ip: string;
  readonly mac: string;
}

/** Writes a file for each node; returns what the audit must find, as `check address node`. */
export function writeLargeFabric(dir: string, { nodes, hosts, vnis, seed, faults }: LargeFabric): string[] {
  const random = new Random(seed);
  const each = hosts / vnis;
  const own = Array.from({ length: nodes }, (_, node) =>
    Array.from({ length: vnis }, (_, v) =>
      Array.from({ length: each }, (_, i) => hostOf((node * vnis + v) * each + i)),
    ),
  );
  const claims = own.map((tables) => tables.map((table) => [...table]));
  /** What a node has of another one in a VNI, where that is not what the other one has. */
  const other = new Map<string, Host[]>();
  const expected: string[] = [];
  const table = (node: number, vni: number): Host[] => claims[node]?.[vni] ?? [];
  const places = random.shuffle(Array.from({ length: nodes }, (_, node) => node));
  for (let i = 0; i < faults; i++) {
    const [a = 0, b = 1, c = 2] = places.splice(0, 3);
    const vni = random.below(vnis);
    const seen = own[a]?.[vni] ?? [];
    const victim = seen[random.below(seen.length)];
    if (victim === undefined) continue;
    switch (i % 4) {
      case 0:
        other.set(
          `${b} ${a} ${vni}`,
          seen.filter((host) => host !== victim),
        );
        expected.push(`hole ${victim.ip} ${nameOf(b)}`);
        break;
      case 1: {
        const ghost = hostOf(nodes * hosts + i);
        other.set(`${b} ${a} ${vni}`, [...seen, ghost]);
        expected.push(`ghost ${ghost.ip} ${nameOf(b)}`);
        break;
      }
      case 2:
        // All other nodes have the first owner.
        table(c, vni).push({ ip: victim.ip, mac: hostOf(nodes * hosts + i).mac });
        expected.push(...[a, c].map((node) => `two-owners ${victim.ip} ${nameOf(node)}`));
        break;
      default:
        other.set(
          `${b} ${a} ${vni}`,
          seen.map((host) => (host === victim ? { ...host, mac: hostOf(nodes * hosts + i).mac } : host)),
        );
        expected.push(`wrong-mac ${victim.ip} ${nameOf(b)}`);
    }
  }
  const groups = own.map((tables, node) => tables.map((hosts, vni) => remoteGroup(vni, node, hosts, false)));
  for (let node = 0; node < nodes; node++) {
    const remote: string[] = [];
    for (let place = 0; place < nodes; place++) {
      if (place === node) continue;
      for (let vni = 0; vni < vnis; vni++) {
        const changed = other.get(`${node} ${place} ${vni}`);
        remote.push(
          changed === undefined ? (groups[place]?.[vni] ?? '') : remoteGroup(vni, place, changed, true),
        );
      }
    }
    const at = AT + (node % 40) / 10;
    writeFileSync(join(dir, `${nameOf(node)}.json`), documentOf(node, at, claims[node] ?? [], remote));
  }
  return expected.sort();
}

/**
 * Writes a file for each node of a fabric that has fallen into two halves, as with the links between two sites down: no node has a
 * host of the other half. `step`: seconds from one report to the next.
 */
export function writeSplitFabric(
  dir: string,
  { nodes, hosts, from, step }: Pick<LargeFabric, 'nodes' | 'hosts'> & { from: number; step: number },
): void {
  const own = Array.from({ length: nodes }, (_, node) =>
    Array.from({ length: hosts }, (_, i) => hostOf(node * hosts + i)),
  );
  const groups = own.map((table, node) => remoteGroup(0, node, table, false));
  const isFirst = (node: number): boolean => node < nodes / 2;
  for (const [node, table] of own.entries()) {
    const remote = groups.filter((_, place) => place !== node && isFirst(place) === isFirst(node));
    writeFileSync(
      join(dir, `${nameOf(node)}.json`),
      documentOf(node, AT + from + node * step, [table], remote),
    );
  }
}

function hostOf(id: number): Host {
  const bytes = [(id >> 16) & 255, (id >> 8) & 255, id & 255];
  return {
    ip: `10.${bytes.join('.')}`,
    mac: `02:00:00:${bytes.map((byte) => byte.toString(16).padStart(2, '0')).join(':')}`,
  };
}

function nameOf(node: number): string {
  return `hv${String(node).padStart(4, '0')}`;
}

function vtepOf(node: number): string {
  return `192.0.${node >> 8}.${node & 255}`;
}

function groupOf(vni: number, node: number, hosts: readonly Host[]): object {
  const digest = digestOf(hosts.map(({ ip, mac }) => ({ ip: ip as IpAddress, mac: mac as Mac })));
  return { vni: 100 + vni, place: vtepOf(node), count: hosts.length, digest, youngest: AGE };
}

function remoteGroup(vni: number, node: number, hosts: readonly Host[], isListed: boolean): string {
  const entries = hosts.map((host) => ({ ...host, age: AGE }));
  return JSON.stringify({ ...groupOf(vni, node, hosts), ...(isListed ? { entries } : {}) });
}

function documentOf(
  node: number,
  at: number,
  tables: readonly (readonly Host[])[],
  remote: readonly string[],
): string {
  const local = tables.map((hosts, vni) => ({
    ...groupOf(vni, node, hosts),
    entries: hosts.map((host) => ({ ...host, age: AGE, state: 'owned' })),
  }));
  const bindings = tables.flatMap((hosts, vni) =>
    hosts.map(({ ip, mac }, i) => ({
      bridge: `br${vni}`,
      device: `br${vni}`,
      vlan: 0,
      ip,
      mac,
      port: `tap${i}i0`,
      source: 'learned',
      state: 'installed',
      age: 3,
      because: '',
      advertised: true,
      hindrance: '',
      neighbor: 'noarp',
    })),
  );
  const fabric = {
    at,
    node: { name: nameOf(node), routerId: vtepOf(node), vteps: [vtepOf(node)] },
    versions: { snoopy: '0.1.0', kernel: '6.12.48', frr: '10.3' },
    succeededAt: at - 4,
    vnis: tables.map((_, vni) => ({
      vni: 100 + vni,
      active: true,
      vtep: vtepOf(node),
      bridge: `br${vni}`,
      vlan: 0,
      suppress: true,
    })),
    local,
    conflicts: [],
  };
  const head = {
    version: 1,
    ok: true,
    bindings,
    ports: [],
    frr: { state: 'answered', message: '' },
    ring: { pending: false, dropped: 0 },
    errors: [],
    fabric,
  };
  // The groups of other nodes are the same text in every report.
  return `${JSON.stringify(head).slice(0, -2)},"remote":[${remote.join(',')}]}}\n`;
}
