// A VM sends, a run passes: its MAC/IP route is at the other node, and ARP stays local. remove undoes it.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { listPins } from '../lib/bpffs.ts';
import { Capture } from '../lib/capture.ts';
import { Fabric } from '../lib/fabric.ts';
import { sendScapy } from '../lib/frames.ts';
import type { Vm } from '../lib/node.ts';
import { attachedPrograms, findNeighbor, listOwnNeighbors, listQdiscs } from '../lib/oracles.ts';
import { outputOf, Snoopy } from '../lib/snoopy.ts';
import { until } from '../lib/wait.ts';

const BRIDGE = 'br0';

describe('a node that snoopy reconciles', () => {
  let fabric: Fabric;
  let snoopy: Snoopy;
  let announcing: Vm;
  let asking: Vm;
  let far: Vm;

  before(async () => {
    fabric = await Fabric.start();
    snoopy = new Snoopy(fabric.scope, fabric.node(1).node.netns);
    announcing = fabric.vm(1, 1);
    asking = fabric.vm(1, 2);
    far = fabric.vm(2, 1);
  });

  after(() => fabric?.close());

  /** How many ARP requests for an address leave node 2 through the tunnel while the far VM resolves it. */
  async function countTunnelArp(ip: string): Promise<{ answered: boolean; crossed: number }> {
    const { node } = fabric.node(2);
    const capture = await Capture.start(node.netns, `vxlan${fabric.vni}`, 'arp or ether proto 0x88b5');
    const answered = far.arping(ip);
    far.sendMarker();
    await capture.saw(/0x88b5/);
    await capture.stop();
    return { answered, crossed: capture.count(new RegExp(`Request who-has ${ip} tell ${far.ip},`)) };
  }

  async function routeArrives(ip: string, mac: string): Promise<void> {
    await until(
      `the route to ${ip} at node 2`,
      () => fabric.node(2).frr.macIpRoutes(),
      (routes) =>
        routes.some((route) => route.ip === ip && route.mac === mac && route.nextHop === '192.0.2.1'),
    );
  }

  test('without a neighbor an ARP request crosses the tunnel', async () => {
    const { answered, crossed } = await countTunnelArp(announcing.ip);

    assert.equal(answered, true);
    assert.ok(crossed >= 1, `${crossed} requests crossed`);
    assert.deepEqual(fabric.node(2).frr.routesTo(announcing.ip), []);
  });

  test('the first run attaches to the local ports, and never to the tunnel', () => {
    const first = snoopy.reconcile();

    assert.equal(first.code, 0, outputOf(first));
    assert.equal(first.report.changed, true);
    assert.deepEqual(first.report.remaining, []);
    const attached = first.report.steps.filter(({ action }) => action.kind === 'attach');
    assert.deepEqual(attached.map(({ action }) => action.port).sort(), [announcing.port, asking.port].sort());
    const { netns } = fabric.node(1).node;
    for (const vm of [announcing, asking]) assert.equal(attachedPrograms(netns, vm.port).length, 1, vm.port);
    assert.deepEqual(attachedPrograms(netns, `vxlan${fabric.vni}`), []);
  });

  test('messages of VMs become neighbors, routes at the other node, and entries in its kernel', async () => {
    announcing.gratuitous();
    asking.ask('10.1.9.9');
    announcing.sendNa();
    sendScapy(
      asking.netns,
      'eth0',
      `Ether(src='${asking.mac}', dst='33:33:00:00:00:01')/IPv6(src='${asking.ip6}', dst='ff02::1', hlim=255)` +
        `/ICMPv6ND_NA(tgt='${asking.ip6}', R=0, S=0, O=1)/ICMPv6NDOptDstLLAddr(lladdr='${asking.mac}')`,
    );
    const run = snoopy.reconcile();

    assert.equal(run.code, 0, outputOf(run));
    const { node } = fabric.node(1);
    for (const vm of [announcing, asking]) {
      for (const ip of [vm.ip, vm.ip6]) {
        const own = findNeighbor(node.netns, BRIDGE, ip);
        assert.equal(own?.lladdr, vm.mac, `${ip}${outputOf(run)}`);
        assert.equal(own.protocol, '115');
        assert.deepEqual(own.state, ['NOARP']);
        await routeArrives(ip, vm.mac);
        assert.equal(
          fabric
            .node(1)
            .frr.arpCache(fabric.vni)
            .find((line) => line.ip === ip)?.type,
          'local',
        );

        const remote = await until(
          `${ip} in the kernel of node 2`,
          () => findNeighbor(fabric.node(2).node.netns, BRIDGE, ip),
          (line) => line !== undefined,
        );
        assert.equal(remote?.lladdr, vm.mac);
        assert.equal(remote?.protocol, 'zebra');
        assert.deepEqual(remote?.state, ['NOARP']);
        assert.ok(remote !== undefined && 'extern_learn' in remote);
        assert.equal(
          fabric
            .node(2)
            .frr.arpCache(fabric.vni)
            .find((line) => line.ip === ip)?.type,
          'remote',
        );
      }
    }
    const added = run.report.neighbors.changes.filter(({ kind }) => kind === 'add').map(({ ip }) => ip);
    assert.deepEqual(added.sort(), [announcing.ip, announcing.ip6, asking.ip, asking.ip6].sort());
  });

  test('then no ARP request crosses the tunnel, and the node answers it', async () => {
    assert.deepEqual(await countTunnelArp(announcing.ip), { answered: true, crossed: 0 });
    assert.equal(far.ndisc(announcing.ip6), true);
  });

  test('another run finds nothing to do and writes nothing', async () => {
    const { netns } = fabric.node(1).node;
    const monitor = netns.start('ip', 'monitor', 'link', 'neigh');
    const tcMonitor = netns.start('tc', 'monitor');
    // Changes made by the test: the first shows that the monitors listen, the last that they have seen everything.
    let marks = 0;
    const mark = () => {
      marks += 1;
      netns.run('ip', 'neigh', 'add', `192.0.2.${100 + marks}`, 'lladdr', far.mac, 'dev', 'underlay');
      netns.run('tc', 'qdisc', marks % 2 === 1 ? 'add' : 'del', 'dev', 'lo', 'clsact');
      return [monitor.stdout, tcMonitor.stdout];
    };
    await until('the monitors to listen', mark, (texts) => texts.every((text) => text !== ''), {
      everyMs: 50,
    });

    const again = snoopy.reconcile();
    const printed = tcMonitor.stdout.length;
    mark();
    await until(
      'the last mark',
      () => monitor.stdout,
      (text) => text.includes(`192.0.2.${100 + marks} `),
    );
    await until(
      'the last mark of tc',
      () => tcMonitor.stdout,
      (text) => text.length > printed,
    );

    assert.equal(again.code, 0, outputOf(again));
    assert.equal(again.report.changed, false);
    assert.deepEqual(again.report.steps, []);
    assert.deepEqual(again.report.neighbors.changes, []);
    assert.equal(again.report.neighbors.changed, false);
    assert.deepEqual(again.report.remaining, []);
    const ours = (text: string) => text.split('\n').filter((line) => /br0|tap\d|vxlan/.test(line));
    assert.deepEqual(ours(monitor.stdout), []);
    assert.deepEqual(ours(tcMonitor.stdout), []);
  });

  test('a run with new hosts sends RTM_NEWNEIGH, a run without sends only read requests', () => {
    const { netns } = fabric.node(1).node;
    netns.run('ip', 'neigh', 'del', announcing.ip, 'dev', BRIDGE);
    const repairing = snoopy.trace();
    const idle = snoopy.trace();

    assert.equal(repairing.code, 0, outputOf(repairing));
    assert.ok(repairing.netlinkWrites.includes('RTM_NEWNEIGH'), repairing.netlinkWrites.join(' '));
    assert.equal(idle.code, 0, outputOf(idle));
    assert.ok(idle.netlinkReads.length > 0, 'strace has seen no netlink message at all');
    assert.deepEqual(idle.netlinkWrites, []);
    const making = ['BPF_PROG_LOAD', 'BPF_OBJ_PIN', 'BPF_LINK_CREATE', 'BPF_LINK_UPDATE', 'BPF_PROG_ATTACH'];
    assert.deepEqual(
      idle.bpfCommands.filter((command) => making.includes(command)),
      [],
    );
    assert.equal(findNeighbor(netns, BRIDGE, announcing.ip)?.protocol, '115');
  });

  test('remove withdraws the routes and leaves nothing behind', async () => {
    const removed = snoopy.run('remove');

    assert.equal(removed.code, 0, outputOf(removed));
    await until(
      'the routes to be withdrawn',
      () => fabric.node(2).frr.macIpRoutes(),
      (routes) => routes.every((route) => route.nextHop !== '192.0.2.1'),
    );
    const { netns } = fabric.node(1).node;
    assert.deepEqual(listPins(snoopy.bpffs), []);
    for (const vm of [announcing, asking]) {
      assert.deepEqual(attachedPrograms(netns, vm.port), []);
      assert.deepEqual(
        listQdiscs(netns, vm.port).filter(({ kind }) => kind === 'clsact'),
        [],
      );
    }
    assert.deepEqual(listOwnNeighbors(netns, BRIDGE), []);
  });

  test('after remove the far VM is answered through the tunnel again', async () => {
    await until(
      'zebra to remove its entry',
      () => findNeighbor(fabric.node(2).node.netns, BRIDGE, announcing.ip),
      (line) => line === undefined,
    );
    const { answered, crossed } = await countTunnelArp(announcing.ip);

    assert.equal(answered, true);
    assert.ok(crossed >= 1, `${crossed} requests crossed`);
  });
});
