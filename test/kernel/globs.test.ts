// Globs as names of bridges: every bridge of such a name that has a tunnel port is served, whenever it appears.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { deepTest } from '../lib/depth.ts';
import type { Check } from '../lib/doctor.ts';
import { parseJson } from '../lib/run.ts';
import { outputOf, withReport } from '../lib/snoopy.ts';
import { createTempDir } from '../lib/temp.ts';
import { until } from '../lib/wait.ts';
import { assertExit, type Host, Machine, portSteps } from './machine.ts';

const GLOB = { bridges: [{ name: 'vnet*' }] };

/** A bridge with a tunnel port and one host, as an SDN controller adds it. */
function addVnet(machine: Machine, name: string, vni: number): Host {
  machine.addBridge(name);
  addTunnel(machine, name, vni);
  return machine.addHost(vni, name);
}

function addTunnel(machine: Machine, bridge: string, vni: number): void {
  machine.netns.ipBatch([
    `link add vx${vni} type vxlan id ${vni} local 192.0.2.1 dstport 4789 nolearning`,
    `link set vx${vni} master ${bridge} addrgenmode none up`,
  ]);
}

function examine(machine: Machine): readonly Check[] {
  const { stdout } = machine.snoopy.run('doctor', '--format', 'json');
  return parseJson<{ checks: readonly Check[] }>(stdout, 'doctor').checks;
}

test('a bridge that appears is served by the next run, also while its tunnel port is gone, and released when it is deleted', async (t) => {
  const machine = new Machine(t, { config: GLOB });
  assert.deepEqual(machine.reconcile().bridges, []);
  const first = addVnet(machine, 'vnet5', 5);
  assert.deepEqual(
    machine.reconcile().bridges.map(({ name, ports }) => [name, ports]),
    [['vnet5', ['tap5']]],
  );
  const second = addVnet(machine, 'vnet6', 6);
  machine.reconcile();
  for (const host of [first, second]) {
    assert.deepEqual(machine.attachedPrograms(host.port), [machine.programId()]);
    await host.announceAndWait();
  }
  machine.reconcile();
  assert.deepEqual(machine.ownNeighbors('vnet5'), [`${first.ip} ${first.mac}`]);
  assert.deepEqual(machine.ownNeighbors('vnet6'), [`${second.ip} ${second.mac}`]);
  assert.ok(!machine.isAttached('tap1'), 'no glob matches br0');
  machine.assertIdle();

  // As where the network is reloaded.
  machine.run('ip', 'link', 'set', 'vx5', 'nomaster');
  machine.assertIdle();
  machine.run('ip', 'link', 'set', 'vx5', 'master', 'vnet5');
  machine.assertIdle();
  assert.deepEqual(machine.ownNeighbors('vnet5'), [`${first.ip} ${first.mac}`]);

  // With all ports out at once, and runs that see it.
  for (const port of ['vx5', 'tap5']) machine.run('ip', 'link', 'set', port, 'nomaster');
  for (let run = 0; run < 2; run++) machine.reconcile();
  assert.deepEqual(machine.boundIps(), [first.ip, second.ip]);
  for (const port of ['vx5', 'tap5']) machine.run('ip', 'link', 'set', port, 'master', 'vnet5');
  await first.announceAndWait();
  machine.reconcile();
  assert.deepEqual(machine.ownNeighbors('vnet5'), [`${first.ip} ${first.mac}`]);

  machine.run('ip', 'link', 'del', 'vnet5');
  assert.deepEqual(portSteps(machine.reconcile()), ['detach tap5', 'drop-port tap5']);
  assert.ok(!machine.isAttached('tap5'));
  assert.deepEqual(machine.boundIps(), [second.ip]);
  machine.assertIdle();

  machine.run('ip', 'link', 'del', 'vnet6');
  assert.deepEqual(machine.reconcile().bridges, []);
  assert.ok(!machine.isAttached('tap6'));
  assert.deepEqual(machine.boundIps(), []);
  machine.assertIdle();
});

deepTest(
  'a bridge that appears while a run listens is served by that run, and released by it when it is deleted',
  async (t) => {
    const machine = new Machine(t, { config: GLOB });
    machine.reconcile();
    const listening = machine.snoopy.startReconcile('--listen', '8s');
    const host = addVnet(machine, 'vnet5', 5);
    await until(
      'the program on tap5',
      () => machine.attachedPrograms(host.port),
      (programs) => programs.length === 1,
    );
    host.announce();
    await until(
      'the neighbor on vnet5',
      () => machine.ownNeighbors('vnet5'),
      (neighbors) => neighbors.length === 1,
    );
    machine.run('ip', 'link', 'del', 'vnet5');
    await until(
      'no program on tap5',
      () => machine.attachedPrograms(host.port),
      (programs) => programs.length === 0,
    );
    const result = withReport(await listening.ended());
    assertExit(result, 0);
    assert.ok(!machine.isAttached(host.port));
    assert.deepEqual(
      result.report.neighbors.changes.map(({ kind, bridge }) => `${kind} ${bridge}`),
      ['add vnet5'],
    );
    assert.deepEqual(result.report.bridges, []);
  },
);

test('a name goes before a glob, and an earlier glob before a later one', (t) => {
  const only = (port: string) => ({ ports: { include: [port] } });
  const machine = new Machine(t, {
    config: {
      bridges: [
        { name: 'vnet[56]', ...only('tap5') },
        { name: '*', ...only('tap*') },
        { name: 'vnet7', ...only('none') },
      ],
    },
  });
  for (const vni of [5, 6, 7, 8]) addVnet(machine, `vnet${vni}`, vni);
  machine.reconcile();
  const attached = ['tap1', 'tap5', 'tap6', 'tap7', 'tap8'].filter((port) => machine.isAttached(port));
  assert.deepEqual(attached, ['tap5', 'tap8']);
});

deepTest('--bridge takes the names of real bridges, also those that a glob serves', async (t) => {
  const machine = new Machine(t, { config: { bridges: [{ name: 'vnet*' }, { name: 'br0' }] } });
  const host = addVnet(machine, 'vnet5', 5);
  addVnet(machine, 'vnet6', 6);
  machine.addBridge('vnet7');
  machine.addHost(7, 'vnet7');
  const report = machine.reconcile('--bridge', 'vnet5');
  assert.deepEqual(
    report.bridges.map(({ name }) => name),
    ['vnet5'],
  );
  assert.ok(machine.isAttached('tap5') && !machine.isAttached('tap6') && !machine.isAttached('tap1'));
  await host.announceAndWait();
  machine.reconcile();
  const status = machine.snoopy.run('status', '--bridge', 'vnet5', '--no-frr', '--format', 'json');
  const { bridges, bindings } = parseJson<{
    bridges: readonly { name: string }[];
    bindings: readonly { bridge: string; ip: string }[];
  }>(status.stdout, 'status');
  assert.deepEqual([bridges.map(({ name }) => name), bindings.map(({ ip }) => ip)], [['vnet5'], [host.ip]]);
  assert.match(machine.snoopy.run('explain', host.ip, '--bridge', 'vnet5').stdout, /vnet5/);

  const bare = machine.snoopy.reconcile('--bridge', 'vnet7');
  assertExit(bare, 1);
  assert.deepEqual(
    bare.report.errors.map(({ code, object }) => [code, object]),
    [['bridge_missing', 'vnet7']],
  );
  assert.ok(!machine.isAttached('tap7'));
  const unknown = machine.snoopy.run('reconcile', '--bridge', 'br1');
  assertExit(unknown, 64);
  assert.match(unknown.stderr, /br1.*vnet\*, br0/);
});

deepTest('metrics and doctor have the names of the bridges, and doctor the globs', (t) => {
  const machine = new Machine(t);
  const textfile = join(createTempDir(machine.scope, 'metrics'), 'snoopy.prom');
  machine.snoopy.configure({ ...GLOB, metrics: { textfile } });
  const find = (id: string) => examine(machine).filter((check) => check.id === id);
  machine.reconcile();
  assert.deepEqual(
    find('glob').map(({ status, subject }) => `${status} glob ${subject}`),
    ['warning glob vnet*'],
  );
  addVnet(machine, 'vnet5', 5);
  machine.reconcile();
  const metrics = readFileSync(textfile, 'utf8');
  assert.match(metrics, /bridge="vnet5"/);
  assert.ok(!metrics.includes('vnet*'));
  assert.deepEqual(
    find('glob').map(({ status, subject, found }) => [status, subject, found]),
    [['ok', 'vnet*', 'vnet5']],
  );
  assert.ok(find('ports').some(({ subject }) => subject === 'vnet5'));
});

test('bridges with a tunnel port that the configuration does not name are one warning', (t) => {
  const machine = new Machine(t, { tunnel: true });
  machine.addBridge('br1');
  assert.deepEqual(machine.reconcile().warnings, [], 'a bridge without a tunnel port needs no route');
  addVnet(machine, 'vnet5', 5);
  addVnet(machine, 'vnet6', 6);
  const run = machine.snoopy.reconcile();
  assertExit(run, 0);
  assert.deepEqual(run.report.warnings, [
    'Bridges "vnet5", "vnet6" have a tunnel port, but the configuration does not name them: nothing is learned there; ' +
      `add under "bridges", each on a line of its own: '- name: vnet5', '- name: vnet6'`,
  ]);
  assert.deepEqual(machine.reconcile('--bridge', 'br0').warnings, []);
  const quiet = machine.snoopy.run('reconcile', '--quiet');
  assert.equal(quiet.stdout, '', outputOf(quiet));
  const unnamed = examine(machine).filter(({ id }) => id === 'unnamed');
  assert.deepEqual(
    unnamed.map(({ status, id, items, remedy }) => [`${status} ${id}`, items, remedy]),
    [
      [
        'warning unnamed',
        ['vnet5', 'vnet6'],
        `add under "bridges", each on a line of its own: '- name: vnet5', '- name: vnet6'`,
      ],
    ],
  );
});
