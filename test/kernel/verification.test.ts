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
import { Scope } from '../lib/scope.ts';
import type { Config } from '../lib/snoopy.ts';
import { createTempDir } from '../lib/temp.ts';
import { Machine } from './machine.ts';

const NOTHING = { verified: 0, missing: 0, renewed: 0 };

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
    const vni = '[{"vni":100,"type":"L2","sviInterface":"br0"}]';
    const { machine, asked } = beside(t, `case "$2" in *detail*) echo '${vni}';; *) echo '{}';; esac`);
    machine.reconcile();
    machine.host(1).announce();
    machine.reconcile();
    assert.deepEqual(machine.reconcile().frr, { verified: 1, missing: 1, renewed: 1 });
    const questions = asked().length;
    assert.equal(machine.macOf(machine.host(1).ip), machine.host(1).mac);
    for (let run = 0; run < 2; run++) assert.deepEqual(machine.reconcile().frr, NOTHING);
    assert.equal(asked().length, questions);
  });

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
