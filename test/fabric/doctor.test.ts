// doctor beside a real FRR: each fault that keeps a route from being advertised is found.

import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { deepTest } from '../lib/depth.ts';
import { type Check, complaintsOf } from '../lib/doctor.ts';
import { Fabric, type FabricNode } from '../lib/fabric.ts';
import { Vm } from '../lib/node.ts';
import { findFdb } from '../lib/oracles.ts';
import { outputOf, Snoopy } from '../lib/snoopy.ts';
import { until } from '../lib/wait.ts';

let fabric: Fabric;
let node: FabricNode;
let snoopy: Snoopy;

before(async () => {
  fabric = await Fabric.start({ vms: 1 });
  node = fabric.node(1);
  snoopy = new Snoopy(fabric.scope, node.node.netns);
  snoopy.reconcile();
});
after(() => fabric.close());

beforeEach(async () => {
  const { ip } = fabric.vm(1, 1);
  fabric.vm(1, 1).gratuitous();
  await until(
    `a MAC on ${fabric.vm(1, 1).port}`,
    () => findFdb(node.node.netns, 'br0', fabric.vm(1, 1).mac),
    isFound,
  );
  snoopy.reconcile();
  await until(`a route to ${ip}`, () => fabric.node(2).frr.routesTo(ip), isFound);
});

function isFound(lines: readonly unknown[]): boolean {
  return lines.length > 0;
}

function examine(): Check[] {
  const { PATH = '' } = process.env;
  const path = `${node.frr.binDirectory()}:${PATH}`;
  const argv = snoopy.argv('doctor', '--format', 'json');
  const result = node.node.netns.tryRun(['env', `PATH=${path}`, ...argv]);
  assert.ok(result.stdout.startsWith('{'), outputOf(result));
  return (JSON.parse(result.stdout) as { checks: Check[] }).checks;
}

/** The only host in status. */
function advertised(): { readonly advertised: boolean | null; readonly hindrance: string } | undefined {
  const path = `${node.frr.binDirectory()}:${process.env['PATH'] ?? ''}`;
  const argv = snoopy.argv('status', '--format', 'json', '--ip', fabric.vm(1, 1).ip);
  const { stdout } = node.node.netns.tryRun(['env', `PATH=${path}`, ...argv]);
  const { frr, bindings } = JSON.parse(stdout);
  assert.equal(frr.state, 'answered', stdout);
  return bindings[0];
}

function complaints(): string[] {
  return complaintsOf(examine());
}

/** Waits until doctor reports exactly these complaints: FRR learns of a change a moment later. */
async function complains(...expected: string[]): Promise<void> {
  const same = (found: readonly string[]): boolean => found.join() === expected.join();
  await until(`doctor to report "${expected.join(', ') || 'nothing'}"`, complaints, same, { everyMs: 200 });
}

function find(id: string): Check | undefined {
  return examine().find((check) => check.id === id && check.status !== 'ok');
}

test('a node that advertises its hosts has no complaint, and each neighbor is counted', async () => {
  await complains();
  const checks = examine();
  const findings = new Map(checks.map(({ id, subject, found }) => [id, `${subject ?? ''}: ${found}`]));
  assert.equal(findings.get('frr'), ': zebra and bgpd answer');
  assert.equal(findings.get('vni'), 'VNI 100: vxlan100, known to zebra');
  assert.equal(findings.get('neighbor-device'), 'VNI 100: br0');
  assert.equal(findings.get('peers'), ': 1 established');
  assert.equal(findings.get('advertised'), ': 1 of 1 neighbors');
  const { advertised: isAdvertised, hindrance } = advertised() ?? {};
  assert.deepEqual([isAdvertised, hindrance], [true, '']);
});

deepTest('a neighbor whose MAC the bridge has forgotten is local inactive', async () => {
  const vm = fabric.vm(1, 1);
  const { netns } = node.node;
  // A VM may send a frame by itself at any time.
  netns.run('bridge', 'link', 'set', 'dev', vm.port, 'learning', 'off');
  try {
    netns.run('bridge', 'fdb', 'del', vm.mac, 'dev', vm.port, 'master');
    await complains('warning advertised VNI 100');
    const found = find('advertised');
    assert.deepEqual(found?.items, [vm.ip]);
    assert.match(found?.found ?? '', /^10\.1\.1\.1: local inactive/);
    const host = advertised();
    assert.equal(host?.advertised, false);
    assert.match(host?.hindrance ?? '', /^local inactive/);
    assert.deepEqual(fabric.node(2).frr.routesTo(vm.ip), []);
  } finally {
    netns.run('bridge', 'link', 'set', 'dev', vm.port, 'learning', 'on');
  }
  vm.gratuitous();
  await complains();
});

test('without advertise-all-vni nothing is advertised', async () => {
  const lines = [`router bgp 65000`, 'address-family l2vpn evpn'];
  node.frr.configure(...lines, 'no advertise-all-vni');
  try {
    await complains('failure advertise-all-vni', 'failure vni VNI 100', 'warning advertised br0');
    assert.match(find('advertise-all-vni')?.remedy ?? '', /advertise-all-vni/);
  } finally {
    node.frr.configure(...lines, 'advertise-all-vni');
  }
  await complains();
});

deepTest('a VXLAN port that is down makes zebra drop the neighbors', async () => {
  const { netns } = node.node;
  netns.run('ip', 'link', 'set', 'vxlan100', 'down');
  try {
    await complains('failure tunnel br0', 'failure advertised VNI 100');
    assert.match(find('advertised')?.found ?? '', /^10\.1\.1\.1: zebra does not have the neighbor/);
  } finally {
    netns.run('ip', 'link', 'set', 'vxlan100', 'up');
  }
  await complains();
});

deepTest('zebra takes no neighbors from a bridge that is down', async () => {
  const { netns } = node.node;
  netns.run('ip', 'link', 'set', 'br0', 'down');
  try {
    await until(
      'doctor to miss the SVI',
      complaints,
      (found) => found.includes('failure neighbor-device VNI 100'),
      { everyMs: 200 },
    );
    assert.match(find('neighbor-device')?.remedy ?? '', /^ip link set br0 up/);
  } finally {
    netns.run('ip', 'link', 'set', 'br0', 'up');
  }
});

deepTest('a peer that is down is reported', async () => {
  const peer = fabric.node(2).address;
  node.frr.configure('router bgp 65000', `neighbor ${peer} shutdown`);
  try {
    await complains('failure peers');
    assert.match(find('peers')?.found ?? '', new RegExp(`^not established: ${peer} \\(`));
  } finally {
    node.frr.configure('router bgp 65000', `no neighbor ${peer} shutdown`);
  }
  await complains();
});

interface Story {
  readonly ok: boolean;
  readonly vni: number;
  readonly steps: readonly { readonly id: string; readonly found: string; readonly remedy: string | null }[];
}

/** The story of the only host, as explain prints it. */
function explained(): Story {
  const path = `${node.frr.binDirectory()}:${process.env['PATH'] ?? ''}`;
  const argv = snoopy.argv('explain', '--format', 'json', fabric.vm(1, 1).ip);
  const { stories } = JSON.parse(node.node.netns.tryRun(['env', `PATH=${path}`, ...argv]).stdout);
  return stories[0];
}

test('with several VXLAN ports in one bridge the neighbors are found in the VNI that FRR takes them for', async () => {
  const { netns } = node.node;
  // Whichever VNI FRR lists first or last.
  const others = [50, 200];
  for (const vni of others) {
    netns.ipBatch([
      `link add vxlan${vni} type vxlan id ${vni} local ${node.address} dstport 4789 nolearning`,
      `link set vxlan${vni} master br0 addrgenmode none up`,
    ]);
    netns.run('bridge', 'link', 'set', 'dev', `vxlan${vni}`, 'learning', 'off', 'neigh_suppress', 'on');
  }
  try {
    await complains('warning vni br0');
    assert.match(find('vni')?.found ?? '', /have the device "br0", .* for one of them: VNI 100$/);
    assert.equal(examine().find(({ id }) => id === 'advertised')?.found, '1 of 1 neighbors');
    assert.equal(advertised()?.advertised, true);
    const { ok, vni } = explained();
    assert.deepEqual([ok, vni], [true, 100]);
  } finally {
    for (const vni of others) netns.run('ip', 'link', 'del', `vxlan${vni}`);
  }
  await complains();
});

const BGP_EVPN = ['router bgp 65000', 'address-family l2vpn evpn'];

deepTest(
  "FRR's duplicate detection: a marked address is a warning, a frozen one a failure, and the fix clears it",
  async () => {
    const vm = fabric.vm(1, 1);
    const { frr } = node;
    const macAtNode1 = (): { readonly type?: string; readonly isDuplicate?: boolean } =>
      frr.json<Record<string, object>>(`show evpn mac vni 100 mac ${vm.mac} json`)[vm.mac] ?? {};
    const move = async (host: Vm, type: 'local' | 'remote'): Promise<void> => {
      const send = () => {
        host.gratuitous();
        return macAtNode1();
      };
      await until(`FRR to have the MAC as ${type}`, send, (found) => found.type === type, { everyMs: 100 });
    };
    /** FRR counts every move. The third one after the first is to node 1, so it is there that the duplicate is found. */
    const contend = async (): Promise<void> => {
      const twin = new Vm(fabric.node(2).node, { id: 900, mac: vm.mac });
      // It sends only on request.
      twin.netns.sysctl({ 'net/ipv6/conf/all/disable_ipv6': 1 });
      for (let round = 0; !macAtNode1().isDuplicate; round++) {
        assert.ok(round < 10, 'FRR marks no duplicate');
        await move(twin, 'remote');
        await move(vm, 'local');
      }
      twin.unplug();
      await move(vm, 'local');
      snoopy.reconcile();
    };
    const clear = (): void => {
      const [, command = ''] = /vtysh -c "(clear .*)"$/.exec(find('advertised')?.remedy ?? '') ?? [];
      assert.equal(command, `clear evpn dup-addr vni 100 mac ${vm.mac}`);
      frr.show(command);
    };
    frr.configure(...BGP_EVPN, 'dup-addr-detection', 'dup-addr-detection max-moves 3 time 180');
    try {
      await contend();
      await complains('warning advertised VNI 100');
      assert.match(find('advertised')?.found ?? '', /^10\.1\.1\.1: FRR has marked it as a duplicate/);
      assert.equal(advertised()?.advertised, true);
      const marked = explained();
      assert.equal(marked.ok, true);
      assert.match(
        marked.steps.find(({ id }) => id === 'zebra')?.remedy ?? '',
        /clear evpn dup-addr .* mac /,
      );
      clear();
      await complains();

      frr.configure(...BGP_EVPN, 'dup-addr-detection freeze permanent');
      await contend();
      await complains('failure advertised VNI 100');
      assert.match(find('advertised')?.found ?? '', /^10\.1\.1\.1: FRR has frozen it as a duplicate/);
      const { advertised: isAdvertised, hindrance } = advertised() ?? {};
      assert.equal(isAdvertised, false);
      assert.match(hindrance ?? '', /frozen it as a duplicate/);
      const frozen = explained();
      assert.equal(frozen.ok, false);
      assert.match(frozen.steps.find(({ id }) => id === 'zebra')?.found ?? '', /frozen it as a duplicate/);
      clear();
      await complains();
    } finally {
      frr.configure(...BGP_EVPN, 'no dup-addr-detection');
    }
  },
);

deepTest('a bgpd that does not run is reported', async () => {
  await node.frr.stop('bgpd');
  const found = examine().find(({ id }) => id === 'frr');
  assert.equal(found?.status, 'failure');
  assert.match(found?.found ?? '', /^vtysh -c "show bgp l2vpn evpn vni json" fails: \S/);
});
