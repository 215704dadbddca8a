// Between its looks at all hosts a listening run sees those that something names. What it does for them leaves nothing behind.
import assert from 'node:assert/strict';
import { Capture } from '../lib/capture.ts';
import { deepTest } from '../lib/depth.ts';
import { naFrame } from '../lib/frames.ts';
import { Scene } from '../lib/scene.ts';
import { type Snoopy, withReport } from '../lib/snoopy.ts';
import { until } from '../lib/wait.ts';
import { assertExit, bpftool, Machine } from './machine.ts';

/** Nothing else makes a pass over all hosts due: neither zebra nor a link. */
const BRIDGE = {
  name: 'br0',
  max_age: '2s',
  probe: { enabled: 'never' },
  limits: { bindings_per_port: 1 },
};

/** The most records of hints that a port puts into the ring at once (HINT_BURST of bpf/snoopy.bpf.c), and a few that follow. */
const RING_BURST = 20;

/** Waits until a run has the lock. */
async function isLocked(snoopy: Snoopy): Promise<void> {
  await until(
    'a run to have the lock',
    () => snoopy.run('reconcile', '--check', '--lock-timeout', '0s').code,
    (code) => code === 75,
  );
}

deepTest(
  'a host that has aged leaves its room on the port, and what a limit costs is in the report',
  async (t) => {
    const machine = new Machine(t, { config: { bridges: [BRIDGE], frr: { verify: 'never' } } });
    machine.reconcile();
    const host = machine.host(1);
    const listening = machine.snoopy.startReconcile('--listen', '20s');
    const isServed = (ip: string) => (): boolean => machine.ownNeighbors().includes(`${ip} ${host.mac}`);
    const become = (served: boolean) => (is: boolean) => is === served;
    await isLocked(machine.snoopy);

    host.announce('10.1.0.1');
    await until('the first address', isServed('10.1.0.1'), become(true));
    host.announce('10.1.0.9');
    // An active host keeps its address.
    machine.run('bridge', 'fdb', 'del', host.mac, 'dev', host.port, 'master');
    await until('its end', isServed('10.1.0.1'), become(false));
    // The neighbor goes before the binding does.
    await until(
      'the second address, in the room of the first',
      () => {
        host.announce('10.1.0.2');
        return isServed('10.1.0.2')();
      },
      become(true),
    );

    const result = withReport(await listening.ended(60_000));
    assertExit(result, 0);
    const changes = result.report.neighbors.changes.map(({ kind, ip }) => `${kind} ${ip}`);
    assert.deepEqual(changes.slice(0, 3), ['add 10.1.0.1', 'remove 10.1.0.1', 'add 10.1.0.2']);
    assert.match(result.report.warnings.join('\n'), /Limits have rejected messages on "tap1" \(\d+\)/);
  },
);

deepTest('all hints of a host are probed, of which the ring has records of only some', async (t) => {
  const scene = new Scene(t, { vms: 1 });
  const vm = scene.vm(1);
  const listening = scene.snoopy.startReconcile('--listen', '20s');
  await isLocked(scene.snoopy);
  const capture = await Capture.start(vm.netns, 'eth0', 'icmp6');
  const targets = Array.from({ length: 40 }, (_, n) => `2001:db8:1::f${String(n).padStart(2, '0')}`);
  vm.send(
    ...targets.map((target) =>
      naFrame({ target, targetMac: vm.mac, destination: vm.mac, destinationIp: vm.ip6, override: false }),
    ),
  );
  // Some displace others from their slots.
  const hinted = bpftool<{ formatted: { value: { key: { ip: number[] } } } }[]>(
    ...['map', 'dump', 'pinned', `${scene.snoopy.bpffs}/snoopy/seen`],
  )
    .map(({ formatted }) => formatted.value.key.ip)
    .filter((ip) => ip[14] === 0x0f)
    .map((ip) => `2001:db8:1::f${ip[15]?.toString(16).padStart(2, '0')}`);
  assert.ok(hinted.length > RING_BURST, `${hinted.length} hints`);
  await until(
    'a probe for each address that is hinted at',
    () => hinted.filter((ip) => !capture.lines.some((line) => line.includes(`who has ${ip},`))),
    (missing) => missing.length === 0,
  );
  await listening.stop();
});
