// EVPN on a VLAN-aware bridge, with a VXLAN port for each VLAN (FRR 8.4) or one for all (10.3). A host in a VLAN is known in that VLAN
// at the other node, and doctor knows the VNI of each VLAN.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Check, complaintsOf } from '../lib/doctor.ts';
import { type ArpCacheLine, Frr, type FrrVersion } from '../lib/frr.ts';
import { Netns } from '../lib/netns.ts';
import { findNeighbor, floodList, type NeighborLine } from '../lib/oracles.ts';
import type { Scope } from '../lib/scope.ts';
import { outputOf } from '../lib/snoopy.ts';
import { until } from '../lib/wait.ts';
import { VlanNode } from './vlans.ts';

const ASN = 65_000;
const VLANS = [10, 20];
/** A story of `explain`. */
interface Story {
  readonly verdict: string;
}

const PATIENCE = { timeoutMs: 60_000, everyMs: 250 };

/** The VLAN and VNI of a VRF, through which VLAN 10 is routed. */
const VRF_VLAN = 4000;

/** Puts a node into the underlay and returns its address there. */
function connect(node: VlanNode, underlay: Netns, number: number): string {
  const address = tunnelAddress(number);
  underlay.ipBatch([
    `link add n${number} type veth peer name underlay netns ${node.netns.name}`,
    `link set n${number} master br0 addrgenmode none up`,
  ]);
  node.netns.ipBatch([`address add ${address}/24 dev underlay`, 'link set underlay up']);
  return address;
}

function tunnelAddress(number: number): string {
  return `192.0.2.${number}`;
}

function createUnderlay(scope: Scope): Netns {
  const underlay = new Netns(scope, 'underlay');
  underlay.ipBatch(['link add br0 type bridge', 'link set br0 addrgenmode none up']);
  return underlay;
}

async function startFrr(node: VlanNode, number: number, version: FrrVersion): Promise<Frr> {
  const peers = [{ address: tunnelAddress(3 - number), asn: ASN, passive: number === 1 }];
  const routerId = tunnelAddress(number);
  return await Frr.start(node.scope, node.netns, { asn: ASN, routerId, peers, version });
}

/** A VLAN-aware bridge with an SVI and a VXLAN port for each VLAN, one of them in a VRF, and FRR on it. */
async function startNode(node: VlanNode, underlay: Netns, number: number): Promise<Frr> {
  const address = connect(node, underlay, number);
  node.netns.ipBatch(['link add red type vrf table 100', 'link set red up']);
  for (const vlan of [...VLANS, VRF_VLAN]) {
    node.addSvi(vlan);
    node.addVxlan(vlan, address);
  }
  for (const vlan of [10, VRF_VLAN]) node.netns.run('ip', 'link', 'set', `br0.${vlan}`, 'master', 'red');
  const frr = await startFrr(node, number, '8.4');
  frr.configure('vrf red', `vni ${VRF_VLAN}`, 'exit-vrf');
  return frr;
}

/**
 * The findings of doctor with this FRR's `vtysh`, once FRR has answered in time: on an emulated processor beside other
 * work it may take longer than doctor waits.
 */
async function examine(node: VlanNode, frr: Frr): Promise<readonly Check[]> {
  const { PATH = '' } = process.env;
  const path = `PATH=${frr.binDirectory()}:${PATH}`;
  const read = (): readonly Check[] => {
    const doctor = node.netns.tryRun(['env', path, ...node.snoopy.argv('doctor', '--format', 'json')]);
    return (JSON.parse(doctor.stdout) as { checks: Check[] }).checks;
  };
  const hasAnswered = (checks: readonly Check[]): boolean =>
    !checks.some(({ id, status }) => id === 'frr' && status === 'failure');
  return until('FRR to answer doctor in time', read, hasAnswered, PATIENCE);
}

test('a host in a VLAN is known in that VLAN at the far node, and removed there when it is removed here', async (t) => {
  const near = new VlanNode(t, { aware: true });
  const far = new VlanNode(t, { aware: true });
  const underlay = createUnderlay(near.scope);
  const frr = await startNode(near, underlay, 1);
  await startNode(far, underlay, 2);
  await frr.established(1);
  for (const vlan of VLANS) {
    const read = () => floodList(far.netns, `vxlan${vlan}`);
    await until(`the far node to flood VNI ${vlan}`, read, (list) => list.length === 1, PATIENCE);
  }
  const farNeighbor = (vlan: number, ip: string) => findNeighbor(far.netns, `br0.${vlan}`, ip);
  const ip = '10.1.0.77';
  const access = near.addHost({ id: 1, pvid: 10, ip });
  const trunk = near.addHost({ id: 2, tagged: [10, 20], ip });
  near.reconcile();
  access.announce();
  trunk.announce(20);
  await access.forwarded(10);
  await trunk.forwarded(20);

  near.reconcile();

  for (const [vlan, host] of [[10, access] as const, [20, trunk] as const]) {
    const read = () => farNeighbor(vlan, ip);
    const line = await until(`${ip} in VLAN ${vlan} at the far node`, read, (found) => !!found, PATIENCE);
    assert.deepEqual([line?.lladdr, line?.protocol], [host.mac, 'zebra']);
  }

  // doctor has no complaint about VLANs, SVIs and VNIs here.
  const checks = await examine(near, frr);
  assert.deepEqual(complaintsOf(checks), []);
  assert.ok(checks.some(({ id, found }) => id === 'advertised' && found === '2 of 2 neighbors'));
  const ofVrf = checks.find(({ id, subject }) => id === 'vni' && subject === `VNI ${VRF_VLAN}`);
  assert.equal(ofVrf?.found, `vxlan${VRF_VLAN}, of a VRF`);

  access.vm.unplug();
  const report = near.reconcile();

  assert.deepEqual(
    report.neighbors.changes.map(({ kind, device }) => `${kind} ${device}`),
    ['remove br0.10'],
  );
  const gone = () => farNeighbor(10, ip);
  await until(
    `${ip} to be gone from VLAN 10 at the far node`,
    gone,
    (found) => found === undefined,
    PATIENCE,
  );
  assert.equal(farNeighbor(20, ip)?.lladdr, trunk.mac);

  near.netns.run('ip', 'link', 'del', 'br0.20');
  const homeless = (await examine(near, frr)).find(
    ({ id, status }) => id === 'neighbor-device' && status === 'failure',
  );
  assert.deepEqual(
    [homeless?.subject, homeless?.found],
    ['VNI 20', 'VLAN 20 of "br0" has no device to hold neighbors'],
  );
});

for (const vnifilter of ['', 'vnifilter']) {
  const kind = vnifilter === '' ? 'a single VXLAN device' : 'a single VXLAN device that filters by VNI';

  test(`the hosts of two VLANs have routes in the VNIs of ${kind}, with FRR 10.3`, async (t) => {
    const near = new VlanNode(t, { aware: true });
    const far = new VlanNode(t, { aware: true });
    const underlay = createUnderlay(near.scope);
    const frrs: Frr[] = [];
    for (const [i, node] of [near, far].entries()) {
      const address = connect(node, underlay, i + 1);
      for (const vlan of VLANS) node.addSvi(vlan);
      node.addSingleVxlan(VLANS, address, vnifilter);
      frrs.push(await startFrr(node, i + 1, '10.3'));
    }
    const [frr, farFrr] = frrs;
    assert.ok(frr && farFrr);
    await frr.established(1);
    // The same address in both VLANs: only the VNI tells them apart.
    const ip = '10.1.0.77';
    const hosts = VLANS.map((vlan, i) => ({ vlan, host: near.addHost({ id: i + 1, pvid: vlan, ip }) }));
    for (const { host } of hosts) frr.awaitPort(host.port);
    near.reconcile();
    for (const { vlan, host } of hosts) {
      host.announce();
      await host.forwarded(vlan);
    }
    near.reconcile();

    for (const { vlan, host } of hosts) {
      const vni = vlan * 1000;
      const read = (): ArpCacheLine[] => farFrr.arpCache(vni);
      const lines = await until(`${ip} in VNI ${vni}`, read, (cache) => cache.length > 0, PATIENCE);
      assert.deepEqual(
        lines.map((line) => `${line.ip} ${line.type} ${line.mac}`),
        [`${ip} remote ${host.mac}`],
      );
      const neighbor = (): NeighborLine | undefined => findNeighbor(far.netns, `br0.${vlan}`, ip);
      const line = await until(`${ip} in VLAN ${vlan}`, neighbor, (found) => !!found, PATIENCE);
      assert.deepEqual([line?.lladdr, line?.protocol], [host.mac, 'zebra']);
    }

    const checks = await examine(near, frr);
    assert.deepEqual(complaintsOf(checks), []);
    assert.deepEqual(
      checks.filter(({ id }) => id === 'vni').map(({ subject, status }) => `${subject} ${status}`),
      VLANS.map((vlan) => `VNI ${vlan * 1000} ok`),
    );
    assert.ok(checks.some(({ id, found }) => id === 'advertised' && found === '2 of 2 neighbors'));
    near.snoopy.beside(frr);
    const result = near.snoopy.run('explain', ip, '--format', 'json');
    assert.equal(result.code, 0, outputOf(result));
    const { stories } = JSON.parse(result.stdout) as { readonly stories: readonly Story[] };
    assert.deepEqual(
      stories.map(({ verdict }) => verdict).sort(),
      hosts.map(
        ({ vlan, host }) =>
          `${ip} on br0 VLAN ${vlan} is advertised by this node: VNI ${vlan * 1000}, ${host.mac} on ${host.port}, to 1 peer`,
      ),
    );
  });
}

test('doctor names the VNIs of a single VXLAN device that zebra knows, and what the others lack', async (t) => {
  const node = new VlanNode(t, { aware: true });
  for (const vlan of VLANS) node.addSvi(vlan);
  const tunnel = node.addSingleVxlan(VLANS, '192.0.2.1');
  const frr = await Frr.start(node.scope, node.netns, { asn: ASN, routerId: '192.0.2.1', peers: [] });
  const host = node.addHost({ id: 1, pvid: 10 });
  node.reconcile();
  host.announce();
  await host.forwarded(10);
  node.reconcile();
  assert.deepEqual(node.own('br0.10'), [host.line]);

  // FRR supports such a device from 8.5 on.
  const known = Object.keys(frr.json<Record<string, unknown>>('show evpn vni json')).map(Number);
  const vnis = (await examine(node, frr)).filter(({ id }) => id === 'vni');
  assert.deepEqual(
    vnis.map(({ subject, status }) => `${subject} ${status}`),
    VLANS.map((vlan) => `VNI ${vlan * 1000} ${known.includes(vlan * 1000) ? 'ok' : 'failure'}`),
  );
  for (const { status, remedy } of vnis) assert.equal(/FRR 8\.5/.test(remedy ?? ''), status === 'failure');

  node.netns.run('bridge', 'link', 'set', 'dev', tunnel, 'vlan_tunnel', 'off');
  const without = (await examine(node, frr)).filter(({ id }) => id === 'vni');
  assert.deepEqual(complaintsOf(without), [`warning vni ${tunnel}`]);
  assert.match(without[0]?.remedy ?? '', /vlan_tunnel on/);
});

test('untagged hosts of a VLAN-aware bridge have no route without a device for their VLAN, which doctor proposes', async (t) => {
  const node = new VlanNode(t, { aware: true });
  node.setPvid('br0', 1);
  node.addVxlan(1, '192.0.2.1');
  const frr = await Frr.start(node.scope, node.netns, { asn: ASN, routerId: '192.0.2.1', peers: [] });
  const host = node.addHost({ id: 1, pvid: 1 });
  node.reconcile();
  host.announce();
  await host.forwarded(1);
  node.reconcile();
  assert.deepEqual(node.own('br0'), [host.line]);
  const ofDevice = ({ id }: Check): boolean => id === 'neighbor-device';
  const [without] = (await examine(node, frr)).filter(ofDevice);
  assert.deepEqual([without?.status, without?.subject], ['failure', 'VNI 1']);
  const fix = 'ip link add link br0 name br0.1 up type vlan id 1';
  assert.equal(without?.remedy, `${fix}; snoopy reconcile`);

  node.netns.run(...fix.split(' '));
  node.reconcile();

  assert.deepEqual([node.own('br0'), node.own('br0.1')], [[], [host.line]]);
  const read = () => frr.arpCache(1).find(({ ip }) => ip === host.ip);
  await until('zebra to have the host', read, (line) => line?.state === 'active', PATIENCE);
  const checks = await examine(node, frr);
  assert.deepEqual(
    checks.filter(ofDevice).map(({ status, found }) => `${status} ${found}`),
    ['ok br0.1'],
  );
  assert.equal(checks.find(({ id }) => id === 'advertised')?.found, '1 of 1 neighbors');
});
