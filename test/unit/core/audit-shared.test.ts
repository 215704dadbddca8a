// The audit: addresses that several nodes have, by right or not: of gateways, of segments, of anycast VTEPs, frozen ones.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { IpAddress, Mac } from '../../../src/base/address.ts';
import { audit } from '../../../src/core/audit/audit.ts';
import { Collection } from '../../../src/core/audit/collection.ts';
import { readDocument } from '../../../src/core/audit/document.ts';
import { digestOf } from '../../../src/core/digest.ts';
import { START } from '../../lib/fabric-model.ts';

interface Row {
  readonly ip: string;
  readonly mac: string;
  /** The VTEP of the node by default. */
  readonly place?: string;
  readonly state?: string;
  /** AGE by default. */
  readonly age?: number;
}

interface Node {
  readonly vtep: string;
  readonly local: readonly Row[];
  readonly remote: readonly Row[];
}

const AGE = 1000;
const [A, B, C] = ['192.0.2.1', '192.0.2.2', '2001:db8::3'];
const SEGMENT = '03:00:00:00:00:00:00:00:00:01';
const GATEWAY = { ip: '10.1.1.1', mac: '00:00:5e:00:01:01' };
const OWN_GATEWAY = { ...GATEWAY, state: 'gateway' };

function host(n: number, place?: string): Row {
  const row = { ip: `10.1.0.${n}`, mac: `02:00:00:00:00:0${n}` };
  return place === undefined ? row : { ...row, place };
}

function groups({ vtep }: Node, rows: readonly Row[], isLocal: boolean): object[] {
  return [...new Set(rows.map(({ place = vtep }) => place))].map((place) => {
    const own = rows.filter((row) => (row.place ?? vtep) === place);
    const pairs = own.map(({ ip, mac }) => ({ ip: ip as IpAddress, mac: mac as Mac }));
    const entries = own.map(({ ip, mac, state = 'owned', age = AGE }) => {
      const entry = { ip, mac, age };
      return isLocal ? { ...entry, state } : entry;
    });
    const youngest = Math.min(...entries.map(({ age }) => age));
    return { vni: 100, place, count: own.length, digest: digestOf(pairs), youngest, entries };
  });
}

interface Document {
  readonly fabric: { readonly node: Record<string, unknown>; readonly remote: Record<string, unknown>[] };
}

function document(name: string, node: Node, at = START): object {
  const { vtep, local, remote } = node;
  return {
    version: 1,
    ok: true,
    frr: { state: 'answered', message: '' },
    ports: [],
    bindings: [],
    ring: { pending: false, dropped: 0 },
    errors: [],
    fabric: {
      at,
      node: { name, routerId: A, vteps: [vtep] },
      versions: { snoopy: '1.0.0', kernel: '6.12', frr: '10.3' },
      succeededAt: at - 10,
      vnis: [{ vni: 100, vtep, bridge: 'br0', vlan: 0, suppress: true }],
      local: groups(node, local, true),
      remote: groups(node, remote, false),
      conflicts: [],
    },
  };
}

function findings(...nodes: readonly Node[]): string[] {
  const collection = new Collection();
  for (const [i, node] of nodes.entries())
    collection.add(readDocument(document(`n${i + 1}`, node), `n${i + 1}`));
  const { findings: found, moving } = audit(collection, 5);
  assert.deepEqual(moving, []);
  return found.map(({ id, vni, addresses, nodes: at }) => `${id} ${vni} ${addresses.join()} ${at.join()}`);
}

test('a gateway address at every node is nowhere missing, whether the others have it from one or from none', () => {
  const [a, b, c] = [host(1), host(2), host(3)];
  assert.deepEqual(
    findings(
      { vtep: A, local: [a, OWN_GATEWAY], remote: [host(2, B), host(3, C)] },
      { vtep: B, local: [b, OWN_GATEWAY], remote: [host(1, A), host(3, C)] },
      { vtep: C, local: [c], remote: [host(1, A), host(2, B), { ...GATEWAY, place: A }] },
    ),
    [],
  );
});

test('a host with the address of a gateway is a second owner; with its MAC as well it is that gateway', () => {
  const fabric = (mac: string): readonly Node[] => [
    { vtep: A, local: [host(1), OWN_GATEWAY], remote: [host(3, C)] },
    { vtep: B, local: [OWN_GATEWAY], remote: [host(1, A), host(3, C)] },
    { vtep: C, local: [host(3), { ip: GATEWAY.ip, mac }], remote: [host(1, A)] },
  ];
  assert.deepEqual(findings(...fabric('02:00:00:00:00:09')), ['two-owners 100 10.1.1.1 n3,n1,n2']);
  assert.deepEqual(findings(...fabric(GATEWAY.mac)), []);
});

test('nodes of one anycast VTEP share their addresses, but one address with two MACs has two owners', () => {
  const fabric = (mac: string): readonly Node[] => [
    { vtep: A, local: [host(1), host(2)], remote: [host(3, C)] },
    { vtep: A, local: [{ ...host(1), mac }], remote: [host(3, C)] },
    { vtep: C, local: [host(3)], remote: [host(1, A), host(2, A)] },
  ];
  assert.deepEqual(findings(...fabric(host(1).mac)), []);
  assert.deepEqual(findings(...fabric('02:00:00:00:00:09')), ['two-owners 100 10.1.0.1 n1,n2']);
});

test('a ghost at one node of an anycast VTEP is found, whichever node has the address as well', () => {
  const fabric = (...states: readonly string[]): readonly Node[] => [
    ...states.map((state) => ({ vtep: A, local: [{ ...host(1), state }], remote: [host(3, C)] })),
    { vtep: C, local: [host(3)], remote: [host(1, A)] },
  ];
  assert.deepEqual(findings(...fabric('owned', 'ghost')), ['ghost 100 10.1.0.1 n2']);
  assert.deepEqual(findings(...fabric('ghost', 'owned')), ['ghost 100 10.1.0.1 n1']);
});

test('an address of a segment is not missing at a node of the segment that has it as inactive', () => {
  assert.deepEqual(
    findings(
      { vtep: A, local: [host(1, SEGMENT)], remote: [host(3, C)] },
      { vtep: B, local: [{ ...host(1, SEGMENT), state: 'inactive' }], remote: [host(3, C)] },
      { vtep: C, local: [host(3)], remote: [host(1, SEGMENT)] },
    ),
    [],
  );
});

test('an address that FRR has frozen at a node is not missing there as well', () => {
  assert.deepEqual(
    findings(
      { vtep: A, local: [host(1)], remote: [host(2, B), host(3, C)] },
      {
        vtep: B,
        local: [host(2), { ...host(1), mac: '02:00:00:00:00:09', state: 'frozen' }],
        remote: [host(3, C)],
      },
      { vtep: C, local: [host(3)], remote: [host(1, A), host(2, B)] },
    ),
    ['frozen 100 10.1.0.1 n2'],
  );
});

test('nodes of one name are one by their router ID, and by their VTEPs where that is not known', () => {
  type Identity = { readonly routerId: string | null; readonly vteps: readonly string[] };
  const namesOf = (nodes: readonly Identity[]): string[] => {
    const collection = new Collection();
    for (const node of nodes) {
      const { fabric, ...rest } = document('n1', { vtep: A, local: [], remote: [] }) as {
        readonly fabric: object;
      };
      collection.add(readDocument({ ...rest, fabric: { ...fabric, node: { name: 'n1', ...node } } }, 'n1'));
    }
    return collection
      .fabric()
      .nodes.map(({ name }) => name)
      .sort();
  };
  /** In whatever order the reports come. */
  const count = (...nodes: readonly Identity[]): number => {
    const orders = permutationsOf(nodes).map(namesOf);
    for (const names of orders) assert.deepEqual(names, orders[0], JSON.stringify(nodes));
    return orders[0]?.length ?? 0;
  };
  const ONE = { routerId: A, vteps: [A] };
  const TWO = { routerId: B, vteps: [B] };
  const NONE = { routerId: null, vteps: [] };
  assert.equal(count(ONE, { routerId: A, vteps: [A, B] }), 1, 'it has another tunnel now');
  assert.equal(count(ONE, { routerId: B, vteps: [A] }), 2, 'two nodes of one anycast VTEP');
  assert.equal(count(ONE, NONE), 1, 'FRR does not answer');
  assert.equal(count(ONE, { routerId: null, vteps: [B] }), 2, 'bgpd does not answer');
  assert.equal(count(NONE, NONE), 1);
  assert.equal(count(ONE, TWO, { routerId: null, vteps: [B] }), 2, 'its tunnel says which of them it is');
  assert.equal(count(ONE, TWO, NONE), 3, 'either');
  assert.equal(count(ONE, { routerId: B, vteps: [A] }, { routerId: null, vteps: [A] }), 3, 'either');
  const anycast = [ONE, { routerId: B, vteps: [A] }, { routerId: null, vteps: [A] }, NONE];
  assert.deepEqual(namesOf(anycast), [`n1 (${A})`, `n1 (${B})`, 'n1 (?)', `n1 (${A})`].sort());
});

function permutationsOf<T>(items: readonly T[]): T[][] {
  if (items.length < 2) return [[...items]];
  return items.flatMap((item, i) =>
    permutationsOf(items.filter((_, j) => j !== i)).map((rest) => [item, ...rest]),
  );
}

test('an old ghost is one at every node that has it, also where its place has just got another address', () => {
  const fresh = { ...host(4), age: 1 };
  const remote = [host(2, C), { ...fresh, place: C }, host(3, C)];
  const nodes = [
    { vtep: A, local: [host(1)], remote },
    { vtep: B, local: [], remote: [host(1, A), ...remote] },
    { vtep: C, local: [host(3), fresh], remote: [host(1, A)] },
  ];
  assert.deepEqual(findings(...nodes), ['ghost 100 10.1.0.2 n1,n2']);
  // Also when every node has reported before.
  const collection = new Collection();
  for (const at of [START - 60, START])
    for (const [i, node] of nodes.entries())
      collection.add(readDocument(document(`n${i + 1}`, node, at), `n${i + 1}`));
  assert.deepEqual(
    audit(collection, 5).findings.map(({ id, nodes: at }) => `${id} ${at.join()}`),
    ['ghost n1,n2'],
  );
});

test('the ages of a list count as long as its addresses are the same, whatever its node has listed since', () => {
  const fresh = { ...host(4), age: 1 };
  const seen = (age: number): readonly Row[] => [host(2, C), { ...host(4, C), age }, host(3, C)];
  const ghosts = (second: (document: Document) => void): string[] => {
    const collection = new Collection();
    const owner = { vtep: C, local: [host(3), fresh], remote: [] };
    for (const [name, node] of [
      ['n1', { vtep: A, local: [], remote: seen(1) }],
      ['n2', { vtep: B, local: [], remote: seen(1) }],
      ['n3', owner],
    ] as const)
      collection.add(readDocument(document(name, node), name));
    // n1 is asked once more, for the addresses of other places.
    const again = document('n1', { vtep: A, local: [], remote: seen(3) }, START + 2) as Document;
    second(again);
    collection.add(readDocument(again, 'n1'));
    const { findings: found, moving } = audit(collection, 5);
    assert.deepEqual(moving, []);
    return found.map(({ id, nodes: at }) => `${id} ${at.join()}`);
  };
  const withoutList = ({ fabric }: Document): void => {
    for (const group of fabric.remote) delete group['entries'];
  };
  assert.deepEqual(ghosts(withoutList), ['ghost n1,n2']);
  // A list of something else, as another program has written it.
  const malformed = ({ fabric }: Document): void => {
    for (const group of fabric.remote) group['entries'] = [{}];
  };
  assert.deepEqual(ghosts(malformed), ['ghost n1,n2']);
});

test('what is in motion is confirmed by earlier findings that have every address of it at every node of it, together', () => {
  const hosts = [host(1), host(2), host(4)];
  /** What n2 and n3 lack of n1, in two gatherings: each asks n1 first, and the others a minute later. */
  const confirmed = (...gatherings: readonly Record<'n2' | 'n3', readonly number[]>[]): string[] => {
    const collection = new Collection();
    for (const [i, lacking] of gatherings.entries()) {
      const at = START + i * 600;
      collection.add(readDocument(document('n1', { vtep: A, local: hosts, remote: [] }, at), 'n1'));
      for (const [name, vtep] of [
        ['n2', B],
        ['n3', C],
      ] as const) {
        const remote = hosts
          .filter((_, n) => !lacking[name].includes(n))
          .map((row) => ({ ...row, place: A }));
        const one = document(name, { vtep, local: [], remote }, at + 60) as Document;
        one.fabric.node['routerId'] = vtep;
        collection.add(readDocument(one, name));
      }
    }
    const { findings: found, moving } = audit(collection, 5);
    assert.equal(found.length + moving.length, 1);
    return found.map(({ id, addresses, nodes: at }) => `${id} ${addresses.join()} ${at.join()}`);
  };
  const one = { n2: [0], n3: [] };
  assert.deepEqual(confirmed(one, one), ['hole 10.1.0.1 n2']);
  assert.deepEqual(confirmed(one, { n2: [0, 1], n3: [] }), [], 'another address');
  assert.deepEqual(confirmed(one, { n2: [0], n3: [0] }), [], 'another node');
  assert.deepEqual(confirmed({ n2: [0], n3: [1] }, { n2: [0, 1], n3: [0, 1] }), [], 'the other half of each');
  assert.deepEqual(confirmed({ n2: [0, 1, 2], n3: [0, 1] }, { n2: [0, 1], n3: [0, 1] }), [
    'hole 10.1.0.1,10.1.0.2 n2,n3',
  ]);
});

test('a next hop that is only in replaced reports is not compared', () => {
  const collection = new Collection();
  const add = (remote: readonly Row[], at: number): void =>
    collection.add(readDocument(document('n1', { vtep: A, local: [], remote }, at), 'n1'));
  add([host(2, B)], START - 60);
  add([], START);
  const { findings: found, moving } = audit(collection, 5);
  assert.deepEqual([found, moving], [[], []]);
});

test('a later list of the node counts, also where its first report has no router ID', () => {
  const collection = new Collection();
  const add = (name: string, node: Node, at: number, routerId: string | null = A): void => {
    const one = document(name, node, at) as Document;
    one.fabric.node['routerId'] = routerId;
    collection.add(readDocument(one, name));
  };
  const fresh = { ...host(4), age: 1 };
  const remote = [host(2, C), { ...fresh, place: C }, host(3, C)];
  // Before the second reports the address of a host came anew.
  for (const [at, routerId] of [
    [START - 60, null],
    [START, A],
  ] as const)
    add('n1', { vtep: A, local: [], remote }, at, routerId);
  add('n3', { vtep: C, local: [host(3), fresh], remote: [] }, START);
  assert.deepEqual(
    audit(collection, 5).findings.map(({ id, nodes: at }) => `${id} ${at.join()}`),
    ['ghost n1'],
  );
});

test('a node that has got an entry after the report whose ages are kept may have got this one anew', () => {
  const collection = new Collection();
  const add = (name: string, node: Node, at: number): void =>
    collection.add(readDocument(document(name, node, at), name));
  // The host was gone when its node was asked, and is back.
  add('n1', { vtep: A, local: [], remote: [host(2, C), host(3, C)] }, START);
  add('n3', { vtep: C, local: [host(3)], remote: [] }, START + 3);
  add('n2', { vtep: B, local: [], remote: [{ ...host(2, C), age: 2 }, host(3, C)] }, START + 20);
  const { findings: found, moving } = audit(collection, 5);
  assert.deepEqual([found.map(({ id }) => id), moving.map(({ id }) => id)], [[], ['ghost']]);
});

test('a node without a local tunnel address has the VNI, and holes like any other', () => {
  const [a, c] = [host(1), host(3)];
  const collection = new Collection();
  for (const [name, node] of [
    ['n1', { vtep: A, local: [a], remote: [host(3, C)] }],
    ['n2', { vtep: B, local: [], remote: [host(3, C)] }],
    ['n3', { vtep: C, local: [c], remote: [host(1, A)] }],
  ] as const) {
    const one = document(name, node) as { fabric: { vnis: object[] } };
    if (name === 'n2')
      one.fabric.vnis = [{ vni: 100, active: true, vtep: null, bridge: 'br0', vlan: 0, suppress: true }];
    collection.add(readDocument(one, name));
  }
  assert.deepEqual(
    audit(collection, 5).findings.map(({ id, addresses, nodes: at }) => [id, addresses, at]),
    [['hole', ['10.1.0.1'], ['n2']]],
  );
});
