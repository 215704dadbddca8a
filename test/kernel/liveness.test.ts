// When a binding ends and when it does not: silent hosts are probed, duplicates frozen, provisioned addresses kept.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { Capture } from '../lib/capture.ts';
import { deepTest } from '../lib/depth.ts';
import { arpFrame } from '../lib/frames.ts';
import { Node, type Vm } from '../lib/node.ts';
import { findFdb, findNeighbor, listOwnNeighbors } from '../lib/oracles.ts';
import { Scope } from '../lib/scope.ts';
import { outputOf, Snoopy } from '../lib/snoopy.ts';
import { sleepSync, until } from '../lib/wait.ts';

const BRIDGE = 'br0';
const OWN = '10.1.0.1';
const OWN6 = '2001:db8:1::1';

let scope: Scope;
beforeEach(() => {
  scope = new Scope();
});
afterEach(() => scope.close());

interface Machine {
  readonly node: Node;
  readonly vms: readonly Vm[];
  readonly snoopy: Snoopy;
}

/** A node with VMs 101 and 102, whose bridge the program is attached to. */
function machine(bridge: object = {}, addresses: readonly string[] = []): Machine {
  const node = new Node(scope, { name: 'n1', addresses });
  const vms = [101, 102].map((id) => node.addVm({ id }));
  const snoopy = new Snoopy(scope, node.netns, { bridges: [{ name: BRIDGE, ...bridge }] });
  const first = snoopy.reconcile();
  assert.equal(first.code, 0, outputOf(first));
  return { node, vms, snoopy };
}

function vm({ vms }: Machine, at: number): Vm {
  const found = vms[at];
  assert.ok(found !== undefined);
  return found;
}

/** No need to wait: the bridge learns, and the program runs, while the frame is sent. */
function claim(claimant: Vm, ip: string): void {
  claimant.send(arpFrame({ operation: 'request', senderMac: claimant.mac, senderIp: ip, targetIp: ip }));
}

describe('probes', () => {
  const probing = { max_age: '4s', probe: { after: '1s' } };

  deepTest('a listening run probes in time without any event, and ends what is due', async () => {
    const host = machine({ ...probing, duplicates: { moves: 3, window: '1m', hold: '2s' } }, [`${OWN}/16`]);
    const [first, second] = [vm(host, 0), vm(host, 1)];
    first.netns.sysctl({ 'net/ipv6/conf/all/disable_ipv6': 1 });
    host.node.netns.run('ip', 'link', 'set', BRIDGE, 'type', 'bridge', 'ageing_time', '200');
    first.gratuitous();
    for (let turn = 0; turn < 6; turn++) claim(turn % 2 === 0 ? first : second, '10.1.9.9');
    const run = host.snoopy.reconcile('--listen', '9s');
    assert.equal(run.code, 0, outputOf(run));
    assert.ok(run.report.probes.sent >= 3, outputOf(run));
    const kinds = run.report.neighbors.changes.filter(({ ip }) => ip === first.ip).map(({ kind }) => kind);
    assert.deepEqual(kinds, ['add'], `a host that answers stays${outputOf(run)}`);
    assert.equal(findNeighbor(host.node.netns, BRIDGE, first.ip)?.lladdr, first.mac);
    const freed = run.report.neighbors.changes.filter(({ ip }) => ip === '10.1.9.9').map(({ kind }) => kind);
    assert.equal(freed[0], 'add', `the hold time was over while it listened${outputOf(run)}`);
  });

  it('a host behind a port that is down is tried as seldom as one that does not answer', () => {
    const host = machine({ max_age: '60s', probe: { after: '1s' } }, [`${OWN}/16`]);
    const first = vm(host, 0);
    first.netns.sysctl({ 'net/ipv6/conf/all/disable_ipv6': 1 });
    first.gratuitous();
    host.snoopy.reconcile();
    sleepSync(1_200);
    host.node.netns.run('ip', 'link', 'set', first.port, 'down');
    const tries = (): number[] => {
      const run = host.snoopy.reconcile();
      assert.deepEqual([run.code, run.report.probes.sent], [0, 0], outputOf(run));
      const dump = ['bpftool', '-j', 'map', 'dump', 'pinned', `${host.snoopy.bpffs}/snoopy/probes`];
      const entries = host.node.netns.json<{ formatted: { value: { count: number } } }[]>(...dump);
      return entries.map(({ formatted }) => formatted.value.count);
    };
    assert.deepEqual(tries(), [1]);
    assert.deepEqual(tries(), [1]);
  });

  it('a silent host is probed by unicast on its own port, and its answer keeps its binding', async () => {
    const host = machine({ max_age: '24s', probe: { after: '6s' } }, [`${OWN}/16`, `${OWN6}/64`]);
    const first = vm(host, 0);
    first.gratuitous();
    first.sendNa();
    host.snoopy.reconcile();
    const received = await Capture.start(first.netns, 'eth0', 'arp or icmp6');
    const others = await Capture.start(vm(host, 1).netns, 'eth0', 'arp or icmp6');
    sleepSync(6_200);
    const run = host.snoopy.reconcile();
    assert.equal(run.code, 0, outputOf(run));
    assert.equal(run.report.probes.sent, 2, outputOf(run));
    await received.saw(new RegExp(`> ${first.mac}, .*Request who-has ${first.ip} .*tell ${OWN},`));
    // To the solicited-node group in a unicast frame, so that the answer has the MAC.
    await received.saw(new RegExp(`> ${first.mac}, .*${OWN6} > ff02::1:ff.*: .*who has ${first.ip6},`));
    await received.saw(new RegExp(`Reply ${first.ip} is-at ${first.mac}`));
    await received.saw(/neighbor advertisement/);
    const bindings = host.snoopy.bindings();
    for (const ip of [first.ip, first.ip6]) {
      const age = bindings.find((binding) => binding.ip === ip)?.age;
      assert.ok(age !== undefined && age !== null && age < 6, `${ip}: its answer refreshes the binding`);
    }
    assert.equal(
      others.count(new RegExp(`who-has (${first.ip}|${first.ip6})`)),
      0,
      'no other host receives it',
    );
    const again = host.snoopy.reconcile();
    assert.equal(again.report.probes.sent, 0, 'a host that has answered is not probed again');
    assert.equal(again.report.neighbors.changed, false, outputOf(again));
  });

  deepTest('a host that gives up one of two addresses loses only that one', async () => {
    const host = machine(probing, [`${OWN}/16`]);
    const first = vm(host, 0);
    const second = '10.1.5.5';
    first.run('ip', 'address', 'add', `${second}/16`, 'dev', 'eth0');
    claim(first, first.ip);
    claim(first, second);
    host.snoopy.reconcile();
    assert.equal(listOwnNeighbors(host.node.netns, BRIDGE).length, 2);
    first.run('ip', 'address', 'del', `${second}/16`, 'dev', 'eth0');
    const removed = await until(
      `the end of ${second}`,
      () => host.snoopy.reconcile(),
      ({ report }) => report.neighbors.changes.some(({ kind }) => kind === 'remove'),
      { everyMs: 300, timeoutMs: 15_000 },
    );
    assert.deepEqual(
      removed.report.neighbors.changes.map(({ kind, ip }) => `${kind} ${ip}`),
      [`remove ${second}`],
      outputOf(removed),
    );
    assert.equal(findNeighbor(host.node.netns, BRIDGE, first.ip)?.lladdr, first.mac);
  });

  deepTest('an address that a host has given up is forgotten even while another node has it', async () => {
    const host = machine(probing, [`${OWN}/16`]);
    const first = vm(host, 0);
    const second = '10.1.5.5';
    claim(first, first.ip);
    claim(first, second);
    host.snoopy.reconcile();
    // As zebra writes it when a host of another node has taken the address over.
    const remote = [second, 'lladdr', '02:00:00:00:77:77', 'dev', BRIDGE, 'nud', 'noarp', 'extern_learn'];
    host.node.netns.run('ip', 'neigh', 'replace', ...remote, 'proto', 'zebra');
    await until(
      `the end of ${second}`,
      () => {
        host.snoopy.reconcile();
        return host.snoopy.bindings().map(({ ip }) => ip);
      },
      (ips) => !ips.includes(second),
      { everyMs: 300, timeoutMs: 15_000 },
    );
    // Otherwise its claim would be accepted as a new one.
    host.node.netns.run('ip', 'neigh', 'del', second, 'dev', BRIDGE);
    host.snoopy.reconcile();
    assert.equal(findNeighbor(host.node.netns, BRIDGE, second), undefined);
    assert.equal(findNeighbor(host.node.netns, BRIDGE, first.ip)?.lladdr, first.mac);
  });

  it('a bridge that was down probes its hosts: the next run has them back, though none sent a message by itself', async () => {
    const host = machine({}, [`${OWN}/16`]);
    const first = vm(host, 0);
    // Otherwise its kernel may send IPv6 messages at any time, and the bridge learn the MAC from those.
    first.netns.sysctl({ 'net/ipv6/conf/all/disable_ipv6': 1 });
    first.gratuitous();
    host.snoopy.reconcile();
    host.node.netns.ipBatch([`link set ${BRIDGE} down`, `link set ${BRIDGE} up`]);
    assert.deepEqual(listOwnNeighbors(host.node.netns, BRIDGE), []);
    const asking = host.snoopy.reconcile();
    assert.equal(asking.report.probes.sent, 1, outputOf(asking));
    await until(
      'the bridge to forward the MAC again',
      () => findFdb(host.node.netns, BRIDGE, first.mac),
      (lines) => lines.length > 0,
    );
    host.snoopy.reconcile();
    assert.equal(findNeighbor(host.node.netns, BRIDGE, first.ip)?.lladdr, first.mac);
  });

  deepTest(
    'without an address of the subnet hosts are probed from none, unless probe.enabled is own',
    async () => {
      const host = machine({ ...probing, probe: { after: '1s', enabled: 'own' } });
      const first = vm(host, 0);
      first.gratuitous();
      host.snoopy.reconcile();
      sleepSync(1_200);
      assert.equal(host.snoopy.reconcile().report.probes.sent, 0);
      host.snoopy.configure({
        bridges: [{ name: BRIDGE, ...probing }],
      });
      const received = await Capture.start(first.netns, 'eth0', 'arp');
      const startedMs = performance.now();
      const run = host.snoopy.reconcile();
      assert.equal(run.report.probes.sent, 1, outputOf(run));
      // The ARP Probe of RFC 5227. It comes from 0.0.0.0, which tcpdump leaves out.
      await received.saw(new RegExp(`Request who-has ${first.ip} .*tell 0\\.0\\.0\\.0,`));
      await received.saw(new RegExp(`Reply ${first.ip} is-at ${first.mac}`));
      const age = host.snoopy.bindings()[0]?.age ?? Number.POSITIVE_INFINITY;
      assert.ok(age * 1_000 < performance.now() - startedMs, 'its answer refreshes the binding');
    },
  );
});

describe('duplicates', () => {
  const quick = { duplicates: { moves: 3, window: '1m', hold: '1h' } };
  const contested = '10.1.9.9';

  /** Both VMs claim the address in turn until the program freezes it. */
  function contest(host: Machine): void {
    for (let turn = 0; turn < 6; turn++) claim(vm(host, turn % 2), contested);
  }

  it('an address that two hosts claim in turn is frozen: no neighbor, a warning, exit code 0', () => {
    const host = machine(quick);
    claim(vm(host, 0), contested);
    host.snoopy.reconcile();
    assert.equal(findNeighbor(host.node.netns, BRIDGE, contested)?.lladdr, vm(host, 0).mac);
    contest(host);
    const run = host.snoopy.reconcile();
    assert.equal(run.code, 0, outputOf(run));
    assert.equal(run.report.counters.duplicates, 1, outputOf(run));
    assert.match(
      run.report.warnings.join('\n'),
      new RegExp(`Duplicate address ${contested.replaceAll('.', '\\.')}`),
    );
    assert.equal(findNeighbor(host.node.netns, BRIDGE, contested), undefined);
    assert.equal(host.snoopy.bindings().find(({ ip }) => ip === contested)?.state, 'frozen');
    claim(vm(host, 1), contested);
    const later = host.snoopy.reconcile();
    assert.equal(later.report.neighbors.changed, false, 'claims on a frozen address change nothing');
    assert.ok((later.report.counters.rejected['frozen'] ?? 0) > 0, outputOf(later));
  });

  it('--unfreeze accepts the address again, and reports when there is nothing to unfreeze', () => {
    const host = machine(quick);
    contest(host);
    host.snoopy.reconcile();
    const run = host.snoopy.reconcile('--unfreeze', contested);
    assert.equal(run.code, 0, outputOf(run));
    assert.deepEqual(
      run.report.neighbors.changes.map(({ kind, ip }) => `${kind} ${ip}`),
      [`add ${contested}`],
      outputOf(run),
    );
    assert.equal(host.snoopy.bindings().find(({ ip }) => ip === contested)?.state, 'installed');
    const again = host.snoopy.reconcile('--unfreeze', '10.1.77.77');
    assert.match(again.report.warnings.join('\n'), /10\.1\.77\.77 is not frozen/);
  });

  deepTest('the end of the hold time unfreezes it as well', async () => {
    const host = machine({ duplicates: { moves: 3, window: '1m', hold: '5s' } });
    contest(host);
    assert.equal(findNeighbor(host.node.netns, BRIDGE, contested), undefined);
    await until(
      'the neighbor after the hold time',
      () => host.snoopy.reconcile(),
      () => findNeighbor(host.node.netns, BRIDGE, contested) !== undefined,
    );
  });
});

describe('provisioned addresses', () => {
  it('a learned claim on one is counted and changes nothing; all listed MACs may have it', () => {
    const host = machine();
    const [first, second] = [vm(host, 0), vm(host, 1)];
    host.snoopy.configure({
      bridges: [
        {
          name: BRIDGE,
          static: [
            { ip: '10.1.0.53', mac: first.mac },
            { ip: '10.1.0.54', mac: [first.mac, second.mac] },
          ],
        },
      ],
    });
    first.gratuitous();
    second.gratuitous();
    host.snoopy.reconcile();
    for (const ip of ['10.1.0.53', '10.1.0.54']) {
      assert.equal(findNeighbor(host.node.netns, BRIDGE, ip)?.lladdr, first.mac, ip);
    }
    claim(second, '10.1.0.53');
    claim(second, '10.1.0.54');
    const run = host.snoopy.reconcile();
    assert.equal(run.report.counters.rejected['static'], 1, outputOf(run));
    assert.equal(findNeighbor(host.node.netns, BRIDGE, '10.1.0.53')?.lladdr, first.mac);
    assert.equal(
      findNeighbor(host.node.netns, BRIDGE, '10.1.0.54')?.lladdr,
      second.mac,
      'the listed MAC that sent',
    );
  });
});

describe('subnets', () => {
  deepTest(
    'a changed prefix of the neighbor device removes what no longer fits, and admits what fits now',
    () => {
      const host = machine({}, ['10.1.0.1/16']);
      const first = vm(host, 0);
      claim(first, first.ip);
      claim(first, '192.0.2.7');
      const run = host.snoopy.reconcile();
      assert.equal(run.report.counters.rejected['subnet'], 1, outputOf(run));
      assert.deepEqual(
        listOwnNeighbors(host.node.netns, BRIDGE).map(({ dst }) => dst),
        [first.ip],
      );
      host.node.netns.ipBatch([
        `address add 192.0.2.1/24 dev ${BRIDGE}`,
        `address del 10.1.0.1/16 dev ${BRIDGE}`,
      ]);
      host.snoopy.reconcile();
      assert.deepEqual(listOwnNeighbors(host.node.netns, BRIDGE), []);
      claim(first, '192.0.2.7');
      host.snoopy.reconcile();
      assert.deepEqual(
        listOwnNeighbors(host.node.netns, BRIDGE).map(({ dst }) => dst),
        ['192.0.2.7'],
      );
    },
  );
});
