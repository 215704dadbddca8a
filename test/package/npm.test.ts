// The npm tarball on a machine that has Node, but neither a network nor a compiler.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { VERSION } from '../../src/generated/version.ts';
import { run } from '../lib/run.ts';
import { Scope } from '../lib/scope.ts';
import { buildPackages, CONFIG, PackageMachine, SERVICE, TIMER } from './packages.ts';

const PREFIX = '/usr/local';
const MODULES = `${PREFIX}/lib/node_modules`;

/** The host's own npm, which is all JavaScript. */
function copyNpm(machine: PackageMachine): string {
  const source = join(run(['npm', 'root', '--global']).trim(), 'npm');
  assert.ok(existsSync(source), `${source} is missing: this test needs the npm that comes with Node.js`);
  run(['cp', '-r', source, machine.container.path('/opt')]);
  return '/opt/npm/bin/npm-cli.js';
}

test('is installed offline, runs, and leaves nothing when it is uninstalled', async (t) => {
  const scope = new Scope();
  t.after(() => scope.close());
  const { tarball } = buildPackages(scope, VERSION);
  const machine = await PackageMachine.boot(t);
  const npm = copyNpm(machine);
  for (const tool of ['cc', 'gcc', 'clang', 'make']) {
    assert.notEqual(machine.container.tryRun(['which', tool]).code, 0, `the machine has ${tool}`);
  }
  const global = ['--global', '--prefix', PREFIX, '--no-audit', '--no-fund'];
  const files = (): string => machine.run('find', PREFIX, '!', '-type', 'd');
  const before = files();
  machine.run('node', npm, 'install', ...global, '--offline', machine.copyIn(tarball));
  assert.equal(machine.run('snoopy', '--version'), `${VERSION}\n`);
  assert.ok(existsSync(machine.container.path(`${PREFIX}/share/man/man8/snoopy.8`)));

  const share = `${MODULES}/snoopy-evpn/share`;
  machine.run('mkdir', '/etc/snoopy');
  machine.run('cp', `${share}/snoopy-evpn/snoopy.yaml`, CONFIG);
  machine.run('snoopy', 'validate');
  machine.configure();
  machine.run('sh', '-ec', `cp ${share}/systemd/system/* /etc/systemd/system/; systemctl daemon-reload`);

  const host = machine.addHost(1);
  await machine.runsFor(host);
  machine.run('systemctl', 'enable', '--quiet', '--now', TIMER);
  machine.run('systemctl', 'disable', '--quiet', '--now', TIMER);
  machine.run('systemctl', 'stop', SERVICE);
  machine.run('snoopy', 'remove');
  assert.deepEqual(machine.neighbors(), []);
  machine.run('node', npm, 'uninstall', ...global, 'snoopy-evpn');
  assert.equal(files(), before);
});
