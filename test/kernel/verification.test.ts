// frr.verify: when runs ask vtysh, and what they make of its answers.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import type { Run } from '../../src/commands/run.ts';
import { verifyZebra } from '../../src/commands/verify-zebra.ts';
import type { Written } from '../../src/core/zebra.ts';
import { NUD_NOARP } from '../../src/netlink/neighbor.ts';
import { deepTest } from '../lib/depth.ts';
import type { Background } from '../lib/run.ts';
import { Scope } from '../lib/scope.ts';
import type { Config } from '../lib/snoopy.ts';
import { createTempDir } from '../lib/temp.ts';
import { until } from '../lib/wait.ts';
import { type Host, Machine } from './machine.ts';

const NOTHING = { verified: 0, missing: 0, renewed: 0 };
/** zebra's answer about its VNIs. */
const VNI = '[{"vni":100,"type":"L2","sviInterface":"br0"}]';

describe('a vtysh', () => {
  /** A node with a neighbor that an earlier run has written; `vtysh` logs its commands and then does what `script` says. */
  function beside(t: TestContext, script: string, config: Config = {}) {
    const machine = new Machine(t, { config: { bridges: [{ name: 'br0' }], ...config } });
    const dir = createTempDir(machine.scope, 'vtysh');
    const log = join(dir, 'log');
    writeFileSync(log, '');
    writeFileSync(join(dir, 'vtysh'), `#!/bin/sh\necho "$2" >>${log}\n${script}\n`, { mode: 0o755 });
    machine.snoopy.beside({ binDirectory: () => dir });
    machine.host(1).announce();
    return {
      machine,
      asked: () =>
        readFileSync(log, 'utf8')
          .split('\n')
          .filter((line) => line !== ''),
    };
  }

  test('is asked in the run after one that wrote, and by an idle run only minutes later', (t) => {
    const { machine, asked } = beside(t, 'echo "[]"');
    machine.reconcile();
    machine.host(1).announce();
    machine.reconcile();
    assert.deepEqual(asked(), [], 'nothing that an earlier run has written');
    machine.reconcile('--bridge', 'br0');
    assert.deepEqual(asked(), [], 'a run of some bridges leaves it to the next of all');
    machine.reconcile();
    // Without a VNI there is no second question.
    assert.deepEqual(asked(), ['show evpn vni detail json']);
    machine.assertIdle();
    assert.equal(asked().length, 1);
  });

  test('is not waited for by a run of some bridges', (t) => {
    const scope = new Scope();
    t.after(() => scope.close());
    const run = {
      session: { pins: { directory: createTempDir(scope, 'pins') }, runtime: { neighborProtocol: 115 } },
      configuration: { verify: 'auto' },
      options: { check: false, bridges: ['br0'] },
      environment: { wallClock: Date.now },
    };
    const entry = { protocol: 115, flags: 0, state: NUD_NOARP };
    const earlier = { device: 'br0', entry } as unknown as Written;
    const { dueInMs } = verifyZebra(run as unknown as Run, [earlier], 0);
    assert.equal(dueInMs, Number.POSITIVE_INFINITY);
  });

  for (const [name, script] of [
    ['that fails at once, as without a daemon', 'echo "failed to connect to any daemons" >&2; exit 1'],
    ['that prints something else', 'echo "Unknown command"'],
  ] as const) {
    deepTest(`${name}: no warning, and no question in each run`, (t) => {
      const { machine, asked } = beside(t, script);
      for (let run = 0; run < 4; run++) {
        const report = machine.reconcile();
        assert.deepEqual(report.warnings, []);
        assert.deepEqual(report.frr, NOTHING);
        machine.host(1).announce();
      }
      assert.equal(asked().length, 1);
    });
  }

  deepTest('that never lists a neighbor: it is written anew once, and not in each run', (t) => {
    const { machine, asked } = beside(t, `case "$2" in *detail*) echo '${VNI}';; *) echo '{}';; esac`);
    machine.reconcile();
    machine.host(1).announce();
    machine.reconcile();
    assert.deepEqual(machine.reconcile().frr, { verified: 1, missing: 1, renewed: 1 });
    const questions = asked().length;
    assert.equal(machine.macOf(machine.host(1).ip), machine.host(1).mac);
    for (let run = 0; run < 2; run++) assert.deepEqual(machine.reconcile().frr, NOTHING);
    assert.equal(asked().length, questions);
  });

  /** A machine whose neighbor zebra has, but without its MAC, and the run that asks for it; `prepare` comes before that. */
  async function inactive(t: TestContext, prepare: (machine: Machine, host: Host) => void = () => {}) {
    const entry = { type: 'local', state: 'inactive', mac: '02:00:00:00:00:01' };
    const table = JSON.stringify({ 100: { '10.1.0.1': entry } });
    const { machine } = beside(t, `case "$2" in *detail*) echo '${VNI}';; *) echo '${table}';; esac`);
    const host = machine.host(1);
    machine.reconcile();
    host.announce();
    machine.reconcile();
    prepare(machine, host);
    const before = machine.run('bridge', '-d', 'fdb', 'show', 'br', 'br0');
    const monitor = machine.netns.start('bridge', 'monitor', 'fdb');
    await marked(machine, monitor, '02:ee:00:00:00:01');
    const { frr } = machine.reconcile();
    await marked(machine, monitor, '02:ee:00:00:00:02');
    assert.equal(
      machine.run('bridge', '-d', 'fdb', 'show', 'br', 'br0'),
      before,
      'the entry is not as it was',
    );
    const lines = monitor.stdout.split('\n').filter((line) => line.includes(host.mac));
    return { frr, notified: lines.map((line) => line.trim()) };
  }

  /** Waits until the monitor has printed everything so far. */
  async function marked({ netns }: Machine, monitor: Background, mac: string): Promise<void> {
    const entry = [mac, 'dev', 'tap1', 'master', 'static'];
    await until(
      `the monitor to print ${mac}`,
      () => {
        // It may have just started.
        netns.run('bridge', 'fdb', 'replace', ...entry);
        netns.run('bridge', 'fdb', 'del', ...entry.slice(0, 4));
        return monitor.stdout;
      },
      (printed) => printed.includes(`Deleted ${mac}`),
    );
  }

  deepTest('that lists a neighbor as inactive whose MAC the bridge has: that is written anew', async (t) => {
    const { frr, notified } = await inactive(t);
    assert.deepEqual(frr, { verified: 1, missing: 1, renewed: 1 });
    assert.deepEqual(notified, [
      'Deleted 02:00:00:00:00:01 dev tap1 master br0',
      '02:00:00:00:00:01 dev tap1 master br0',
    ]);
  });

  deepTest('that lists it so: a static entry stays a static one', async (t) => {
    const { frr, notified } = await inactive(t, ({ netns }, { mac }) => {
      netns.run('bridge', 'fdb', 'replace', mac, 'dev', 'tap1', 'master', 'static');
    });
    assert.deepEqual(frr, { verified: 1, missing: 1, renewed: 1 });
    assert.deepEqual(notified, [
      'Deleted 02:00:00:00:00:01 dev tap1 master br0 static',
      '02:00:00:00:00:01 dev tap1 master br0 static',
    ]);
  });

  for (const [what, prepare] of [
    [
      'of a silent host',
      ({ netns }, { mac }) => netns.run('bridge', 'fdb', 'del', mac, 'dev', 'tap1', 'master'),
    ],
    [
      'of another program',
      ({ netns }, { mac }) => {
        netns.run('bridge', 'fdb', 'replace', mac, 'dev', 'tap1', 'master', 'extern_learn');
      },
    ],
    ['of a locked port', ({ netns }) => netns.run('bridge', 'link', 'set', 'dev', 'tap1', 'locked', 'on')],
  ] satisfies [string, (machine: Machine, host: Host) => unknown][]) {
    deepTest(`that lists it so: the MAC ${what} is left alone`, async (t) => {
      assert.deepEqual(await inactive(t, prepare), { frr: { ...NOTHING, verified: 1 }, notified: [] });
    });
  }

  deepTest('is not asked with frr.verify: never, nor by --check', (t) => {
    const { machine, asked } = beside(t, 'echo "[]"', { frr: { verify: 'never' } });
    for (let run = 0; run < 3; run++) {
      machine.reconcile();
      machine.host(1).announce();
    }
    machine.snoopy.configure({ bridges: [{ name: 'br0' }] });
    machine.snoopy.reconcile('--check');
    assert.deepEqual(asked(), []);
    machine.reconcile();
    assert.equal(asked().length, 1);
  });
});
