// Between its looks at all hosts a listening run sees those that something names. What it does for them leaves nothing behind.
import assert from 'node:assert/strict';
import { deepTest } from '../lib/depth.ts';
import { withReport } from '../lib/snoopy.ts';
import { until } from '../lib/wait.ts';
import { assertExit, Machine } from './machine.ts';

/** Nothing else makes a pass over all hosts due: neither zebra nor a link. */
const BRIDGE = {
  name: 'br0',
  max_age: '2s',
  probe: { enabled: 'never' },
  limits: { bindings_per_port: 1 },
};

deepTest(
  'a host that has aged leaves its room on the port, and what a limit costs is in the report',
  async (t) => {
    const machine = new Machine(t, { config: { bridges: [BRIDGE], frr: { verify: 'never' } } });
    machine.reconcile();
    const host = machine.host(1);
    const listening = machine.snoopy.startReconcile('--listen', '20s');
    const isServed = (ip: string) => (): boolean => machine.ownNeighbors().includes(`${ip} ${host.mac}`);
    const become = (served: boolean) => (is: boolean) => is === served;
    await until(
      'the run to listen',
      () => machine.snoopy.run('reconcile', '--check', '--lock-timeout', '0s').code,
      (code) => code === 75,
    );

    host.announce('10.1.0.1');
    await until('the first address', isServed('10.1.0.1'), become(true));
    host.announce('10.1.0.9');
    // An active host keeps its address.
    machine.run('bridge', 'fdb', 'del', host.mac, 'dev', host.port, 'master');
    await until('its end', isServed('10.1.0.1'), become(false));
    host.announce('10.1.0.2');
    await until('the second address, in the room of the first', isServed('10.1.0.2'), become(true));

    const result = withReport(await listening.ended(60_000));
    assertExit(result, 0);
    const changes = result.report.neighbors.changes.map(({ kind, ip }) => `${kind} ${ip}`);
    assert.deepEqual(changes.slice(0, 3), ['add 10.1.0.1', 'remove 10.1.0.1', 'add 10.1.0.2']);
    assert.match(result.report.warnings.join('\n'), /Limits have rejected messages on "tap1" \(\d+\)/);
  },
);
