// What zebra misses while it does not read. Its netlink socket overruns: frr.verify writes the neighbors anew. FRR 10.3 also drops
// the MAC of a port that it does not know yet: doctor has the command that repairs it.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Check } from '../lib/doctor.ts';
import { arpFrame } from '../lib/frames.ts';
import { Frr } from '../lib/frr.ts';
import { Node, type Vm } from '../lib/node.ts';
import { Scope } from '../lib/scope.ts';
import { outputOf, type Report, Snoopy } from '../lib/snoopy.ts';
import { until } from '../lib/wait.ts';

const HOSTS = 5_000;
const VNI = 100;
const LIMITS = { bindings_per_port: 2 * HOSTS, new_bindings_per_second: 1_000_000 };
const NOTHING = { verified: 0, missing: 0, renewed: 0 };

describe('zebra with a small netlink buffer', () => {
  const scope = new Scope();
  let frr: Frr;
  let node: Node;
  let vm: Vm;
  let snoopy: Snoopy;

  before(async () => {
    node = new Node(scope, { name: 'n1', vxlan: { vni: VNI, local: '192.0.2.1' } });
    node.netns.ipBatch(['address add 192.0.2.1/32 dev lo', 'link set lo up']);
    vm = node.addVm({ id: 101 });
    frr = await Frr.start(scope, node.netns, {
      asn: 65_001,
      routerId: '192.0.2.1',
      peers: [],
      zebra: ['-s', '500000'],
    });
    snoopy = new Snoopy(scope, node.netns, { bridges: [{ name: 'br0', limits: LIMITS }] }).beside(frr);
    run();
  });
  after(() => scope.close());

  function run(): Report {
    const result = snoopy.reconcile();
    assert.equal(result.code, 0, outputOf(result));
    return result.report;
  }

  function arp(ip: string): Buffer {
    return arpFrame({ operation: 'request', senderMac: vm.mac, senderIp: ip, targetIp: ip });
  }

  /** A host announces many addresses. */
  function announce(count: number): void {
    const frames = Array.from({ length: count }, (_, i) => {
      return arp(`10.1.${16 + (i >> 8)}.${i & 255}`);
    });
    for (let from = 0; from < frames.length; from += 250) vm.send(...frames.slice(from, from + 250));
  }

  function advertised(): number {
    return frr.arpCache(VNI).filter(({ state }) => state === 'active').length;
  }

  test('what it misses while it does not read is there after one run, and the next run has nothing to do', async () => {
    const resume = frr.pauseZebra();
    try {
      announce(HOSTS);
      assert.equal(run().neighbors.changes.length, HOSTS);
    } finally {
      resume();
    }
    const lost = await until('zebra to read again', advertised, (count) => count > 0);
    assert.ok(lost < HOSTS, 'nothing was lost, and nothing is tested');
    const { frr: report } = run();
    assert.equal(report.verified, HOSTS);
    assert.ok(report.missing > 0);
    assert.equal(report.renewed, report.missing);
    await until('zebra to have all of them', advertised, (count) => count === HOSTS, { timeoutMs: 30_000 });
    assert.deepEqual(run().neighbors.changes, []);
  });

  test('a run that it does not answer ends in time with a warning, and one of the next verifies', async () => {
    const resume = frr.pauseZebra();
    try {
      announce(HOSTS + 100);
      assert.equal(run().neighbors.changes.length, 100);
      const isHanging = ({ warnings }: Report) =>
        /zebra did not answer.*no answer in 2 s/.test(warnings.join());
      const hanging = await until('a run that asks it', run, isHanging);
      assert.deepEqual([hanging.frr, hanging.ok], [NOTHING, true]);
    } finally {
      resume();
    }
    // It is asked again ten seconds later.
    const asks = ({ frr: { verified } }: Report) => verified > 0;
    const report = await until('a verification', run, asks, { timeoutMs: 30_000 });
    assert.equal(report.frr.verified, HOSTS + 100);
  });

  test('link-local addresses are among what it takes', async () => {
    snoopy.configure({ bridges: [{ name: 'br0', link_local: true, limits: LIMITS }] });
    run();
    const ips = ['169.254.1.1', 'fe80::77'];
    vm.send(arp('169.254.1.1'));
    vm.sendNa('fe80::77');
    assert.equal(run().neighbors.changes.length, ips.length);
    const taken = () => frr.arpCache(VNI).filter(({ ip }) => ips.includes(ip)).length;
    await until('zebra to have both', taken, (count) => count === ips.length);
  });

  test('the MAC of a host that sends as soon as its port is there: where zebra has missed it, the fix of doctor helps', async () => {
    const resume = frr.pauseZebra();
    const late = node.addVm({ id: 201 });
    try {
      late.gratuitous();
    } finally {
      resume();
    }
    run(); // Attaches to the port.
    late.gratuitous();
    assert.equal(run().neighbors.changes.length, 1);
    const line = () => frr.arpCache(VNI).find(({ ip }) => ip === late.ip);
    const known = await until('zebra to have the neighbor', line, (found) => found !== undefined);
    assert.equal(known?.state, frr.version === '10.3' ? 'inactive' : 'active');
    if (frr.version === '10.3') {
      const result = snoopy.run('doctor', '--format', 'json');
      const { checks } = JSON.parse(result.stdout) as { readonly checks: readonly Check[] };
      const blocked = checks.find(({ items, id }) => id === 'advertised' && items.includes(late.ip));
      assert.equal(blocked?.status, 'failure', outputOf(result));
      const [fix = ''] = (blocked?.remedy ?? '').split('; then let the host send');
      assert.match(fix, /^bridge fdb del /);
      node.netns.run('sh', '-c', fix);
      late.gratuitous();
    }
    await until('zebra to have its MAC', line, (found) => found?.state === 'active');
    assert.ok(frr.macIpRoutes().some(({ ip }) => ip === late.ip));
  });
});
