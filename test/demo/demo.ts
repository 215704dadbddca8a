// `npm run demo`: two hypervisors with FRR in namespaces, and what snoopy changes between them.
import { setTimeout as sleep } from 'node:timers/promises';
import { Capture } from '../lib/capture.ts';
import { Fabric } from '../lib/fabric.ts';
import type { Vm } from '../lib/node.ts';
import { findNeighbor, neighborText } from '../lib/oracles.ts';
import { Snoopy } from '../lib/snoopy.ts';
import { until } from '../lib/wait.ts';
import { block, check, failures, note, step, title, verdict } from './narrate.ts';

const BRIDGE = 'br0';

const TOPOLOGY = `
   n1  192.0.2.1                            n2  192.0.2.2
   ┌──────────────────────────┐             ┌──────────────────────────┐
   │ vm 10.1.1.1   tap101i0 ┐ │    BGP      │ ┌ tap201i0   10.1.2.1 vm │
   │                       br0│◄───────────►│br0                       │
   │ vm 10.1.1.2   tap102i0 ┘ │    VXLAN    │ └ tap202i0   10.1.2.2 vm │
   └──────────────────────────┘             └──────────────────────────┘`;

interface Resolution {
  readonly answered: boolean;
  readonly crossed: number;
}

async function main(): Promise<void> {
  title('snoopy: from ARP and ND messages of VMs to EVPN MAC/IP routes');

  step('A fabric of two nodes: bridge, VXLAN with ARP suppression, two VMs, FRR (zebra, bgpd)');
  const fabric = await Fabric.start();
  try {
    block(TOPOLOGY);
    await play(fabric);
  } finally {
    fabric.close();
  }
  verdict(
    'a VM sent a message, snoopy ran and ended, FRR advertised the MAC/IP route, and the other node answers ARP itself.',
  );
}

async function play(fabric: Fabric): Promise<void> {
  const near = fabric.node(1);
  const far = fabric.node(2);
  const vm = fabric.vm(1, 1);
  const other = fabric.vm(2, 1);
  const snoopyOf = fabric.nodes.map(({ node }) => new Snoopy(fabric.scope, node.netns));

  step(`Without snoopy, the far VM resolves ${vm.ip}`);
  const before = await resolve(other, vm.ip);
  block(
    `ARP requests through the tunnel   ${before.crossed}\nMAC/IP routes at n2               ${far.frr.macIpRoutes().length}`,
  );
  check('the request crosses the tunnel', before.answered && before.crossed > 0);
  check('n2 has no MAC/IP route', far.frr.macIpRoutes().length === 0);

  step('snoopy reconcile, on both nodes: it attaches to the local ports, and exits');
  block(snoopyOf[0]?.configText ?? '');
  reconcile(snoopyOf, 1);
  reconcile(snoopyOf, 2);

  step(
    'The VMs announce themselves: gratuitous ARP and Neighbor Advertisements, as hosts do when they come up',
  );
  for (const { vms } of fabric.nodes) {
    for (const vm of vms) {
      vm.gratuitous();
      vm.sendNa();
    }
  }
  note('No process of snoopy is running now: the program in the kernel has kept what it saw.');

  step('snoopy reconcile again: what was seen becomes neighbors on the bridge');
  reconcile(snoopyOf, 1);
  reconcile(snoopyOf, 2);

  step('The neighbors at n1, as zebra reads them: ip neigh show dev br0 nud all proto 115');
  block(neighborText(near.node.netns, BRIDGE, /proto 115/));
  const own = findNeighbor(near.node.netns, BRIDGE, vm.ip);
  check(`${vm.ip} is a neighbor on ${BRIDGE} at n1`, own?.lladdr === vm.mac && own.protocol === '115');

  step('At n2, FRR has the type-2 MAC/IP routes of n1, and its kernel has the entries');
  await until(
    'the routes of n1 at n2',
    () => far.frr.macIpRoutes(),
    (routes) => routes.filter(({ nextHop }) => nextHop === near.address).length === 4,
  );
  const routes = far.frr.show('show bgp l2vpn evpn route type macip').split('\n');
  block(routes.filter((line) => line.includes(vm.mac) && /\[(32|128)\]/.test(line)).join('\n'));
  const arrived = await until(
    `${vm.ip} in the kernel of n2`,
    () => findNeighbor(far.node.netns, BRIDGE, vm.ip),
    (line) => line !== undefined,
  );
  block(neighborText(far.node.netns, BRIDGE, /proto zebra/));
  check(
    `route to ${vm.ip} by ${near.address}`,
    far.frr.routesTo(vm.ip).some(({ mac, nextHop }) => mac === vm.mac && nextHop === near.address),
  );
  check('entry of zebra at n2', arrived?.lladdr === vm.mac && arrived.protocol === 'zebra');

  step(`The far VM resolves ${vm.ip} again`);
  const after = await resolve(other, vm.ip);
  block(
    [
      '                                  before   after',
      `ARP requests through the tunnel   ${String(before.crossed).padStart(6)}${String(after.crossed).padStart(8)}`,
      `answered                          ${yesNo(before.answered)}${yesNo(after.answered, 8)}`,
    ].join('\n'),
  );
  check('n2 answers by itself: nothing crosses the tunnel', after.answered && after.crossed === 0);

  step('And a third run has nothing to do');
  const idle = snoopyOf[0]?.reconcile();
  check(
    'changed: false, neighbors.changed: false',
    idle?.report.changed === false && !idle.report.neighbors.changed,
  );
}

/** Runs snoopy on a node and prints its report. */
function reconcile(snoopyOf: readonly Snoopy[], node: number): void {
  const result = snoopyOf[node - 1]?.run('reconcile');
  if (result === undefined) throw new RangeError(`there is no node ${node}`);
  note(`n${node}# snoopy reconcile`);
  block(result.stdout + result.stderr);
  check(`exit code 0 at n${node}`, result.code === 0);
  if (result.code !== 0) throw new Error(`snoopy ended with ${result.code} at n${node}`);
}

/** Lets a VM resolve an address, and counts its requests in the tunnel of its node. */
async function resolve(vm: Vm, ip: string): Promise<Resolution> {
  const tunnel = vm.node.tunnel ?? '';
  const capture = await Capture.start(vm.node.netns, tunnel, 'arp or ether proto 0x88b5');
  const answered = vm.arping(ip);
  // A frame that crosses after the request proves that the request would have been seen.
  vm.sendMarker();
  await capture.saw(/0x88b5/);
  await capture.stop();
  return { answered, crossed: capture.count(new RegExp(`who-has ${ip} tell ${vm.ip},`)) };
}

function yesNo(value: boolean, width = 6): string {
  return (value ? 'yes' : 'no').padStart(width);
}

await main().catch(async (error: unknown) => {
  // After Ctrl-C the process ends during this wait, and there is no failure to report.
  await sleep(10);
  console.error(`\nThe demo could not go on: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
});
if (failures() > 0) process.exitCode = 1;
