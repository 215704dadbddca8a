// The npm tarball on a machine that has Node, but neither a network nor a compiler.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { VERSION } from '../../src/generated/version.ts';
import { RELEASES } from '../lib/container.ts';
import { run } from '../lib/run.ts';
import { Scope } from '../lib/scope.ts';
import { buildPackages, PackageMachine, SERVICE, TIMER } from './packages.ts';

const PREFIX = '/usr/local';
const DOCS = new URL('../../../docs/running.md', import.meta.url);

/** The host's own npm, which is all JavaScript. */
function copyNpm(machine: PackageMachine): string {
  const source = join(run(['npm', 'root', '--global']).trim(), 'npm');
  assert.ok(existsSync(source), `${source} is missing: this test needs the npm that comes with Node.js`);
  run(['cp', '-r', source, machine.container.path('/opt')]);
  return '/opt/npm/bin/npm-cli.js';
}

/** The lines of docs/running.md that put configuration and units in place. */
function documentedLines(): string {
  const [, lines] =
    /After `npm install` you put[^`]*`share`[^`]*```sh\n(.*?)```/s.exec(readFileSync(DOCS, 'utf8')) ?? [];
  assert.ok(lines, 'docs/running.md has the lines');
  return lines;
}

for (const release of RELEASES) {
  test(`is installed offline on ${release}, runs, and leaves nothing when it is uninstalled`, async (t) => {
    const scope = new Scope();
    t.after(() => scope.close());
    const { tarball } = buildPackages(scope, VERSION, { only: ['npm'] });
    const machine = await PackageMachine.boot(t, { from: release });
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

    // npm is where a machine has it that is on the network.
    machine.write('/usr/bin/npm', `#!/bin/sh\nexec node ${npm} --prefix ${PREFIX} "$@"\n`);
    machine.run('chmod', '755', '/usr/bin/npm');
    machine.run('sh', '-ec', documentedLines());
    machine.run('snoopy', 'validate');
    machine.configure();

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
}
