// The units, under a systemd that is the first process of its machine.

import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Capture } from '../lib/capture.ts';
import { RELEASES, type Release } from '../lib/container.ts';
import { deepTest, sample } from '../lib/depth.ts';
import { run } from '../lib/run.ts';
import { Scope } from '../lib/scope.ts';
import { until } from '../lib/wait.ts';
import { buildPackages, CONFIG, PackageMachine, type Packages, SERVICE, TIMER } from './packages.ts';

const scope = new Scope();
let packages: Packages;
before(() => {
  packages = buildPackages(scope, '0.0.1', { only: ['deb'] });
});
after(() => scope.close());

type Profile = 'periodic' | 'prompt';
const PROFILES: readonly Profile[] = ['periodic', 'prompt'];

/** A machine with the package installed and the profile chosen as README.Debian says; nothing runs yet. */
async function machineWith(
  t: { after(fn: () => void): void },
  release: Release,
  profile: Profile,
): Promise<PackageMachine> {
  const machine = await PackageMachine.boot(t, { from: release });
  machine.dpkg('--install', machine.copyIn(packages.deb));
  if (profile === 'prompt') {
    const readme = readFileSync(machine.container.path('/usr/share/doc/snoopy-evpn/README.Debian'), 'utf8');
    const [command] = /^ {4}cp -r [^\n]*\n[^\n]*$/m.exec(readme) ?? [];
    assert.ok(command, 'README.Debian has the command');
    machine.run('sh', '-ec', command);
  }
  machine.configure();
  return machine;
}

function startsOf(machine: PackageMachine): number {
  return Number(machine.property(SERVICE, 'ExecMainStartTimestampMonotonic'));
}

/** Waits for a run that has started after `before`, in microseconds, and returns its start. */
function runAfter(machine: PackageMachine, before: number): Promise<number> {
  const what = `a run after ${before}`;
  return until(
    what,
    () => startsOf(machine),
    (now) => now > before,
    { timeoutMs: 30_000 },
  );
}

/** Intervals of the two profiles, in the microseconds of systemd's time stamps. */
const PERIODIC_US = 10e6;
const PROMPT_US = 8e6;

/** Starts the timer of a service that fails at once, and asserts that the next start waits for its time. */
async function assertPaced(machine: PackageMachine, timer: string, intervalUs: number): Promise<void> {
  machine.run('systemctl', 'start', timer);
  const first = await runAfter(machine, 0);
  await until(
    'the run to fail',
    () => machine.property(SERVICE, 'ActiveState'),
    (state) => state === 'failed',
  );
  const second = await runAfter(machine, first);
  assert.ok(
    second - first > intervalUs - 1e5,
    `the second run came ${(second - first) / 1e6} s after the first`,
  );
}

for (const release of RELEASES) {
  /** In `npm test` one release is enough for all but what systemd says of the units. */
  const mainTest = release === 'trixie' ? test : deepTest;

  test(`systemd-analyze on ${release} accepts the units, and scores them 2.0 or better`, async (t) => {
    for (const profile of sample(['periodic'] as const, PROFILES)) {
      const machine = await machineWith(t, release, profile);
      const verified = machine.container.tryRun(['systemd-analyze', 'verify', '--man=no', SERVICE, TIMER]);
      assert.equal(verified.stdout + verified.stderr, '', profile);
      assert.equal(verified.code, 0);
      const argv = ['systemd-analyze', 'security', '--offline=true', '--threshold=20', '--no-pager', SERVICE];
      const scored = machine.container.tryRun(argv);
      const score = Number(/Overall exposure level for \S+: ([\d.]+)/.exec(scored.stdout)?.[1]);
      assert.ok(score > 0 && score <= 2, `${profile}: ${score}\n${scored.stdout}`);
      assert.equal(scored.code, 0, scored.stdout);
    }
  });

  describe(`the profile periodic on ${release}`, () => {
    mainTest(
      'enabled, it attaches, makes neighbors of the hosts it sees, finds ports added later, and stays quiet',
      async (t) => {
        const machine = await machineWith(t, release, 'periodic');
        // As an impatient operator.
        mkdirSync(machine.container.path(`/etc/systemd/system/${TIMER}.d`));
        const pace = '[Timer]\nOnUnitActiveSec=\nOnActiveSec=0\nOnUnitActiveSec=2s\nRandomizedDelaySec=0\n';
        machine.write(`/etc/systemd/system/${TIMER}.d/pace.conf`, pace);
        machine.run('systemctl', 'daemon-reload');
        const first = machine.addHost(1);
        machine.run('systemctl', 'enable', '--quiet', '--now', TIMER);
        await machine.attached(first);
        await first.announceAndWait();
        const second = machine.addHost(2);
        await machine.advertised(first);
        await machine.attached(second);
        await second.announceAndWait();
        await machine.advertised(second);

        const before = startsOf(machine);
        await runAfter(machine, await runAfter(machine, before));
        const journal = machine.container.journal(SERVICE);
        assert.match(journal, /^attach +br0 +tap1$/m);
        assert.match(journal, /^add +br0 +10\.1\.0\.2 /m);
        assert.doesNotMatch(journal, /nothing to do|Starting|Finished|Deactivated/);
      },
    );

    deepTest('an image with the package boots, and the bridge may be created later', async (t) => {
      const machine = await PackageMachine.boot(t, {
        from: release,
        prepare: (root) => {
          copyFileSync(packages.deb, join(root, 'root/snoopy.deb'));
          run(['chroot', root, 'dpkg', '--install', '/root/snoopy.deb']);
          run(['chroot', root, 'systemctl', 'enable', '--quiet', TIMER]);
          writeFileSync(join(root, CONFIG), 'version: 1\nbridges: [{name: br1}]\n');
        },
      });
      assert.equal(machine.property(TIMER, 'ActiveState'), 'active');
      await runAfter(machine, 0);
      await until(
        'the journal to have the cause',
        () => machine.container.journal(SERVICE),
        (text) => text.includes('br1'),
      );
      machine.run('ip', 'link', 'set', 'br0', 'down');
      machine.run('ip', 'link', 'set', 'br0', 'name', 'br1');
      machine.run('ip', 'link', 'set', 'br1', 'up');
      const host = machine.addHost(1, 'br1');
      await machine.attached(host);
    });

    deepTest(
      'stopped, program and neighbors stay, and the next start finds the hosts seen meanwhile',
      async (t) => {
        const machine = await machineWith(t, release, 'periodic');
        const [first, second] = [machine.addHost(1), machine.addHost(2)];
        machine.run('systemctl', 'start', TIMER);
        await machine.runsFor(first);
        const program = machine.programOn(first);
        machine.run('systemctl', 'stop', TIMER, SERVICE);
        const stopped = startsOf(machine);
        await second.announceAndWait();
        assert.equal(machine.programOn(first), program);
        assert.deepEqual(
          machine.neighbors().map(({ dst }) => dst),
          [first.ip],
        );
        assert.equal(startsOf(machine), stopped, 'nothing runs');
        machine.run('systemctl', 'start', TIMER);
        await machine.advertised(second);
      },
    );

    deepTest(
      'an invalid configuration fails once per interval with the cause, and is used once it is valid',
      async (t) => {
        const machine = await machineWith(t, release, 'periodic');
        const host = machine.addHost(1);
        machine.configure('bridgse: [{name: br0}]');
        await assertPaced(machine, TIMER, PERIODIC_US);
        assert.match(machine.container.journal(SERVICE), /bridgse[\s\S]*bridges/);
        machine.configure();
        await machine.attached(host);
        await until(
          'the unit to succeed',
          () => machine.property(SERVICE, 'ActiveState'),
          (state) => state === 'inactive',
        );
      },
    );

    deepTest('another run that holds the lock is no failure', async (t) => {
      const machine = await machineWith(t, release, 'periodic');
      machine.run('systemctl', 'start', SERVICE);
      const other = machine.netns.start(
        ...machine.container.argv(['snoopy', 'reconcile', '--listen', '40s']),
      );
      await until(
        'the lock to be held',
        () => machine.container.tryRun(['snoopy', 'reconcile', '--check', '--lock-timeout', '0s']).code,
        (code) => code === 75,
      );
      machine.run('systemctl', 'start', SERVICE);
      assert.match(machine.container.journal(SERVICE), /holds the lock/);
      other.kill();
    });
  });

  describe(`the sandbox on ${release}`, () => {
    deepTest(
      'makes a run without bpffs fail with the fix, mounts nothing, and works once bpffs is mounted',
      async (t) => {
        const machine = await machineWith(t, release, 'periodic');
        const host = machine.addHost(1);
        machine.run('umount', '/sys/fs/bpf');
        assert.notEqual(machine.container.tryRun(['systemctl', 'start', SERVICE]).code, 0);
        assert.match(
          machine.container.journal(SERVICE),
          /lacks CAP_SYS_ADMIN.*mount -t bpf bpf \/sys\/fs\/bpf$/m,
        );
        assert.notEqual(machine.container.tryRun(['mountpoint', '/sys/fs/bpf']).code, 0);
        machine.run('mount', '-t', 'bpf', 'bpf', '/sys/fs/bpf');
        machine.run('systemctl', 'start', SERVICE);
        await machine.attached(host);
      },
    );

    deepTest('lets probes out: a silent host is probed', async (t) => {
      const machine = await machineWith(t, release, 'periodic');
      machine.run('ip', 'address', 'add', '10.1.0.254/24', 'dev', 'br0');
      machine.configure('bridges: [{name: br0, probe: {after: 1s}}]');
      const host = machine.addHost(1);
      // From the beginning: a host is probed at most three times.
      const capture = await Capture.start(machine.far, 'e1', 'arp');
      await machine.runsFor(host);
      await until(
        'a probe',
        () => {
          machine.run('systemctl', 'start', SERVICE);
          return capture.lines;
        },
        (lines) => lines.some((line) => line.includes(`who-has ${host.ip}`)),
        { timeoutMs: 30_000, everyMs: 500 },
      );
    });

    deepTest('lets TCX links be attached and replaced', async (t) => {
      const machine = await machineWith(t, release, 'periodic');
      machine.addHost(1);
      for (const max of [1000, 2000]) {
        machine.configure(`runtime: {attach: tcx, max_bindings: ${max}}\nbridges: [{name: br0}]`);
        machine.run('systemctl', 'start', SERVICE);
        assert.match(machine.container.journal(SERVICE), /^attach +br0 +tap1$/m);
      }
    });

    deepTest("lets the textfile be written where Debian's node_exporter reads it", async (t) => {
      const machine = await machineWith(t, release, 'periodic');
      const textfile = '/var/lib/prometheus/node-exporter/snoopy.prom';
      mkdirSync(dirname(machine.container.path(textfile)), { recursive: true });
      machine.configure(`bridges: [{name: br0}]\nmetrics: {textfile: ${textfile}}`);
      for (let run = 1; run <= 2; run++) {
        machine.run('systemctl', 'start', SERVICE);
        assert.match(machine.run('cat', textfile), /^snoopy_last_run_success 1$/m);
      }
      assert.match(machine.run('stat', '--format=%A', textfile), /^-rw-r--r--$/m);
    });

    mainTest('reaches the sockets of FRR, which belong to another user, by their group', async (t) => {
      const machine = await machineWith(t, release, 'periodic');
      const zebra =
        "require('node:net').createServer((peer) => { require('node:fs').appendFileSync('/run/zebra/log', '.'); " +
        "peer.end('[]'); }).listen('/run/zebra/vty')";
      const owner = ['--property=User=nobody', '--property=Group=frrvty', '--property=UMask=0007'];
      machine.run('systemd-run', ...owner, '--property=RuntimeDirectory=zebra', '/usr/bin/node', '-e', zebra);
      // In the real one PAM sets the user ID that the process has.
      machine.write(
        '/usr/local/bin/vtysh',
        '#!/usr/bin/python3\nimport os, socket\nos.setuid(os.geteuid())\n' +
          "zebra = socket.socket(socket.AF_UNIX)\nzebra.connect('/run/zebra/vty')\nprint(zebra.recv(2).decode())\n",
      );
      machine.run('chmod', '755', '/usr/local/bin/vtysh');
      const host = machine.addHost(1);
      machine.run('systemctl', 'start', SERVICE);
      await host.announceAndWait();
      await until(
        'the question of a run',
        () =>
          machine.run('systemctl', 'start', SERVICE) +
          machine.container.tryRun(['cat', '/run/zebra/log']).stdout,
        (log) => log === '.',
      );
    });

    deepTest('is writable only at bpffs and the usual places of textfiles', async (t) => {
      const machine = await machineWith(t, release, 'periodic');
      const usual = '/var/lib/prometheus/node-exporter';
      mkdirSync(machine.container.path(usual), { recursive: true });
      mkdirSync(machine.container.path('/srv/metrics'));
      const touch = (path: string): number => {
        // The shipped unit, with another command.
        const dropin = '/run/systemd/system/snoopy-reconcile.service.d';
        mkdirSync(machine.container.path(dropin), { recursive: true });
        machine.write(`${dropin}/touch.conf`, `[Service]\nExecStart=\nExecStart=touch ${path}\n`);
        machine.run('systemctl', 'daemon-reload');
        const { code } = machine.container.tryRun(['systemctl', 'start', SERVICE]);
        rmSync(machine.container.path(dropin), { recursive: true });
        return code;
      };
      assert.equal(touch(`${usual}/snoopy.prom`), 0);
      for (const path of ['/srv/metrics/x', '/etc/snoopy/x', '/sys/kernel/x', '/root/x', '/usr/x']) {
        assert.notEqual(touch(path), 0, path);
      }
      mkdirSync(machine.container.path('/etc/systemd/system/snoopy-reconcile.service.d'));
      const dropin = '/etc/systemd/system/snoopy-reconcile.service.d/metrics.conf';
      machine.write(dropin, '[Service]\nReadWritePaths=/srv/metrics\n');
      assert.equal(touch('/srv/metrics/x'), 0, 'with a drop-in of the operator');
      machine.run('chown', 'nobody', '/srv/metrics');
      assert.notEqual(touch('/srv/metrics/y'), 0, 'in the directory of another user');
      machine.write(
        dropin,
        '[Service]\nReadWritePaths=/srv/metrics\nCapabilityBoundingSet=CAP_DAC_OVERRIDE\n',
      );
      assert.equal(touch('/srv/metrics/y'), 0, 'with a drop-in for that');
    });
  });

  describe(`the profile prompt on ${release}`, () => {
    deepTest('acts on a new host and a new port while it listens', async (t) => {
      const machine = await machineWith(t, release, 'prompt');
      const first = machine.addHost(1);
      machine.run('systemctl', 'start', TIMER);
      await machine.attached(first);
      // Early in a run, which listens for the next ten seconds.
      const start = await runAfter(machine, startsOf(machine));
      await first.announceAndWait();
      await machine.advertised(first, 4_000);
      const second = machine.addHost(2);
      await machine.attached(second, 4_000);
      assert.equal(startsOf(machine), start, 'it was one single run');
    });

    deepTest('the next run starts when one ends, and a killed run costs at most one interval', async (t) => {
      const machine = await machineWith(t, release, 'prompt');
      machine.run('systemctl', 'start', TIMER);
      const first = await runAfter(machine, 0);
      const second = await runAfter(machine, first);
      const ended = Number(machine.property(SERVICE, 'InactiveEnterTimestampMonotonic'));
      const gap = second - Math.max(first + PROMPT_US, ended);
      assert.ok(gap < 2e6, `the gap was ${gap / 1e6} s`);

      const pid = machine.property(SERVICE, 'MainPID');
      machine.run('kill', '-KILL', pid);
      await until(
        'the run to end',
        () => machine.property(SERVICE, 'ActiveState'),
        (state) => state === 'failed',
      );
      const third = await runAfter(machine, second);
      assert.ok(
        third - second > PROMPT_US - 1e5 && third - second < PROMPT_US + 3e6,
        `${(third - second) / 1e6} s after the killed run`,
      );
    });

    deepTest('stopping ends a listening run at once, and is no failure', async (t) => {
      const machine = await machineWith(t, release, 'prompt');
      const host = machine.addHost(1);
      machine.run('systemctl', 'start', TIMER);
      await machine.attached(host);
      machine.run('systemctl', 'stop', TIMER, SERVICE);
      const took = Number(machine.property(SERVICE, 'InactiveEnterTimestampMonotonic')) - startsOf(machine);
      assert.ok(took < PROMPT_US - 1e6, `the run took ${took / 1e6} s`);
      assert.equal(machine.property(SERVICE, 'Result'), 'success');
      assert.notEqual(machine.programOn(host), undefined);
    });

    deepTest('an invalid configuration does not make the unit spin', async (t) => {
      const machine = await machineWith(t, release, 'prompt');
      machine.configure('bridgse: []');
      await assertPaced(machine, TIMER, PROMPT_US);
    });
  });
}
