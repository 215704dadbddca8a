// Real keepalived in two VMs on one bridge, with and without a virtual MAC, and clients that come anew.
//
// Measured: with use_vmac each new client gets an ARP request with the virtual address and the physical MAC as its sender;
// the address alternated, and was frozen at the third client.
// acassen/keepalived #511, #364: where arp_ignore is not set, the interface answers for the virtual address as well.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { arpFrame } from '../lib/frames.ts';
import { Node, type Vm } from '../lib/node.ts';
import { findNeighbor } from '../lib/oracles.ts';
import type { Background } from '../lib/run.ts';
import { Scope } from '../lib/scope.ts';
import { outputOf, type Report, Snoopy } from '../lib/snoopy.ts';
import { createTempDir } from '../lib/temp.ts';
import { until } from '../lib/wait.ts';

const BRIDGE = 'br0';
const VIPS = ['10.1.0.100', '2001:db8:1::100'];
/** The virtual MACs of VRID 7 (RFC 9568, section 7.3). */
const VIRTUAL_MACS = ['00:00:5e:00:01:07', '00:00:5e:00:02:07'];

let scope: Scope;
beforeEach(() => {
  scope = new Scope();
});
afterEach(() => scope.close());

/** keepalived in a VM, for both addresses. */
class Router {
  readonly vm: Vm;
  readonly #dir: string;
  #process: Background | undefined;

  constructor(vm: Vm, priority: number, usesVmac: boolean) {
    this.vm = vm;
    this.#dir = createTempDir(scope, 'keepalived');
    const instance = (family: number, vip: string): string[] => [
      `vrrp_instance v${family} {`,
      '  state BACKUP',
      '  interface eth0',
      '  virtual_router_id 7',
      `  priority ${priority}`,
      '  advert_int 0.2',
      ...(usesVmac ? [`  use_vmac vrrp${family}`, '  vmac_xmit_base'] : []),
      '  virtual_ipaddress {',
      `    ${vip}/${family === 4 ? 16 : 64}`,
      '  }',
      '}',
    ];
    const lines = [
      'global_defs {',
      '  vrrp_version 3',
      '}',
      ...instance(4, VIPS[0] ?? ''),
      ...instance(6, VIPS[1] ?? ''),
    ];
    writeFileSync(join(this.#dir, 'keepalived.conf'), `${lines.join('\n')}\n`);
    // The source of its IPv6 advertisements, without the second that the kernel's own takes.
    vm.netns.ipBatch([`address add fe80::${priority}/64 dev eth0 nodad`]);
  }

  start(): void {
    const file = (name: string): string => join(this.#dir, name);
    this.#process = this.vm.netns.start(
      ...['keepalived', '--vrrp', '--dont-fork', '--log-console', '--use-file', file('keepalived.conf')],
      ...['--pid', file('pid'), '--vrrp_pid', file('vrrp.pid')],
    );
  }

  /** Ends it as `systemctl stop` does: it gives its addresses up. */
  async stop(): Promise<void> {
    await this.#process?.stop('SIGTERM');
  }

  get hasAddresses(): boolean {
    const { stdout } = this.vm.run('ip', '-oneline', 'address', 'show');
    return VIPS.every((vip) => new RegExp(`${vip}/\\d+ (?!.*tentative)`).test(stdout));
  }

  async becomesMaster(): Promise<void> {
    await until(
      `${this.vm.port} has the virtual addresses`,
      () => this.hasAddresses,
      (has) => has,
    );
  }
}

for (const usesVmac of [true, false]) {
  describe(`keepalived ${usesVmac ? 'with' : 'without'} use_vmac`, () => {
    it('serves new clients, fails over and back, and is never frozen', async () => {
      const node = new Node(scope, { name: 'n1', vxlan: { vni: 100, local: '192.0.2.1' } });
      const snoopy = new Snoopy(scope, node.netns, { bridges: [{ name: BRIDGE }] });
      const master = new Router(node.addVm({ id: 1 }), 200, usesVmac);
      const backup = new Router(node.addVm({ id: 2 }), 100, usesVmac);
      const clients = Array.from({ length: 9 }, (_, i) => node.addVm({ id: 11 + i }));
      const run = (): Report => {
        const result = snoopy.reconcile();
        assert.equal(result.code, 0, outputOf(result));
        return result.report;
      };
      run();

      const serves = (router: Router, clients: readonly Vm[]): void => {
        const macs = usesVmac ? VIRTUAL_MACS : [router.vm.mac, router.vm.mac];
        for (const client of clients) {
          for (const vip of VIPS) {
            const ping = client.run('busybox', 'ping', '-c', '1', '-W', '5', vip);
            assert.equal(ping.code, 0, `${client.port} reaches no ${vip}: ${ping.stdout}`);
          }
          run();
          for (const [i, vip] of VIPS.entries()) {
            assert.equal(findNeighbor(node.netns, BRIDGE, vip)?.lladdr, macs[i], vip);
            const binding = snoopy.bindings().find(({ ip }) => ip === vip);
            assert.deepEqual(
              [binding?.state, binding?.mac, binding?.port],
              ['installed', macs[i], router.vm.port],
              vip,
            );
          }
        }
      };

      master.start();
      await master.becomesMaster();
      backup.start();
      run();
      serves(master, clients.slice(0, 3));

      await master.stop();
      await backup.becomesMaster();
      serves(backup, clients.slice(3, 6));

      master.start();
      await master.becomesMaster();
      serves(master, clients.slice(6, 9));
    });
  });
}

it('a host that answers for its virtual address with the MAC of its interface as well is never frozen', async () => {
  const node = new Node(scope, { name: 'n1', addresses: ['10.1.255.254/16'] });
  const [router, client] = [101, 102].map((id) => node.addVm({ id }));
  assert.ok(router !== undefined && client !== undefined);
  const snoopy = new Snoopy(scope, node.netns, { bridges: [{ name: BRIDGE }] });
  const run = (): Report => {
    const result = snoopy.reconcile();
    assert.equal(result.code, 0, outputOf(result));
    return result.report;
  };
  run();
  const [vip = ''] = VIPS;
  const [mac = ''] = VIRTUAL_MACS;
  // The kernel's arp_ignore is 0, as where keepalived cannot set it.
  router.netns.ipBatch([
    `link add vrrp4 link eth0 address ${mac} type macvlan mode bridge`,
    'link set vrrp4 up',
    `address add ${vip}/32 dev vrrp4`,
  ]);
  router.send(arpFrame({ operation: 'request', senderMac: mac, senderIp: vip, targetIp: vip }));
  run();
  for (let turn = 0; turn < 12; turn++) {
    client.ask(vip);
    if (turn % 2 === 0) continue;
    assert.deepEqual(run().warnings, []);
    assert.equal(findNeighbor(node.netns, BRIDGE, vip)?.lladdr, mac, `turn ${turn}`);
  }
});
