// The life of the .deb on a machine: installed, upgraded, removed, purged; and what it must not leave behind.
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: shells have them too.

import assert from 'node:assert/strict';
import { appendFileSync, copyFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { VERSION } from '../../src/generated/version.ts';
import type { Host } from '../kernel/machine.ts';
import { RELEASES } from '../lib/container.ts';
import { deepTest } from '../lib/depth.ts';
import { run, tryRun } from '../lib/run.ts';
import { Scope } from '../lib/scope.ts';
import { createTempDir } from '../lib/temp.ts';
import { until } from '../lib/wait.ts';
import { buildPackages, CONFIG, PackageMachine, type Packages, SERVICE, TIMER } from './packages.ts';

const OLD = '0.0.1';
const NEW = '0.0.2';
const PINS = '/sys/fs/bpf/snoopy';

const scope = new Scope();
let older: Packages;
let newer: Packages;
before(() => {
  older = buildPackages(scope, OLD, { only: ['deb'] });
  newer = buildPackages(scope, NEW, { only: ['deb'] });
});
after(() => scope.close());

/** Makes the package one like those of version 0.1.0, and returns its path. */
function withConffile(deb: string): string {
  const dir = createTempDir(scope, 'conffile');
  const root = join(dir, 'root');
  run(['dpkg-deb', '--raw-extract', deb, root]);
  mkdirSync(join(root, 'etc/snoopy'), { recursive: true });
  copyFileSync(join(root, 'usr/share/snoopy-evpn/snoopy.yaml'), join(root, CONFIG));
  appendFileSync(join(root, 'DEBIAN/conffiles'), `${CONFIG}\n`);
  const path = join(dir, 'conffile.deb');
  run(['dpkg-deb', '--build', '--root-owner-group', root, path]);
  return path;
}

/** Installed and run, with a host that has a neighbor. */
async function installed(machine: PackageMachine, packages: Packages): Promise<Host> {
  machine.dpkg('--install', machine.copyIn(packages.deb));
  machine.configure();
  const host = machine.addHost(1);
  machine.run('systemctl', 'enable', '--quiet', '--now', TIMER);
  await machine.runsFor(host);
  return host;
}

for (const release of RELEASES) {
  /** In `npm test` one release is enough for all but the whole life of the package. */
  const mainTest = release === 'trixie' ? test : deepTest;

  describe(`installation on ${release}`, () => {
    mainTest(
      'starts nothing and changes nothing on the network; the shipped configuration is valid',
      async (t) => {
        const machine = await PackageMachine.boot(t, { from: release });
        const printed = machine.apt(newer.deb);
        assert.doesNotMatch(printed, /warning|error|fail/i);
        assert.equal(machine.run('snoopy', '--version'), `${VERSION}\n`);
        assert.equal(machine.property(TIMER, 'ActiveState'), 'inactive');
        assert.equal(machine.property(TIMER, 'UnitFileState'), 'disabled');
        assert.equal(machine.property(SERVICE, 'ExecMainStartTimestamp'), '');
        assert.equal(existsSync(machine.container.path(PINS)), false);
        machine.run('snoopy', 'validate');
        assert.match(machine.run('snoopy', 'reconcile', '--check'), /^0 bridges/m);
        machine.write(CONFIG, 'version: 1\nbridges: [{name: br0, metric: 1}]\n');
        assert.equal(machine.container.tryRun(['snoopy', 'validate']).code, 78);
      },
    );

    deepTest('stores the compiled program, which runs use', async (t) => {
      const machine = await PackageMachine.boot(t, { from: release });
      machine.dpkg('--install', machine.copyIn(newer.deb));
      // With another text of the same size and time, only the stored code still has the version.
      const program = '/usr/lib/snoopy-evpn/snoopy.cjs';
      machine.run('cp', '--preserve=timestamps', program, '/root/before');
      machine.run('sed', '-i', `s/"${VERSION}"/"${VERSION.replaceAll(/\d/g, '9')}"/`, program);
      machine.run('touch', '--reference=/root/before', program);
      assert.equal(machine.run('node', program, '--version'), `${VERSION.replaceAll(/\d/g, '9')}\n`);
      assert.equal(machine.run('snoopy', '--version'), `${VERSION}\n`);
    });

    deepTest('completes the names of bridges in bash', async (t) => {
      const machine = await PackageMachine.boot(t, { from: release });
      machine.dpkg('--install', machine.copyIn(newer.deb));
      const script =
        '. /usr/share/bash-completion/completions/snoopy; _snoopy snoopy "" --bridge; echo "${COMPREPLY[*]}"';
      assert.equal(machine.run('bash', '-euc', script), 'br0\n');
    });

    deepTest('makes `ip neigh` print the name of the protocol', async (t) => {
      const machine = await PackageMachine.boot(t, { from: release });
      const host = await installed(machine, newer);
      assert.match(
        machine.run('ip', 'neigh', 'show', host.ip, 'dev', 'br0', 'nud', 'noarp'),
        /NOARP proto snoopy/,
      );
    });
  });

  describe(`an upgrade on ${release}`, () => {
    mainTest("keeps program, hosts and the operator's choices, without a gap", async (t) => {
      const machine = await PackageMachine.boot(t, { from: release });
      const host = await installed(machine, older);
      const program = machine.programOn(host);
      const neighbors = machine.neighbors();
      const watch = machine.netns.start('ip', 'monitor', 'neigh', 'dev', 'br0');
      const filters = machine.netns.start('tc', 'monitor');
      const started = machine.property(SERVICE, 'ExecMainStartTimestampMonotonic');
      machine.dpkg('--install', machine.copyIn(newer.deb));
      assert.match(machine.run('dpkg-query', '--show', 'snoopy-evpn'), new RegExp(NEW));
      await until(
        'a run of the new version',
        () => machine.property(SERVICE, 'ExecMainStartTimestampMonotonic'),
        (now) => now !== started,
        { timeoutMs: 20_000 },
      );
      const second = machine.addHost(2);
      await machine.attached(second);
      assert.equal(machine.programOn(host), program);
      assert.deepEqual(machine.neighbors(), neighbors);
      assert.doesNotMatch((await watch.stop()).stdout, new RegExp(`Deleted.*${host.ip}`));
      assert.doesNotMatch((await filters.stop()).stdout, new RegExp(`deleted.*dev ${host.port} `, 'i'));
      assert.equal(machine.property(TIMER, 'ActiveState'), 'active');
      assert.equal(machine.property(TIMER, 'UnitFileState'), 'enabled');
      assert.match(machine.run('cat', CONFIG), /br0/);
    });

    deepTest(
      'leaves a timer alone that is neither enabled nor running, and a deleted file deleted',
      async (t) => {
        const machine = await PackageMachine.boot(t, { from: release });
        machine.dpkg('--install', machine.copyIn(older.deb));
        machine.run('rm', CONFIG);
        machine.dpkg('--install', machine.copyIn(newer.deb));
        assert.equal(existsSync(machine.container.path(CONFIG)), false);
        assert.equal(machine.property(TIMER, 'ActiveState'), 'inactive');
        assert.equal(machine.property(TIMER, 'UnitFileState'), 'disabled');
      },
    );

    deepTest('from a package with the configuration as a conffile leaves it as it is', async (t) => {
      const machine = await PackageMachine.boot(t, { from: release });
      const [old, current] = [machine.copyIn(withConffile(older.deb)), machine.copyIn(newer.deb)];
      const path = machine.container.path(CONFIG);
      const contents = (): string | null => (existsSync(path) ? readFileSync(path, 'utf8') : null);
      const changes: readonly (() => void)[] = [
        () => {},
        () => machine.configure(),
        () => machine.run('rm', CONFIG),
      ];
      for (const change of changes) {
        machine.dpkg('--install', old);
        change();
        const changed = contents();
        // Without a terminal a question would be an error.
        machine.dpkg('--install', current);
        assert.equal(contents(), changed);
        if (changed !== null) machine.write(`${CONFIG}~`, 'of an editor');
        machine.dpkg('--purge', 'snoopy-evpn');
        assert.equal(existsSync(machine.container.path('/etc/snoopy')), false);
      }
    });
  });

  describe(`removal on ${release}`, () => {
    test('and purge leave the host as it was', async (t) => {
      const machine = await PackageMachine.boot(t, { from: release });
      const host = machine.addHost(1);
      await host.announceAndWait();
      const before = machine.inventory();
      machine.dpkg('--install', machine.copyIn(newer.deb));
      machine.configure();
      await machine.runsFor(host);
      machine.run('cp', '-r', '/usr/share/snoopy-evpn/prompt/.', '/etc/systemd/system/');
      machine.run('systemctl', 'daemon-reload');
      machine.run('systemctl', 'enable', '--quiet', '--now', TIMER);
      const program = machine.programOn(host);

      assert.match(machine.dpkg('--remove', 'snoopy-evpn'), /^detach .*tap1$[\s\S]*^remove .*10\.1\.0\.1 /m);
      assert.deepEqual(machine.neighbors(), []);
      assert.equal(machine.programOn(host), undefined);
      assert.equal(existsSync(machine.container.path(PINS)), false);
      assert.match(machine.run('cat', CONFIG), /br0/, 'the configuration outlives removal');
      await until(
        `program ${program} to be gone`,
        () => tryRun(['bpftool', 'prog', 'show', 'id', String(program)]).code,
        (code) => code !== 0,
      );

      machine.dpkg('--purge', 'snoopy-evpn');
      assert.deepEqual(machine.differences(before), []);
    });

    deepTest(
      'that is aborted for another package leaves the timer running, which sets everything up again',
      async (t) => {
        const machine = await PackageMachine.boot(t, { from: release });
        const host = await installed(machine, newer);
        const script = (name: string, ...args: string[]): string =>
          machine.run(`/var/lib/dpkg/info/snoopy-evpn.${name}`, ...args, 'in-favour', 'other', '1');
        script('prerm', 'remove');
        assert.equal(machine.property(TIMER, 'ActiveState'), 'inactive');
        assert.equal(machine.programOn(host), undefined);
        script('postinst', 'abort-remove');
        assert.equal(machine.property(TIMER, 'ActiveState'), 'active');
        await machine.attached(host);
        // What counts is whether it ran, not whether it starts at boot.
        machine.run('systemctl', 'disable', '--quiet', TIMER);
        const stateAfter = (): string => {
          script('prerm', 'remove');
          script('postinst', 'abort-remove');
          return machine.property(TIMER, 'ActiveState');
        };
        assert.equal(stateAfter(), 'active');
        machine.run('systemctl', 'enable', '--quiet', TIMER);
        machine.run('systemctl', 'stop', TIMER);
        assert.equal(stateAfter(), 'inactive');
      },
    );

    deepTest('succeeds with a broken configuration, and undoes everything', async (t) => {
      const machine = await PackageMachine.boot(t, { from: release });
      const host = await installed(machine, newer);
      machine.write(CONFIG, 'version: [\n');
      const printed = machine.dpkg('--remove', 'snoopy-evpn');
      assert.match(printed, /snoopy\.yaml/);
      assert.match(printed, /trying again with the defaults/);
      assert.deepEqual(machine.neighbors(), []);
      assert.equal(machine.programOn(host), undefined);
    });

    deepTest('reports what stays when nothing can be undone, and continues', async (t) => {
      const machine = await PackageMachine.boot(t, { from: release });
      const host = await installed(machine, newer);
      machine.run('systemctl', 'stop', TIMER, SERVICE);
      const lock = machine.netns.start(...holdLock(machine));
      await lock.printed(/held/);
      const printed = machine.dpkg('--remove', 'snoopy-evpn');
      assert.match(printed, /holds the lock/);
      assert.match(printed, /could not take everything back/);
      assert.notEqual(machine.programOn(host), undefined);
      assert.match(machine.run('dpkg', '--status', 'snoopy-evpn'), /^Status: .* config-files$/m);
    });

    deepTest('in a chroot does nothing to the host around it', async (t) => {
      const machine = await PackageMachine.boot(t, { from: release });
      const host = await installed(machine, newer);
      const chroot = [
        'mkdir /tmp/upper /tmp/work /tmp/root',
        'mount -t overlay -o lowerdir=/,upperdir=/tmp/upper,workdir=/tmp/work overlay /tmp/root',
        'for dir in dev proc run sys; do mount --rbind /$dir /tmp/root/$dir; done',
        'chroot /tmp/root dpkg --remove snoopy-evpn',
      ];
      machine.run('sh', '-ec', chroot.join('\n'));
      assert.equal(existsSync(machine.container.path('/tmp/root/usr/bin/snoopy')), false);
      assert.notEqual(machine.programOn(host), undefined);
      assert.equal(machine.neighbors().length, 1);
      assert.equal(machine.property(TIMER, 'ActiveState'), 'active');
    });

    deepTest('and a new installation restore what was enabled; purge does not', async (t) => {
      const machine = await PackageMachine.boot(t, { from: release });
      await installed(machine, newer);
      machine.dpkg('--remove', 'snoopy-evpn');
      machine.dpkg('--install', machine.copyIn(newer.deb));
      assert.equal(machine.property(TIMER, 'UnitFileState'), 'enabled');
      assert.equal(machine.property(TIMER, 'ActiveState'), 'active');
      machine.dpkg('--purge', 'snoopy-evpn');
      machine.dpkg('--install', machine.copyIn(newer.deb));
      assert.equal(machine.property(TIMER, 'UnitFileState'), 'disabled');
    });
  });
}

/** Holds the lock on the pins, as a run that never ends. */
function holdLock(machine: PackageMachine): string[] {
  const script =
    'import fcntl, os, sys, time\nfcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)\nprint("held", flush=True)\ntime.sleep(600)';
  return ['/usr/bin/python3', '-c', script, machine.container.path(PINS)];
}
