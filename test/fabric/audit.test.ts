// The audit over three nodes with FRR: each fault is made for real, and found as that and as nothing else.
import assert from 'node:assert/strict';
import { readFileSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { linesOf } from '../demo/picture.ts';
import { Gathering, runAudit, summarize } from '../lib/audit.ts';
import { deepTest } from '../lib/depth.ts';
import { Fabric } from '../lib/fabric.ts';
import { findNeighbor } from '../lib/oracles.ts';
import { Snoopy } from '../lib/snoopy.ts';
import { until } from '../lib/wait.ts';

/** A change reaches all nodes within milliseconds, and there is one clock. */
const SETTLE = ['--settle', '1s'];
const PATIENCE = { timeoutMs: 45_000, everyMs: 500 };

const PICTURE = new URL('../../../docs/images/audit.svg', import.meta.url);

function withoutTime(line: string): string {
  return line.replace(/within \d+s/, 'within 2s');
}

let fabric: Fabric;
const nodes = new Map<string, Snoopy>();
let gathering: Gathering;

before(async () => {
  fabric = await Fabric.start({ nodes: 3, vms: 2 });
  for (const { number, node, frr } of fabric.nodes) {
    const name = `n${number}`;
    nodes.set(name, new Snoopy(fabric.scope, node.netns).beside(frr).named(name));
  }
  gathering = new Gathering(fabric.scope, nodes);
  for (const snoopy of nodes.values()) snoopy.reconcile();
  await announce();
});
after(() => fabric.close());

/** All VMs announce themselves; returns when every node has every address. */
async function announce(): Promise<void> {
  for (const { vms } of fabric.nodes) for (const vm of vms) vm.gratuitous();
  await until(
    'every node to have every address',
    () => {
      for (const snoopy of nodes.values()) snoopy.reconcile();
      return fabric.nodes.map(({ frr }) => frr.arpCache(100).length);
    },
    (counts) => counts.every((count) => count === 6),
    PATIENCE,
  );
}

function snoopyOf(number: number): Snoopy {
  const snoopy = nodes.get(`n${number}`);
  assert.ok(snoopy);
  return snoopy;
}

/**
 * Waits until the audit reports exactly this: what is just made is in motion first, and what the order of the reports leaves open
 * is confirmed by those before.
 */
async function finds(...expected: string[]): Promise<void> {
  gathering.gather();
  await until(
    `the audit to find ${expected.join('; ') || 'nothing'}`,
    () => {
      const before = gathering.keep('before');
      gathering.gather();
      const { findings, moving } = gathering.audit(...SETTLE, '--since', before);
      return { found: findings.map(summarize), moving: moving.map(summarize) };
    },
    ({ found, moving }) => moving.length === 0 && found.join('; ') === expected.join('; '),
    PATIENCE,
  );
}

test('three sound nodes: no finding, the whole report in lines below 200 bytes an address', async () => {
  await finds();
  const { ok, nodes: count, addresses } = gathering.audit(...SETTLE);
  assert.deepEqual([ok, count, addresses], [true, 3, 6]);
  const { stdout } = snoopyOf(1).run('status', '--all', '--format', 'json');
  assert.equal(stdout.trimEnd().split('\n').length, 1, 'one line');
  const { fabric: reported } = JSON.parse(stdout) as { fabric: Told };
  assert.deepEqual(reported.node, { name: 'n1', routerId: '192.0.2.1', vteps: ['192.0.2.1'] });
  assert.deepEqual(reported.vnis, [
    { vni: 100, active: true, vtep: '192.0.2.1', bridge: 'br0', vlan: 0, suppress: true },
  ]);
  const rows = reported.remote.flatMap(({ vni, place, entries }) =>
    (entries ?? []).map(({ ip, mac }) => `${vni} ${place} ${ip} ${mac}`),
  );
  const routes = fabric
    .node(1)
    .frr.macIpRoutes()
    .filter(({ nextHop }) => nextHop !== '0.0.0.0' && nextHop !== '192.0.2.1');
  assert.deepEqual(rows.sort(), routes.map(({ ip, mac, nextHop }) => `100 ${nextHop} ${ip} ${mac}`).sort());
  for (const group of reported.remote)
    assert.ok(JSON.stringify(group).length / group.count < 200, JSON.stringify(group));
  // Digests without addresses are enough here.
  gathering.gather({ args: ['--details', 'none'] });
  assert.deepEqual(gathering.audit(...SETTLE).findings, []);
  const streamed = [...nodes.values()].map(
    (snoopy) => snoopy.run('status', '--all', '--format', 'json').stdout,
  );
  assert.ok(streamed.every((line) => line.endsWith('\n')));
});

interface Told {
  readonly node: object;
  readonly vnis: readonly object[];
  readonly remote: readonly {
    readonly vni: number;
    readonly place: string;
    readonly count: number;
    readonly digest: string;
    readonly entries?: readonly { readonly ip: string; readonly mac: string }[];
  }[];
}

test('a hole by an import filter, a second owner by hand behind it, and the hole that it leaves', async () => {
  const { frr } = fabric.node(1);
  const peer = ['router bgp 65000', 'address-family l2vpn evpn'];
  const { netns } = fabric.node(2).node;
  const vm = fabric.vm(1, 1);
  frr.configure('route-map NOTHING deny 10');
  frr.configure(...peer, 'neighbor 192.0.2.2 route-map NOTHING in');
  try {
    await finds('hole 100 10.1.2.1,10.1.2.2 n1');

    // By digests alone it is only known where; then the node is asked for the addresses.
    gathering.gather({ args: ['--details', 'none'] });
    const { findings: proven, moving } = gathering.audit(...SETTLE);
    const [hole] = [...proven, ...moving];
    assert.equal(hole?.id, 'hole', 'a node that has nothing of another one needs no details');
    assert.deepEqual(hole?.look, {
      node: 'n1',
      command: `vtysh -c "show bgp l2vpn evpn route vni 100 mac 02:00:00:00:02:01 ip 10.1.2.1"`,
    });

    netns.run(
      'ip',
      'neigh',
      'replace',
      vm.ip,
      'lladdr',
      fabric.vm(2, 1).mac,
      'dev',
      'br0',
      'nud',
      'permanent',
    );
    await finds('two-owners 100 10.1.1.1 n1,n2', 'hole 100 10.1.2.1,10.1.2.2 n1');
    const { findings } = gathering.audit(...SETTLE);
    assert.equal(
      findings[0]?.found,
      '10.1.1.1 of VNI 100 has 2 owners: n1 (02:00:00:00:01:01), n2 (02:00:00:00:02:01)',
    );
    const text = runAudit(...SETTLE, gathering.now);
    assert.equal(text.code, 1);
    assert.match(text.stdout, /^3 nodes, reported within \d+s: 6 addresses in 1 VNI\nfailure {2}two-owners/);
    assert.match(text.stdout, /\n {9}on n1: snoopy explain 10\.1\.1\.1\n/);

    // When the second owner is gone, FRR 8.4 of the other nodes does not go back to the first one by itself; FRR 10.3 does.
    netns.run('ip', 'neigh', 'del', vm.ip, 'dev', 'br0');
    frr.configure(...peer, 'no neighbor 192.0.2.2 route-map NOTHING in');
    await finds(...(frr.version === '8.4' ? ['hole 100 10.1.1.1 n2,n3'] : []));
    fabric.node(1).node.netns.run('ip', 'neigh', 'del', vm.ip, 'dev', 'br0');
    snoopyOf(1).reconcile();
    await finds();
  } finally {
    netns.tryRun(['ip', 'neigh', 'del', vm.ip, 'dev', 'br0']);
    frr.configure(...peer, 'no neighbor 192.0.2.2 route-map NOTHING in');
    frr.configure('no route-map NOTHING');
  }
});

test('a ghost by PERMANENT: its own node reports that its kernel has no such neighbor', async () => {
  const { netns } = fabric.node(2).node;
  const [vm] = fabric.node(2).vms;
  const ghost = '10.1.2.99';
  netns.run('ip', 'neigh', 'replace', ghost, 'lladdr', vm?.mac ?? '', 'dev', 'br0', 'nud', 'permanent');
  await until(
    'a route to the ghost',
    () => fabric.node(3).frr.routesTo(ghost),
    (routes) => routes.length > 0,
  );
  // The kernel deletes all neighbors of a bridge that goes down; zebra ignores that for PERMANENT ones.
  netns.run('ip', 'link', 'set', 'br0', 'down');
  netns.run('ip', 'link', 'set', 'br0', 'up');
  try {
    await announce7();
    await finds('ghost 100 10.1.2.99 n2');
    assert.equal(fabric.node(3).frr.routesTo(ghost).length, 1, 'the other nodes have it still');
    // docs/audit.md has this story, with a picture of it.
    const { stdout } = runAudit(...SETTLE, gathering.now);
    const drawn = linesOf(readFileSync(PICTURE, 'utf8')).map(withoutTime);
    for (const line of stdout.trimEnd().split('\n'))
      assert.ok(drawn.includes(withoutTime(line)), `${line} is not in the picture: npm run audit:record`);
  } finally {
    netns.run('ip', 'neigh', 'replace', ghost, 'lladdr', vm?.mac ?? '', 'dev', 'br0', 'nud', 'noarp');
    netns.run('ip', 'neigh', 'del', ghost, 'dev', 'br0');
  }
  await finds();

  /** All addresses and the ghost are everywhere. */
  async function announce7(): Promise<void> {
    for (const { vms } of fabric.nodes) for (const host of vms) host.gratuitous();
    await until(
      'every node to have every address again',
      () => {
        for (const snoopy of nodes.values()) snoopy.reconcile();
        return fabric.nodes.map(({ frr }) => frr.arpCache(100).length);
      },
      (counts) => counts.every((count) => count === 7),
      PATIENCE,
    );
  }
});

deepTest('a stopped timer, and suppression that is off; --since reports that both are fixed', async () => {
  const { netns } = fabric.node(3).node;
  const snoopy = snoopyOf(2);
  netns.run('bridge', 'link', 'set', 'dev', 'vxlan100', 'neigh_suppress', 'off');
  // The time of the last success is that of a pin; an hour ago is as if the timer had been stopped then.
  const pin = join(snoopy.bpffs, 'snoopy/layout');
  const hourAgo = Date.now() / 1000 - 3600;
  utimesSync(pin, hourAgo, hourAgo);
  try {
    await finds('not-run - - n2', 'suppress 100 - n3');
    const earlier = gathering.gather({ into: 'earlier' });
    snoopy.reconcile();
    netns.run('bridge', 'link', 'set', 'dev', 'vxlan100', 'neigh_suppress', 'on');
    await finds();
    const { changes } = gathering.audit(...SETTLE, '--since', earlier);
    assert.deepEqual(changes?.findings.fixed.map(summarize), ['not-run - - n2', 'suppress 100 - n3']);
    assert.deepEqual(changes?.findings.new, []);
  } finally {
    netns.run('bridge', 'link', 'set', 'dev', 'vxlan100', 'neigh_suppress', 'on');
    snoopy.reconcile();
  }
});

deepTest(
  'a VXLAN port or bridge that is down at one node, or a port that has left its bridge: the VNI is not active there',
  async () => {
    const [one, two] = [fabric.node(1), fabric.node(2)];
    for (const [i, { netns }] of [one.node, two.node].entries()) {
      netns.run('ip', 'link', 'add', 'br1', 'type', 'bridge');
      const tunnel = ['id', '200', 'local', `192.0.2.${i + 1}`, 'dstport', '4789', 'nolearning'];
      netns.run('ip', 'link', 'add', 'vxlan200', 'type', 'vxlan', ...tunnel);
      netns.run('ip', 'link', 'set', 'vxlan200', 'master', 'br1');
      netns.run('bridge', 'link', 'set', 'dev', 'vxlan200', 'neigh_suppress', 'on', 'learning', 'off');
      for (const name of ['br1', 'vxlan200']) netns.run('ip', 'link', 'set', name, 'up');
    }
    const { netns } = one.node;
    snoopyOf(1).configure({ bridges: [{ name: 'br0' }, { name: 'br1' }] });
    try {
      snoopyOf(1).reconcile();
      await finds();
      for (const [fault, repair] of [
        [
          ['vxlan200', 'down'],
          ['vxlan200', 'up'],
        ],
        [
          ['br1', 'down'],
          ['br1', 'up'],
        ],
        [
          ['vxlan200', 'nomaster'],
          ['vxlan200', 'master', 'br1'],
        ],
      ] as const) {
        netns.run('ip', 'link', 'set', ...fault);
        await finds('no-vni 200 - n1');
        netns.run('ip', 'link', 'set', ...repair);
        netns.run('bridge', 'link', 'set', 'dev', 'vxlan200', 'neigh_suppress', 'on', 'learning', 'off');
        await finds();
      }
    } finally {
      snoopyOf(1).configure({ bridges: [{ name: 'br0' }] });
      for (const node of [one.node, two.node])
        for (const name of ['vxlan200', 'br1']) node.netns.run('ip', 'link', 'del', name);
      snoopyOf(1).reconcile();
    }
    await finds();
  },
);

deepTest('a zebra that does not answer', () => {
  gathering.gather();
  const goOn = fabric.node(1).frr.pauseZebra();
  try {
    gathering.gather({ names: ['n1'] });
  } finally {
    goOn();
  }
  const { findings } = gathering.audit(...SETTLE);
  const found = new Map(findings.map(({ id, found }) => [id, found]));
  assert.match(found.get('no-frr') ?? '', /^n1: vtysh .* fails: no answer in 10 s$/);
  // What the others have of it is compared with nothing.
  assert.match(found.get('unknown-place') ?? '', /^192\.0\.2\.1 is the next hop for 2 addresses at n2, n3/);
  assert.equal(findings.length, 2);
});

deepTest('two hosts with one address, each at a node of its own', async () => {
  const { ip } = fabric.vm(1, 1);
  const second = fabric.vm(2, 2);
  second.gratuitous(ip);
  snoopyOf(2).reconcile();
  const { netns } = fabric.node(1).node;
  await until(
    "node 1 to have the second one's",
    () => findNeighbor(netns, 'br0', ip),
    (neighbor) => neighbor?.lladdr === second.mac,
  );
  // Its first host sends with it after that, and node 1 does not run.
  fabric.vm(1, 1).gratuitous();
  await finds('two-owners 100 10.1.1.1 n1,n2');
  snoopyOf(1).reconcile();
});

deepTest('a move is in motion, then nothing; --since reports it', async () => {
  await announce();
  await finds();
  const earlier = gathering.gather({ into: 'earlier' });
  const vm = fabric.vm(3, 1);
  vm.moveTo(fabric.node(1).node);
  await until(
    'node 1 to own it',
    () => {
      vm.gratuitous();
      for (const snoopy of nodes.values()) snoopy.reconcile();
      return fabric
        .node(1)
        .frr.arpCache(100)
        .find(({ ip }) => ip === vm.ip)?.type;
    },
    (type) => type === 'local',
    PATIENCE,
  );
  await finds();
  const { changes } = gathering.audit(...SETTLE, '--since', earlier);
  const owner = (node: string) => ({ node, mac: vm.mac });
  assert.deepEqual(changes?.addresses, {
    new: 0,
    gone: 0,
    moved: [{ vni: 100, ip: vm.ip, from: owner('n3'), to: owner('n1') }],
  });
});

// The last one: the node leaves EVPN for good.
deepTest('a zebra that answers and has no VNI, as without bgpd', async () => {
  const { frr } = fabric.node(1);
  frr.configure('router bgp 65000', 'address-family l2vpn evpn', 'no advertise-all-vni');
  await until(
    'the audit to find it',
    () => {
      gathering.gather();
      return gathering.audit(...SETTLE).findings.map(({ id, found }) => `${id}: ${found}`);
    },
    (found) => found.some((line) => /^no-frr: n1: none of its VNIs \(100\) is active: /.test(line)),
    PATIENCE,
  );
});
