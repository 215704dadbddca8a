// What a pipeline relies on: commands without requirements, a gate that writes nothing, and the examples unchanged.
import assert from 'node:assert/strict';
import { chmodSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { load } from 'js-yaml';
import { listPins } from '../lib/bpffs.ts';
import { assertReport } from '../lib/report.ts';
import { type Result, run, tryRun } from '../lib/run.ts';
import { Scope } from '../lib/scope.ts';
import { outputOf, PRODUCT, withReport } from '../lib/snoopy.ts';
import { createTempDir } from '../lib/temp.ts';
import { assertExit, Machine } from './machine.ts';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const EXAMPLES = join(ROOT, 'docs/examples');
const NOBODY = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--no-new-privs'];

/** A directory with only the one file of the package, and configurations beside it. */
function bareDirectory(t: Pick<TestContext, 'after'>): string {
  const scope = new Scope();
  t.after(() => scope.close());
  const dir = createTempDir(scope, 'bare');
  copyFileSync(PRODUCT, join(dir, 'snoopy.cjs'));
  writeFileSync(join(dir, 'good.yaml'), 'version: 1\nbridges: [{name: vmbr0}]\n');
  writeFileSync(join(dir, 'bad.yaml'), 'version: 1\nbridges:\n  - name: vmbr0\n    max_age: 20 minutes\n');
  // A program that asks is on macOS, and loading a native module ends it.
  writeFileSync(
    join(dir, 'elsewhere.cjs'),
    `Object.defineProperty(process, 'platform', { value: 'darwin' });
     process.dlopen = () => { throw new Error('a native module was loaded'); };
     const { _load } = require('node:module');
     require('node:module')._load = function (name, ...rest) {
       if (name.includes('koffi')) throw new Error('koffi was requested');
       return _load.call(this, name, ...rest);
     };`,
  );
  return dir;
}

describe('without root, without the kernel, without a native module', () => {
  function elsewhere(dir: string, wrapper: readonly string[], ...args: string[]): Result {
    const argv = [
      process.execPath,
      '--require',
      join(dir, 'elsewhere.cjs'),
      join(dir, 'snoopy.cjs'),
      ...args,
    ];
    const result = tryRun([...wrapper, ...argv], { env: { NODE_OPTIONS: '' } });
    assertReport(result);
    return result;
  }

  test('validate, schema, help and version work in full', (t) => {
    const dir = bareDirectory(t);
    const good = elsewhere(dir, NOBODY, 'validate', '--config', join(dir, 'good.yaml'), '--format', 'json');
    assertExit(good, 0);
    assert.equal(JSON.parse(good.stdout).bridges[0].name, 'vmbr0');
    const bad = elsewhere(dir, NOBODY, 'validate', '--config', join(dir, 'bad.yaml'), '--format', 'json');
    assertExit(bad, 78);
    assert.equal(JSON.parse(bad.stdout).errors[0].key, 'bridges[0].max_age');
    assert.ok(bad.stderr.startsWith(`${join(dir, 'bad.yaml')}:4:14: `), outputOf(bad));
    const schema = elsewhere(dir, NOBODY, 'schema');
    assert.equal(schema.stdout, readFileSync(join(ROOT, 'schema/snoopy.schema.json'), 'utf8'));
    assertExit(schema, 0);
    for (const option of ['--help', '--version']) {
      const result = elsewhere(dir, NOBODY, option);
      assertExit(result, 0);
      assert.equal(result.stderr, '');
    }
    const usage = elsewhere(dir, NOBODY, 'validate', '--nope', '--format', 'json');
    assertExit(usage, 64);
  });

  test('the other commands name what is missing', (t) => {
    const dir = bareDirectory(t);
    const config = ['--config', join(dir, 'good.yaml'), '--format', 'json'];
    // As root, so that no other check stops them first.
    for (const command of ['status', 'reconcile', 'remove']) {
      const result = elsewhere(dir, ['unshare', '--net', '--mount'], command, ...config);
      assertExit(result, 69);
      assert.match(result.stderr, /Cannot load .*koffi was requested/);
    }
    const hidden = ['unshare', '--mount', 'sh', '-c', 'mount -t tmpfs none /proc && exec "$@"', 'sh'];
    const result = elsewhere(dir, hidden, 'reconcile', ...config);
    assertExit(result, 69);
    assert.match(result.stderr, /run on Linux .*validate and schema/);
  });
});

describe('the gate', () => {
  test('exits with 2, 0 or 1 as its report says, and writes nothing', async (t) => {
    const machine = new Machine(t);
    const state = (): string[] => [
      ...listPins(machine.snoopy.bpffs),
      ...machine.attachedPrograms('tap1').map(String),
      String(machine.hasClsact('tap1')),
      ...machine.ownNeighbors(),
    ];
    const gate = (code: number): ReturnType<typeof withReport>['report'] => {
      const before = state();
      const traced = machine.snoopy.trace('--check', '--detailed-exitcode');
      assertExit(traced, code);
      assert.deepEqual(traced.netlinkWrites, []);
      assert.ok(traced.netlinkReads.length > 0, 'the trace sees messages');
      assert.deepEqual(
        traced.bpfCommands.filter((command) => /UPDATE|DELETE|PIN|LOAD|CREATE|ATTACH/.test(command)),
        [],
      );
      assert.deepEqual(state(), before);
      assert.equal(traced.report.check, true);
      return traced.report;
    };
    assert.equal(gate(2).changed, true);
    machine.reconcile();
    assert.equal(gate(0).changed, false);
    await machine.host(1).announceAndWait();
    const hosts = gate(2);
    assert.deepEqual([hosts.changed, hosts.neighbors.changed], [false, true]);
    assert.equal(hosts.ring.records, gate(2).ring.records, 'a plan consumes nothing');
    machine.reconcile();
    gate(0);
    machine.snoopy.configure({ bridges: [{ name: 'br0' }, { name: 'br9' }] });
    assert.equal(gate(1).ok, false);
  });
});

type Job = Readonly<Record<string, unknown>>;

/** The lines of a job of GitLab CI, or of the steps of a job of GitHub Actions. */
function scriptOf(file: string, job: string): string {
  const whole = load(readFileSync(join(EXAMPLES, file), 'utf8')) as Job;
  if (file === 'gitlab-ci.yml') return (whole[job] as { script: string[] }).script.join('\n');
  const { steps } = (whole['jobs'] as Record<string, { steps: { run?: string }[] }>)[job] ?? { steps: [] };
  return steps.flatMap((step) => step.run ?? []).join('\n');
}

describe('the examples', () => {
  for (const file of ['gitlab-ci.yml', 'github-actions.yml']) {
    test(`${file} does on a node what it promises`, async (t) => {
      const machine = new Machine(t);
      const repository = createTempDir(machine.scope, 'repository');
      const bin = createTempDir(machine.scope, 'bin');
      const etc = createTempDir(machine.scope, 'etc');
      const node = join(etc, 'snoopy');
      mkdirSync(node);
      run(['npm', 'pack', '--silent', '--pack-destination', repository, ROOT]);
      run(['sh', '-c', 'mv "$1"/snoopy-evpn-*.tgz "$1"/snoopy-evpn.tgz', 'sh', repository]);
      mkdirSync(join(repository, 'nodes'));
      const configuration = join(repository, 'nodes/hv1.yaml');
      writeFileSync(configuration, machine.snoopy.configText);

      // A node that is reached as in the example, with an /etc of the test.
      const onNode = `exec unshare --mount sh -c 'mount --bind ${etc} /etc && exec "$@"' sh`;
      const programs: Readonly<Record<string, string>> = {
        ssh: `[ "$1" = root@hv1 ] && shift && ${onNode} nsenter --net=${machine.netns.path} sh -c "$*"`,
        scp: `${onNode} cp "$1" "${'$'}{2#root@hv1:}"`,
        snoopy: `exec ${process.execPath} ${PRODUCT} "$@"`,
      };
      for (const [name, body] of Object.entries(programs)) {
        writeFileSync(join(bin, name), `#!/bin/sh\n${body}\n`);
        chmodSync(join(bin, name), 0o755);
      }
      const env = { NODE: 'hv1', PATH: `${bin}:${dirname(process.execPath)}:${process.env['PATH'] ?? ''}` };
      const runJob = (job: string): Result => {
        // Both run a script in this way.
        const shell = ['bash', '-c', `cd "$0" && set -eo pipefail\n${scriptOf(file, job)}`, repository];
        return tryRun(shell, { env });
      };
      const due = file === 'gitlab-ci.yml' ? 2 : 0;
      const plan = (): ReturnType<typeof withReport>['report'] => {
        const argv = ['snoopy', 'reconcile', '--format', 'json'];
        const stdout = readFileSync(join(repository, 'plan-hv1.json'), 'utf8');
        return withReport({ argv, stdout, code: 0, stderr: '' }).report;
      };

      assertExit(runJob('validate'), 0);
      const first = runJob('plan');
      assertExit(first, due);
      if (due === 0) assert.match(first.stdout, /^::warning::changes are due on hv1$/m);
      assert.equal(plan().changed, true);
      assert.deepEqual(listPins(machine.snoopy.bpffs), [], 'a plan writes nothing');
      assertExit(runJob('apply'), 0);
      assert.deepEqual(machine.attachedPrograms('tap1'), [machine.programId()]);
      assert.equal(readFileSync(join(node, 'snoopy.yaml'), 'utf8'), machine.snoopy.configText);
      const second = runJob('plan');
      assertExit(second, 0);
      assert.doesNotMatch(second.stdout, /warning/);
      assert.equal(plan().changed, false);

      machine.snoopy.configure({ bridges: [{ name: 'br9' }] });
      writeFileSync(configuration, machine.snoopy.configText);
      assertExit(runJob('plan'), 1);
      writeFileSync(configuration, 'version: 1\nbridge: []\n');
      const invalid = runJob('validate');
      assertExit(invalid, 1);
      assert.match(invalid.stderr, /hv1\.yaml:2:1: /);
      assertExit(runJob('plan'), 78);
      assertExit(runJob('apply'), 78);
      assert.match(readFileSync(join(node, 'snoopy.yaml'), 'utf8'), /br0/, 'the old configuration stays');
    });
  }
});
