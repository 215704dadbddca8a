// The audit: what two reports prove, what follows from another finding, and documents that are not as they must be.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { IpAddress, Mac } from '../../../src/base/address.ts';
import { audit } from '../../../src/core/audit/audit.ts';
import { Collection } from '../../../src/core/audit/collection.ts';
import { readDocument } from '../../../src/core/audit/document.ts';
import { lacks, overlap } from '../../../src/core/audit/motion.ts';
import { FINDING_IDS, STATUS } from '../../../src/core/audit/wording.ts';
import { digestOf, digestsWith } from '../../../src/core/digest.ts';
import { FabricModel, type ModelNode, type ModelOptions, START } from '../../lib/fabric-model.ts';

const NEVER = Number.NEGATIVE_INFINITY;

function pair(n: number): { ip: IpAddress; mac: Mac } {
  return { ip: `10.0.0.${n}` as IpAddress, mac: `02:00:00:00:00:0${n}` as Mac };
}

test('a digest is that of the set: no order, no pair twice the same as none', () => {
  const [a, b, c] = [pair(1), pair(2), pair(3)];
  assert.equal(digestOf([a, b, c]), digestOf([c, a, b]));
  assert.equal(digestOf([]), '0000000000000000');
  assert.notEqual(digestOf([a, a]), digestOf([]));
  const all = [[a], [b], [a, b], [a, c], [{ ip: a.ip, mac: b.mac }], [{ ip: b.ip, mac: a.mac }]];
  assert.equal(new Set(all.map(digestOf)).size, all.length);
  // The contract between nodes of different versions.
  const first = { ip: '10.1.1.1' as IpAddress, mac: '02:00:00:00:01:01' as Mac };
  assert.equal(digestOf([first]), '113ba020f7391290');
});

test('digests with some entries or without them', () => {
  const [a, b, c] = [pair(1), pair(2), pair(3)];
  const wanted = [[a], [a, b], [a, c], [a, b, c]].map(digestOf);
  assert.deepEqual(new Set(digestsWith([a], [b, c])), new Set(wanted));
  const many = Array.from({ length: 9 }, (_, i) => pair(i + 1));
  assert.deepEqual(new Set(digestsWith([], many)), new Set([digestOf([]), digestOf(many)]));
});

test('two nodes had an address at one time only if both had it for longer than a change takes', () => {
  assert.ok(overlap({ since: 0, at: 100 }, { since: 90, at: 100 }, 5));
  assert.ok(!overlap({ since: 0, at: 100 }, { since: 96, at: 101 }, 5), 'it may just have come');
  assert.ok(!overlap({ since: 0, at: 90 }, { since: 95, at: 120 }, 5), 'it came after the first report');
  assert.ok(overlap({ since: NEVER, at: 90 }, { since: NEVER, at: 120 }, 5));
});

test('a node lacks an address only if its report is not later than the other by more than a change takes', () => {
  assert.ok(lacks({ since: 0, at: 100 }, 100, 5));
  assert.ok(lacks({ since: 0, at: 100 }, 50, 5));
  assert.ok(lacks({ since: 0, at: 100 }, 105, 5));
  assert.ok(!lacks({ since: 0, at: 100 }, 106, 5), 'it may have gone meanwhile');
  assert.ok(!lacks({ since: 96, at: 100 }, 100, 5), 'it may not have arrived yet');
});

test('every check has a status, failures come before the warnings about single nodes', () => {
  for (const id of FINDING_IDS) assert.ok(['failure', 'warning'].includes(STATUS[id]), id);
  assert.deepEqual(FINDING_IDS.slice(0, 4), ['two-owners', 'mac-twice', 'ghost', 'hole']);
});

const SOUND: ModelOptions = {
  seed: 1,
  nodes: 3,
  vnis: 1,
  hosts: 2,
  window: 0,
  faults: 0,
  changes: 0,
  settle: 5,
};

type Fields = Record<string, unknown>;

/** Documents of three sound nodes; `edit` changes the first. */
function documents(edit: (document: Fields, fabric: Fields) => void = () => {}): Fields[] {
  const model = new FabricModel(SOUND);
  const all = model.nodes.map((node) => model.document(node) as Fields);
  const [first] = all;
  assert.ok(first);
  edit(first, first['fabric'] as Fields);
  return all;
}

function auditOf(all: readonly unknown[], settle = 5) {
  const collection = new Collection();
  for (const [i, document] of all.entries()) collection.add(readDocument(document, `file${i + 1}`));
  return audit(collection, settle);
}

test('a document that is not as it must be is a finding about its file, and the others are audited', () => {
  const cases: readonly (readonly [unknown, RegExp])[] = [
    [null, /^file1: document is no object$/],
    [[], /^file1: document is no object$/],
    [{}, /^file1: no report of `snoopy status --all --format json`$/],
    [{ version: 1, ok: false, errors: [{ message: 'Cannot read it' }] }, /^file1: Cannot read it$/],
    [documents((document) => delete document['frr'])[0], /^file1: frr is no object$/],
    [documents((_, fabric) => (fabric['at'] = 'now'))[0], /^file1: fabric\.at is no number$/],
    [documents((_, fabric) => (fabric['remote'] = {}))[0], /^file1: fabric\.remote is no list$/],
    [
      documents(
        (_, fabric) =>
          (fabric['local'] = [
            { vni: 1, place: '192.0.0.1', count: 1, digest: '', youngest: 1, entries: [{ ip: 'x' }] },
          ]),
      )[0],
      /^n1: its report does not list its own addresses$/,
    ],
    // A place is part of a command to copy.
    [
      documents((_, fabric) => (((fabric['remote'] as Fields[])[0] as Fields)['place'] = '192.0.0.2; id'))[0],
      /^file1: fabric\.remote\.place is no next hop$/,
    ],
  ];
  for (const [document, message] of cases) {
    const { findings, nodes } = auditOf([document, ...documents().slice(1)]);
    const [first] = findings;
    assert.equal(first?.id, 'no-report', JSON.stringify(document));
    assert.match(first?.found ?? '', message);
    assert.equal(nodes, 2);
  }
});

test('of several reports of one node the newest counts, in whatever order they come', () => {
  const model = new FabricModel(SOUND);
  const [node] = model.nodes;
  assert.ok(node);
  const old = model.document(node, START - 1000) as { fabric: { vnis: { bridge: string }[] } };
  for (const vni of old.fabric.vnis) vni.bridge = 'br9';
  for (const all of [
    [old, ...documents()],
    [...documents(), old],
  ]) {
    const { nodes, findings } = auditOf(all);
    assert.deepEqual([nodes, findings], [3, []]);
  }
});

test('what is in motion is confirmed only by reports that are all before the newest ones', () => {
  const model = new FabricModel(SOUND);
  const [n1, n2, n3] = model.nodes;
  assert.ok(n1 && n2 && n3);
  // The third node lacks the addresses of the second one, and is asked a minute later.
  const lacking = (at: number): Fields => {
    const document = model.document(n3, at) as Fields;
    const fabric = document['fabric'] as Fields;
    const remote = (fabric['remote'] as Fields[]).filter(({ place }) => place !== n2.vtep);
    return { ...document, fabric: { ...fabric, remote } };
  };
  const gather = (later: number): object[] => [
    model.document(n1, START + later),
    model.document(n2, START + later),
    lacking(START + later + 60),
  ];
  const found = (all: readonly object[]) => {
    const { findings, moving } = auditOf(all);
    return [findings.length, moving.length];
  };
  assert.deepEqual(found(gather(0)), [0, 1]);
  assert.deepEqual(found([...gather(0), ...gather(300)]), [1, 0]);
  assert.deepEqual(found([...gather(0), ...gather(0)]), [0, 1], 'the same reports twice');
  assert.deepEqual(found([...gather(0), model.document(n1, START + 300)]), [0, 1], 'of another node');
  assert.deepEqual(found([...gather(0), lacking(START + 300)]), [0, 1], 'without the owner');
  assert.deepEqual(found([...gather(0), ...gather(30)]), [0, 1], 'the owner again before the other node');
});

test('a clock that is ahead is that of one node, the others are not old', () => {
  const all = documents((_, fabric) => {
    fabric['at'] = START + 3600;
    fabric['succeededAt'] = START + 3590;
  });
  assert.deepEqual(
    auditOf(all).findings.map(({ id, found }) => [id, found]),
    [['old-report', 'n1: its report is 60m newer than most, or its clock is ahead']],
  );
});

test('a release is newer than its candidates', () => {
  const behind = (version: string) => {
    const all = documents(
      (_, fabric) => (fabric['versions'] = { snoopy: version, kernel: '6.12', frr: null }),
    );
    return auditOf(all).findings.map(({ found }) => found);
  };
  assert.deepEqual(behind('1.2.10-rc.1'), ['version 1.2.10-rc.1 at n1, 1.2.10 elsewhere']);
  assert.deepEqual(behind('1.2.9'), ['version 1.2.9 at n1, 1.2.10 elsewhere']);
  assert.deepEqual(behind('1.2.11-rc.1'), ['version 1.2.10 at n2, n3, 1.2.11-rc.1 elsewhere']);
});

test('a node that did not answer twice is reported once; a next hop counts the addresses of all its VNIs', () => {
  const model = new FabricModel({ ...SOUND, vnis: 2 });
  const { findings } = auditOf([
    ...model.nodes.slice(1).map((node) => model.document(node)),
    ...['late', 'no answer'].map((message) => ({ version: 1, ok: false, errors: [{ message }] })),
  ]);
  assert.deepEqual(
    findings.map(({ id, found }) => [id, found]),
    [
      ['no-report', 'file3: late'],
      ['no-report', 'file4: no answer'],
      ['unknown-place', '192.0.0.1 is the next hop for 4 addresses at n2, n3, and no report is from there'],
    ],
  );
  const collection = new Collection();
  for (const message of ['late', 'no answer']) collection.add({ name: 'n1', message });
  assert.deepEqual(
    audit(collection, 5).findings.map(({ found }) => found),
    ['n1: late; no answer'],
  );
});

test('a node that answers no more is reported, one that answers later is not', () => {
  const model = new FabricModel(SOUND);
  const all = model.nodes.map((node) => readDocument(model.document(node), ''));
  const missing = { name: model.nodes[0]?.name ?? '', message: 'no answer' };
  const found = (...reports: Parameters<Collection['add']>[0][]): string[] => {
    const collection = new Collection();
    for (const report of reports) collection.add(report);
    return audit(collection, 5).findings.map(({ found }) => found);
  };
  assert.deepEqual(found(...all, missing), ['n1: no answer']);
  assert.deepEqual(found(missing, ...all), []);
});

test('of two clocks either may be the wrong one', () => {
  const [first, second] = documents((_, fabric) => {
    fabric['at'] = START + 3600;
    fabric['succeededAt'] = START + 3590;
  });
  const old = auditOf([first, second]).findings.filter(({ id }) => id === 'old-report');
  assert.deepEqual(
    old.map(({ found }) => found),
    [
      'n1: its report is 60m newer than most, or its clock is ahead',
      'n2: its report is 60m older than most, or its clock is behind',
    ],
  );
});

test('--since knows a node again, whatever other nodes have its name', () => {
  const model = new FabricModel({ ...SOUND, nodes: 4 });
  const collect = (count: number, edit: (node: Fields) => void = () => {}): Collection => {
    const collection = new Collection();
    for (const node of model.nodes.slice(0, count)) {
      const { name } = node;
      const document = model.document(node) as Fields;
      const fabric = document['fabric'] as Fields;
      const identity = fabric['node'] as Fields;
      if (name === 'n4') identity['name'] = 'n1';
      edit(identity);
      collection.add(readDocument(document, name));
    }
    return collection;
  };
  const changes = (now: Collection, old: Collection) => {
    const { changes: found } = audit(now, 5, old);
    return { nodes: found?.nodes, moved: found?.addresses.moved, findings: found?.findings.new };
  };
  const [three, four] = [collect(3), collect(4)];
  const other = 'n1 (192.0.0.4)';
  assert.deepEqual(changes(four, three), { nodes: { new: [other], gone: [] }, moved: [], findings: [] });
  const { nodes, moved } = changes(three, four);
  assert.deepEqual({ nodes, moved }, { nodes: { new: [], gone: [other] }, moved: [] });
  // Without bgpd it is known by its VTEP; without FRR it may be either of the two, and is neither.
  const withoutBgpd = collect(3, (node) => Object.assign(node, { routerId: null }));
  assert.deepEqual(changes(four, withoutBgpd).nodes, { new: [other], gone: [] });
  const withoutFrr = collect(3, (node) => {
    if (node['name'] === 'n1') Object.assign(node, { routerId: null, vteps: [] });
  });
  assert.deepEqual(changes(three, withoutFrr).nodes, { new: [], gone: [] });
  assert.deepEqual(changes(four, withoutFrr).nodes, { new: ['n1 (192.0.0.1)', other], gone: ['n1'] });
  const replaced = collect(3, (node) => {
    if (node['name'] === 'n1') node['routerId'] = '192.0.0.99';
  });
  assert.deepEqual(changes(replaced, three).nodes, { new: ['n1'], gone: ['n1 (192.0.0.1)'] });
});

test('--since confirms what is in motion at a node whose name has changed', () => {
  const model = new FabricModel({ ...SOUND, nodes: 4 });
  const [n1, n2, n3, n4] = model.nodes;
  assert.ok(n1 && n2 && n3 && n4);
  const edited = (node: ModelNode, at: number, edit: (fabric: Fields) => void): Fields => {
    const document = model.document(node, at) as Fields;
    edit(document['fabric'] as Fields);
    return document;
  };
  // The first node lacks the addresses of the second one, and is asked a minute later.
  const lack = (fabric: Fields): void => {
    fabric['remote'] = (fabric['remote'] as Fields[]).filter(({ place }) => place !== n2.vtep);
  };
  const gather = (at: number): Fields[] => [
    model.document(n2, at) as Fields,
    model.document(n3, at) as Fields,
    edited(n1, at + 60, lack),
  ];
  const collect = (all: readonly Fields[]): Collection => {
    const collection = new Collection();
    for (const one of all) collection.add(readDocument(one, ''));
    return collection;
  };
  const twin = edited(n4, START + 600, (fabric) => Object.assign(fabric['node'] as Fields, { name: 'n1' }));
  const report = audit(collect([...gather(START + 600), twin]), 5, collect(gather(START)));
  assert.deepEqual(
    report.findings.map(({ id, nodes }) => [id, nodes]),
    [['hole', ['n1 (192.0.0.1)']]],
  );
});

test('nodes of one name are distinguished by their router IDs', () => {
  const all = documents();
  for (const document of all) ((document['fabric'] as Fields)['node'] as Fields)['name'] = 'localhost';
  const [first] = all.map((document) => document['fabric'] as Fields);
  for (const vni of (first?.['vnis'] ?? []) as Fields[]) vni['suppress'] = false;
  const { nodes, findings } = auditOf(all);
  assert.equal(nodes, 3);
  assert.deepEqual(
    findings.map(({ id, nodes: names }) => [id, names]),
    [['suppress', ['localhost (192.0.0.1)']]],
  );
});

/** As zebra answers without bgpd: it has no VNI, and so no neighbor. */
function loseVnis(fabric: Fields): void {
  for (const vni of fabric['vnis'] as Fields[]) Object.assign(vni, { active: false, vtep: null });
  Object.assign(fabric['node'] as Fields, { vteps: [], routerId: null });
  Object.assign(fabric, { local: [], remote: [] });
}

test('a node whose zebra answers and has none of its VNIs active has no FRR', () => {
  const all = new FabricModel({ ...SOUND, hosts: 0 }).nodes;
  const findings = (edit: (document: Fields, fabric: Fields) => void) => {
    const [first, ...others] = all.map((node) => new FabricModel({ ...SOUND, hosts: 0 }).document(node));
    const document = first as Fields;
    edit(document, document['fabric'] as Fields);
    return auditOf([document, ...others]).findings.map(({ id, status, nodes, found, look }) => [
      [id, status, nodes, look],
      found,
    ]);
  };
  assert.deepEqual(
    findings((_, fabric) => loseVnis(fabric)),
    [
      [
        ['no-frr', 'failure', ['n1'], { node: 'n1', command: 'snoopy doctor' }],
        'n1: none of its VNIs (100) is active: bgpd is not running or has no advertise-all-vni, or the VXLAN ports or bridges are down',
      ],
    ],
  );
  const vnisOf = (fabric: Fields): Fields[] => fabric['vnis'] as Fields[];
  const sound: readonly ((document: Fields, fabric: Fields) => void)[] = [
    // A VNI that zebra has, and one that is in no EVPN.
    (_, fabric) =>
      vnisOf(fabric).push({ vni: 900, vtep: null, bridge: 'br0', vlan: 9, suppress: true } as Fields),
    // Only bridges without a VNI.
    (_, fabric) => {
      loseVnis(fabric);
      fabric['vnis'] = [];
    },
    // A tunnel of another program: the bridge is not configured.
    (document, fabric) => {
      loseVnis(fabric);
      document['bridges'] = [{ name: 'br1' }];
    },
    // A tunnel without a local address: zebra has the VNI, but no tunnel end.
    (_, fabric) => {
      for (const vni of vnisOf(fabric)) vni['vtep'] = null;
    },
    // The same in a report without `active`: zebra has a table of neighbors.
    (_, fabric) => {
      for (const vni of vnisOf(fabric)) {
        vni['vtep'] = null;
        delete vni['active'];
      }
      fabric['local'] = [
        { vni: 100, place: '', count: 0, digest: digestOf([]), youngest: null, entries: [] },
      ];
    },
  ];
  for (const edit of sound) assert.deepEqual(findings(edit), [], String(edit));
});

test('a node with a VNI that is active at others and not there', () => {
  const model = new FabricModel({ ...SOUND, vnis: 3, hosts: 1 });
  const lost = (document: Fields, ...vnis: readonly number[]): Fields => {
    const fabric = document['fabric'] as Fields;
    const isLeft = ({ vni }: Fields): boolean => !vnis.includes(vni as number);
    for (const key of ['local', 'remote']) fabric[key] = (fabric[key] as Fields[]).filter(isLeft);
    for (const vni of fabric['vnis'] as Fields[])
      if (!isLeft(vni)) Object.assign(vni, { active: false, vtep: null });
    return document;
  };
  const without = (places: readonly string[], ...vnis: readonly number[]): Fields[] =>
    model.nodes.map((node) => {
      const document = model.document(node) as Fields;
      const fabric = document['fabric'] as Fields;
      fabric['remote'] = (fabric['remote'] as Fields[]).filter(
        ({ vni, place }) => !(vnis.includes(vni as number) && places.includes(place as string)),
      );
      return places.includes(node.vtep) ? lost(document, ...vnis) : document;
    });
  const findings = (documents: readonly Fields[]) =>
    auditOf(documents).findings.map(({ id, status, vni, nodes, found, look }) => ({
      ...{ id, status, vni, nodes, found, look },
    }));
  const [n1, n2] = model.nodes;
  assert.ok(n1 && n2);
  const look = { node: 'n1', command: 'snoopy doctor' };
  assert.deepEqual(findings(without([n1.vtep], 101)), [
    {
      ...{ id: 'no-vni', status: 'failure', vni: 101, nodes: ['n1'], look },
      found: 'n1: zebra lacks VNI 101, or its VXLAN port or bridge is down; elsewhere it is active',
    },
  ]);
  // A port in no bridge is the same, and not another bridge as well. Also with its only VNI: zebra has that one, and bgpd runs.
  for (const vnis of [[101], [100, 101, 102]]) {
    const documents = without([n1.vtep], ...vnis);
    const fabric = documents[0]?.['fabric'] as Fields;
    for (const one of fabric['vnis'] as Fields[])
      if (vnis.includes(one['vni'] as number)) Object.assign(one, { vtep: n1.vtep, bridge: null });
    assert.deepEqual(
      findings(documents).map(({ id, nodes, found, look: { command } }) => [id, nodes, found, command]),
      [
        [
          'no-vni',
          ['n1'],
          `n1: zebra has VNI ${vnis.join(', ')}, and its VXLAN port is in no bridge; elsewhere it is active`,
          'ip -d link show type vxlan',
        ],
      ],
    );
  }
  // VNIs that are lost at the same nodes are one finding, as when one port has them all.
  assert.deepEqual(findings(without([n1.vtep, n2.vtep], 101, 102)), [
    {
      ...{ id: 'no-vni', status: 'failure', vni: null, nodes: ['n1', 'n2'], look },
      found: 'n1, n2: zebra lacks VNI 101, 102, or its VXLAN port or bridge is down; elsewhere it is active',
    },
  ]);
  // In no EVPN at all; or the bridge of another program.
  const everywhere = model.nodes.map(({ vtep }) => vtep);
  assert.deepEqual(findings(without(everywhere, 101)), []);
  const [first, ...others] = without([n1.vtep], 101);
  assert.deepEqual(findings([{ ...first, bridges: [{ name: 'br1' }] }, ...others]), []);
});

test('all nodes may have the address of their gateway, and nodes of one place their hosts', () => {
  const entry = { ip: '10.9.9.1', mac: '00:00:5e:00:01:01', age: 1000 };
  const group = (place: string, state: string) => ({
    vni: 200,
    place,
    count: 1,
    digest: digestOf([entry as never]),
    youngest: 1000,
    entries: [{ ...entry, state }],
  });
  const withGroup = (state: string, placeOf: (i: number) => string) =>
    documents().map((document, i) => {
      const fabric = document['fabric'] as Fields;
      return {
        ...document,
        fabric: { ...fabric, local: [...(fabric['local'] as object[]), group(placeOf(i), state)] },
      };
    });
  assert.deepEqual(auditOf(withGroup('gateway', (i) => `192.0.0.${i + 1}`)).findings, []);
  assert.deepEqual(auditOf(withGroup('owned', () => '03:00:00:00:00:00:00:00:00:01')).findings, []);
  const found = auditOf(withGroup('owned', (i) => `192.0.0.${i + 1}`)).findings;
  assert.deepEqual(
    found.map(({ id }) => id),
    ['mac-twice'],
  );
});

test('without a report there is nothing to say', () => {
  const { ok, nodes, findings, from } = auditOf([]);
  assert.deepEqual({ ok, nodes, findings, from }, { ok: true, nodes: 0, findings: [], from: null });
});
