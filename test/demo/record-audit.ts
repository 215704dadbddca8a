// `npm run audit:record`: one fault from the first look to the fix, in three nodes with FRR, drawn: docs/images/audit.svg.
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Gathering } from '../lib/audit.ts';
import { Fabric } from '../lib/fabric.ts';
import { run } from '../lib/run.ts';
import { NODE, Snoopy, START } from '../lib/snoopy.ts';
import { until } from '../lib/wait.ts';
import { pictureOf, type Shown } from './picture.ts';

const PICTURE = fileURLToPath(new URL('../../../docs/images/audit.svg', import.meta.url));
const WAIT = { timeoutMs: 60_000, everyMs: 500 };

const fabric = await Fabric.start({ nodes: 3, vms: 2 });
try {
  const nodes = new Map<string, Snoopy>();
  for (const { number, node, frr } of fabric.nodes) {
    const name = `n${number}`;
    nodes.set(name, new Snoopy(fabric.scope, node.netns).beside(frr).named(name));
  }
  const gathering = new Gathering(fabric.scope, nodes);
  const everywhere = (ip: string, mac: string) =>
    until(
      `${mac} for ${ip} everywhere`,
      () => {
        for (const snoopy of nodes.values()) snoopy.reconcile();
        return fabric.nodes.map(({ frr }) => frr.arpCache(100).find((line) => line.ip === ip)?.mac);
      },
      (macs) => macs.every((one) => one === mac),
      WAIT,
    );
  for (const snoopy of nodes.values()) snoopy.reconcile();
  for (const { vms } of fabric.nodes) for (const vm of vms) vm.gratuitous();
  for (const { vms } of fabric.nodes) for (const { ip, mac } of vms) await everywhere(ip, mac);

  // A neighbor by hand; zebra ignores that the kernel deletes it with all others when the bridge goes down.
  const ghost = '10.1.2.99';
  const { netns } = fabric.node(2).node;
  const { mac } = fabric.vm(2, 1);
  netns.run('ip', 'neigh', 'replace', ghost, 'lladdr', mac, 'dev', 'br0', 'nud', 'permanent');
  await everywhere(ghost, mac);
  netns.run('ip', 'link', 'set', 'br0', 'down');
  netns.run('ip', 'link', 'set', 'br0', 'up');
  for (const { vms } of fabric.nodes) for (const vm of vms) vm.gratuitous();
  for (const { vms } of fabric.nodes) for (const vm of vms) await everywhere(vm.ip, vm.mac);
  const shown: Shown[] = [];
  const look = async (count: number): Promise<void> => {
    await until(
      `${count} findings`,
      () => {
        gathering.gather();
        return gathering.audit();
      },
      ({ findings, moving }) => findings.length === count && moving.length === 0,
      WAIT,
    );
    // script(1) of util-linux: a pseudo terminal, so that it prints in colour.
    const command = [...NODE, START, 'audit', gathering.now].map((word) => `'${word}'`).join(' ');
    const output = run(['script', '--quiet', '--command', command, '/dev/null']);
    shown.push({ command: 'snoopy audit reports/', output });
  };
  await look(1);
  const fix = [`ip neigh replace ${ghost} lladdr ${mac} dev br0 nud noarp`, `ip neigh del ${ghost} dev br0`];
  for (const line of fix) {
    netns.run(...line.split(' '));
    shown.push({ command: `ssh n2 ${line}`, output: '' });
  }
  await look(0);
  const title =
    'snoopy audit: a node advertises an address that its kernel does not have; after the fix none does';
  writeFileSync(PICTURE, pictureOf(shown, { title, maker: 'npm run audit:record' }));
  console.log(`Drawn: ${PICTURE}`);
} finally {
  fabric.close();
}
