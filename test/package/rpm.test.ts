// The life of the RPM on a machine: installed, upgraded, erased; and what it must not leave behind. The machine is a
// Debian 12 that makeEnterpriseLinux has changed.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, type TestContext, test } from 'node:test';
import { VERSION } from '../../src/generated/version.ts';
import { deepTest } from '../lib/depth.ts';
import { tryRun } from '../lib/run.ts';
import { Scope } from '../lib/scope.ts';
import { until } from '../lib/wait.ts';
import { makeEnterpriseLinux, systemPackages } from './enterprise-linux.ts';
import { buildPackages, CONFIG, PackageMachine, type Packages, SERVICE, TIMER } from './packages.ts';

const LIBEXEC = '/usr/libexec/snoopy-evpn';
const PINS = '/sys/fs/bpf/snoopy';

const scope = new Scope();
let older: Packages;
let newer: Packages;
before(() => {
  older = buildPackages(scope, '0.0.1', { only: ['rpm'] });
  newer = buildPackages(scope, '0.0.2', { only: ['rpm'] });
});
after(() => scope.close());

async function boot(t: TestContext, node?: string): Promise<PackageMachine> {
  return PackageMachine.boot(t, { from: 'rpm', prepare: (root) => makeEnterpriseLinux(scope, root, node) });
}

/** The package of a version of Node.js. */
function nodePackage(version: string): string {
  return systemPackages(scope, version).find((path) => path.includes('/nodejs-')) ?? '';
}

/** What `rpm --verify` finds changed. */
function changes(machine: PackageMachine): string {
  return machine.container.tryRun(['rpm', '--verify', 'snoopy-evpn']).stdout;
}

test('installed, it starts nothing; upgraded, it keeps all; erased, it leaves the host as it was', async (t) => {
  const machine = await boot(t);
  const host = machine.addHost(1);
  await host.announceAndWait();
  const before = machine.inventory();

  assert.equal(machine.rpm('--install', machine.copyIn(older.rpm)), '');
  assert.equal(machine.run('snoopy', '--version'), `${VERSION}\n`);
  assert.equal(changes(machine), '');
  assert.equal(machine.property(TIMER, 'ActiveState'), 'inactive');
  assert.equal(machine.property(TIMER, 'UnitFileState'), 'disabled');
  assert.equal(existsSync(machine.container.path(PINS)), false);
  assert.ok(existsSync(machine.container.path(`${LIBEXEC}/snoopy.cjs.cache`)), 'nothing is compiled');

  machine.configure();
  machine.run('systemctl', 'enable', '--quiet', '--now', TIMER);
  await machine.runsFor(host);
  const program = machine.programOn(host);
  const neighbors = machine.neighbors();
  const watch = machine.netns.start('ip', 'monitor', 'neigh', 'dev', 'br0');
  const started = machine.property(TIMER, 'ActiveEnterTimestampMonotonic');
  assert.equal(machine.rpm('--upgrade', machine.copyIn(newer.rpm)), '');
  assert.equal(machine.rpm('--query', 'snoopy-evpn').split('-')[2], '0.0.2');
  assert.notEqual(
    machine.property(TIMER, 'ActiveEnterTimestampMonotonic'),
    started,
    'the timer has its old settings',
  );
  assert.equal(machine.property(TIMER, 'ActiveState'), 'active');
  assert.equal(machine.property(TIMER, 'UnitFileState'), 'enabled');
  const second = machine.addHost(2);
  await machine.attached(second);
  assert.equal(machine.programOn(host), program);
  assert.deepEqual(machine.neighbors(), neighbors);
  assert.doesNotMatch((await watch.stop()).stdout, new RegExp(`Deleted.*${host.ip}`));
  assert.match(changes(machine), new RegExp(`^\\S+ +c ${CONFIG}\n$`), 'only the configuration is changed');
  machine.netns.run('ip', 'link', 'del', second.port);

  const printed = machine.rpm('--erase', 'snoopy-evpn');
  assert.match(printed, /^detach .*tap1$[\s\S]*^remove .*10\.1\.0\.1 /m);
  assert.match(printed, new RegExp(`${CONFIG} saved as ${CONFIG}\\.rpmsave`));
  assert.deepEqual(machine.neighbors(), []);
  await until(
    `program ${program} to be gone`,
    () => tryRun(['bpftool', 'prog', 'show', 'id', String(program)]).code,
    (code) => code !== 0,
  );
  machine.run('rm', '-r', '/etc/snoopy');
  machine.run('groupdel', 'frrvty');
  assert.deepEqual(machine.differences(before), []);
});

deepTest('an old Node.js is refused; a new one compiles the program anew', async (t) => {
  const machine = await boot(t, '16.20.2');
  const file = machine.copyIn(newer.rpm);
  assert.throws(() => machine.rpm('--install', file), /nodejs >= 1:18\.19 is needed by snoopy-evpn/);
  machine.rpm('--upgrade', machine.copyIn(nodePackage('18.19.0')));
  machine.rpm('--install', file);
  const cache = machine.container.path(`${LIBEXEC}/snoopy.cjs.cache`);
  machine.run('rm', `${LIBEXEC}/snoopy.cjs.cache`);
  machine.rpm('--upgrade', machine.copyIn(nodePackage('20.11.0')));
  assert.ok(existsSync(cache), 'nothing is compiled');
});

deepTest('dnf installs, upgrades and removes it', async (t) => {
  const machine = await boot(t);
  const dnf = (...argv: string[]): string => machine.run('dnf', '--assumeyes', '--cacheonly', ...argv);
  assert.match(dnf('install', machine.copyIn(older.rpm)), /Installed:\n *snoopy-evpn-0\.0\.1/);
  machine.run('snoopy', 'validate');
  assert.match(dnf('install', machine.copyIn(newer.rpm)), /Upgraded:\n *snoopy-evpn-0\.0\.2/);
  assert.match(dnf('remove', 'snoopy-evpn'), /Removed:\n *snoopy-evpn-0\.0\.2/);
  assert.equal(
    existsSync(machine.container.path(CONFIG)),
    false,
    'the configuration as shipped goes as well',
  );
});

deepTest('erased with a broken configuration, it undoes everything', async (t) => {
  const machine = await boot(t);
  machine.rpm('--install', machine.copyIn(newer.rpm));
  machine.configure();
  const host = machine.addHost(1);
  await machine.runsFor(host);
  machine.write(CONFIG, 'version: [\n');
  const printed = machine.rpm('--erase', 'snoopy-evpn');
  assert.match(printed, /snoopy\.yaml/);
  assert.match(printed, /trying again with the defaults/);
  assert.deepEqual(machine.neighbors(), []);
  assert.equal(machine.programOn(host), undefined);
});

deepTest('erased in a chroot, it does nothing to the host around it', async (t) => {
  const machine = await boot(t);
  machine.rpm('--install', machine.copyIn(newer.rpm));
  machine.configure();
  const host = machine.addHost(1);
  machine.run('systemctl', 'enable', '--quiet', '--now', TIMER);
  await machine.runsFor(host);
  const chroot = [
    'mkdir /tmp/upper /tmp/work /tmp/root',
    'mount -t overlay -o lowerdir=/,upperdir=/tmp/upper,workdir=/tmp/work overlay /tmp/root',
    'for dir in dev proc run sys; do mount --rbind /$dir /tmp/root/$dir; done',
    'chroot /tmp/root rpm --erase snoopy-evpn',
  ];
  machine.run('sh', '-ec', chroot.join('\n'));
  assert.equal(existsSync(machine.container.path('/tmp/root/usr/bin/snoopy')), false);
  assert.notEqual(machine.programOn(host), undefined);
  assert.equal(machine.neighbors().length, 1);
  assert.equal(machine.property(TIMER, 'ActiveState'), 'active');
  assert.equal(machine.property(SERVICE, 'Result'), 'success');
});
