// explain beside a real FRR: a route that is advertised, one that is not, and one of the other node.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { deepTest } from '../lib/depth.ts';
import { Fabric, type FabricNode } from '../lib/fabric.ts';
import { assertReport } from '../lib/report.ts';
import { outputOf, Snoopy } from '../lib/snoopy.ts';
import { until } from '../lib/wait.ts';

interface Story {
  readonly ok: boolean;
  readonly state: string;
  readonly verdict: string;
  readonly vni: number | null;
  readonly frr: {
    readonly tunnelEnd: string | null;
    readonly route: {
      readonly isLocal: boolean;
      readonly nextHop: string;
      readonly peers: readonly string[];
    } | null;
  } | null;
  readonly steps: readonly { readonly id: string; readonly status: string; readonly found: string }[];
}

let fabric: Fabric;
let node: FabricNode;
let snoopy: Snoopy;

before(async () => {
  fabric = await Fabric.start({ vms: 1 });
  node = fabric.node(1);
  snoopy = new Snoopy(fabric.scope, node.node.netns);
  const other = new Snoopy(fabric.scope, fabric.node(2).node.netns);
  for (const one of [snoopy, other]) one.reconcile();
  for (const number of [1, 2]) fabric.vm(number, 1).gratuitous();
  for (const one of [snoopy, other]) one.reconcile();
});
after(() => fabric.close());

function tell(ip: string): Story {
  const { PATH = '' } = process.env;
  const argv = snoopy.argv('explain', ip, '--format', 'json');
  const result = node.node.netns.tryRun(['env', `PATH=${node.frr.binDirectory()}:${PATH}`, ...argv]);
  assert.ok(result.stdout.startsWith('{'), outputOf(result));
  assertReport(result);
  const { stories, ok } = JSON.parse(result.stdout) as { ok: boolean; stories: Story[] };
  assert.equal(result.code, ok ? 0 : 1);
  const [story] = stories;
  assert.ok(story, outputOf(result));
  return story;
}

/** Waits until the story is accepted: FRR learns of a change a moment later. */
async function storyWhen(ip: string, what: string, isSo: (story: Story) => boolean): Promise<Story> {
  return await until(`${ip} to be ${what}`, () => tell(ip), isSo, { everyMs: 200 });
}

test('advertised: the route is in bgpd, with the peers that it was sent to', async () => {
  const vm = fabric.vm(1, 1);
  const story = await storyWhen(vm.ip, 'advertised', ({ ok }) => ok);
  assert.equal(
    story.verdict,
    `${vm.ip} on br0 is advertised by this node: VNI 100, ${vm.mac} on ${vm.port}, to 1 peer`,
  );
  assert.deepEqual(story.frr?.route, {
    isLocal: true,
    nextHop: node.address,
    peers: [fabric.node(2).address],
  });
  assert.deepEqual(
    story.steps.map(({ id, status }) => `${id} ${status}`),
    ['heard ok', 'rule ok', 'bridge ok', 'neighbor ok', 'zebra ok', 'route ok'],
  );
  // The other end has the route.
  await until(
    'the route at the other node',
    () => fabric.node(2).frr.routesTo(vm.ip),
    (routes) => routes.length > 0,
  );
});

test('at the other node: the story names its tunnel address and no fault', async () => {
  const vm = fabric.vm(2, 1);
  const story = await storyWhen(vm.ip, 'remote', ({ ok }) => ok);
  assert.equal(story.state, 'remote');
  assert.equal(story.frr?.tunnelEnd, fabric.node(2).address);
  assert.deepEqual([story.frr?.route?.isLocal, story.frr?.route?.nextHop], [false, fabric.node(2).address]);
});

test('local inactive: the bridge has lost the MAC, and FRR withdraws the route', async () => {
  const vm = fabric.vm(1, 1);
  // Before every look: a VM may send a frame by itself, and the bridge would learn the MAC again.
  const forget = ['bridge', 'fdb', 'del', vm.mac, 'dev', vm.port, 'master'];
  const look = (): Story => {
    node.node.netns.tryRun(forget);
    return tell(vm.ip);
  };
  const story = await until(`${vm.ip} to be withdrawn`, look, ({ frr }) => frr?.route === null, {
    everyMs: 200,
  });
  assert.equal(story.ok, false);
  assert.deepEqual(
    story.steps.map(({ id, status }) => `${id} ${status}`),
    ['heard ok', 'rule ok', 'bridge wrong', 'neighbor ok', 'zebra waits', 'route waits'],
  );
  assert.match(story.steps.find(({ id }) => id === 'zebra')?.found ?? '', /local inactive/);
  vm.gratuitous();
  await storyWhen(vm.ip, 'advertised again', ({ ok }) => ok);
});

function causeOf({ steps }: Story): string | undefined {
  return steps.filter(({ status }) => status === 'wrong').map(({ id, found }) => `${id}: ${found}`)[0];
}

/** Breaks something, waits until the story names it, and repairs it. */
async function assertCause(cause: string, breakIt: () => void, repair: () => void): Promise<void> {
  const { ip } = fabric.vm(1, 1);
  breakIt();
  try {
    await storyWhen(
      ip,
      `without a route for "${cause}"`,
      (story) => causeOf(story)?.startsWith(cause) === true,
    );
  } finally {
    repair();
  }
  await storyWhen(ip, 'advertised again', ({ ok }) => ok);
}

deepTest('a VXLAN port that is down is the cause, rather than the neighbor that zebra lacks', async () => {
  const { netns } = node.node;
  await assertCause(
    'zebra: VNI 100: vxlan100 is down',
    () => netns.run('ip', 'link', 'set', 'vxlan100', 'down'),
    () => netns.run('ip', 'link', 'set', 'vxlan100', 'up'),
  );
});

deepTest('without advertise-all-vni the missing line is the cause', async () => {
  const lines = ['router bgp 65000', 'address-family l2vpn evpn'];
  await assertCause(
    'zebra: bgpd has no advertise-all-vni',
    () => node.frr.configure(...lines, 'no advertise-all-vni'),
    () => node.frr.configure(...lines, 'advertise-all-vni'),
  );
});

deepTest('with its only peer down the route is sent to no peer', async () => {
  const peer = fabric.node(2).address;
  await assertCause(
    `route: best path, sent to no peer: not established: ${peer} (`,
    () => node.frr.configure('router bgp 65000', `neighbor ${peer} shutdown`),
    () => node.frr.configure('router bgp 65000', `no neighbor ${peer} shutdown`),
  );
});
