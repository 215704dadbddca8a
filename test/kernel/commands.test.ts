// The command line as a user sees it: exit codes, privileges, single bridges, and what is printed to which stream.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { listPins } from '../lib/bpffs.ts';
import { deepTest } from '../lib/depth.ts';
import { parseJson, type Result } from '../lib/run.ts';
import { outputOf, withReport } from '../lib/snoopy.ts';
import { createTempDir } from '../lib/temp.ts';
import { assertExit, Machine, neighborChanges, portSteps } from './machine.ts';

const TWO_BRIDGES = { bridges: [{ name: 'br0' }, { name: 'br1' }] };

/** A machine with a host on each of two bridges. */
function twoBridges(t: { after(undo: () => void): void }) {
  const machine = new Machine(t, { config: TWO_BRIDGES });
  machine.addBridge('br1');
  return { machine, one: machine.host(1), other: machine.addHost(11, 'br1') };
}

describe('exit codes', () => {
  test('64 for wrong usage, with the word that is wrong', (t) => {
    const machine = new Machine(t);
    for (const [args, word] of [
      [['--nonsense'], /--nonsense/],
      [['--listen', 'soon'], /soon|--listen/],
      [['--lock-timeout', '5'], /5|--lock-timeout/],
      [['--format', 'yaml'], /yaml/],
      [['--bridge', 'br7'], /br7.*br0/],
    ] as const) {
      const result = machine.snoopy.run('reconcile', ...args);
      assertExit(result, 64);
      assert.match(result.stderr, word);
      assert.equal(result.stdout, '');
    }
    const unknown = machine.snoopy.run('reconcil');
    assertExit(unknown, 64);
    assert.match(unknown.stderr, /reconcile/);
    assert.deepEqual(listPins(machine.snoopy.bpffs), [], 'something was created');
  });

  test('78 for an invalid configuration, with file, line and column of every problem', (t) => {
    const machine = new Machine(t);
    const { configFile } = machine.snoopy;
    writeFileSync(configFile, 'version: 1\nbridges:\n  - nmae: br0\n    max_age: 20 minutes\n');
    for (const command of ['reconcile', 'remove', 'status', 'validate']) {
      const result = machine.snoopy.run(command);
      assertExit(result, 78);
      assert.ok(result.stderr.includes(`${configFile}:3:5`), outputOf(result));
      assert.ok(result.stderr.includes(`${configFile}:4:14`), outputOf(result));
      assert.match(result.stderr, /nmae.*name/s);
      assert.equal(result.stdout, '');
    }
    writeFileSync(configFile, 'version: 1\nbridges: [{name: br0}\nmetrics: {}\n');
    const broken = machine.snoopy.run('reconcile', '--format', 'json');
    assertExit(broken, 78);
    assert.match(broken.stderr, new RegExp(`${configFile}:[23]:\\d+`));
    assert.ok(withReport(broken).report.errors.length > 0);
    writeFileSync(configFile, '');
    assertExit(machine.snoopy.run('reconcile'), 78);
    const argv = machine.snoopy.argv('reconcile');
    const absent = machine.netns.tryRun([...argv.slice(0, argv.indexOf('--config')), '-c', '/nowhere.yaml']);
    assertExit(absent, 78);
    assert.match(absent.stderr, /\/nowhere\.yaml/);
    assert.deepEqual(listPins(machine.snoopy.bpffs), []);
  });

  test('1 when a required bridge is missing, after everything else is done; 0 when the bridge is optional', async (t) => {
    const machine = new Machine(t, { config: { bridges: [{ name: 'br9' }, { name: 'br0' }] } });
    const run = machine.snoopy.reconcile();
    assertExit(run, 1);
    assert.equal(run.report.ok, false);
    assert.deepEqual(
      run.report.errors.map(({ code, object }) => [code, object]),
      [['bridge_missing', 'br9']],
    );
    assert.match(run.stderr, /br9.*required: false/);
    assert.deepEqual(
      run.report.bridges.map(({ name, present }) => [name, present]),
      [
        ['br9', false],
        ['br0', true],
      ],
    );
    assert.deepEqual(machine.attachedPrograms('tap1'), [machine.programId()]);
    await machine.host(1).announceAndWait();
    const again = machine.snoopy.reconcile('--detailed-exitcode');
    assertExit(again, 1);
    assert.deepEqual(machine.ownNeighbors(), ['10.1.0.1 02:00:00:00:00:01']);

    machine.snoopy.configure({ bridges: [{ name: 'br9', required: false }, { name: 'br0' }] });
    const report = machine.reconcile();
    assert.deepEqual(report.errors, []);
    assert.equal(report.bridges[0]?.present, false);
    machine.snoopy.configure({ bridges: [{ name: 'tap1' }] });
    const wrong = machine.snoopy.reconcile();
    assertExit(wrong, 1);
    assert.equal(wrong.report.errors[0]?.code, 'not_a_bridge');
  });

  deepTest('2 with --detailed-exitcode when something changed, 0 when nothing did', async (t) => {
    const machine = new Machine(t);
    const exit = (...args: string[]): number =>
      machine.snoopy.run('reconcile', '--detailed-exitcode', ...args).code;
    assert.equal(exit('--check'), 2);
    assert.equal(exit(), 2);
    assert.equal(exit(), 0);
    assert.equal(exit('--check'), 0);
    await machine.host(1).announceAndWait();
    assert.equal(exit(), 2);
    assert.equal(exit(), 0);
  });
});

describe('privileges', () => {
  const NOBODY = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];

  function runAs(machine: Machine, wrapper: readonly string[], command: string, ...args: string[]): Result {
    return machine.netns.tryRun([...wrapper, ...machine.snoopy.argv(command, ...args)]);
  }

  test('validate and schema need none; the others exit with 77 and create nothing', (t) => {
    const machine = new Machine(t);
    assertExit(runAs(machine, NOBODY, 'validate'), 0);
    assertExit(runAs(machine, NOBODY, 'schema'), 0);
    for (const args of [['reconcile'], ['reconcile', '--check'], ['status'], ['doctor'], ['remove']]) {
      const [command = '', ...rest] = args;
      const result = runAs(machine, NOBODY, command, ...rest);
      assertExit(result, 77);
      assert.match(result.stderr, /root|CAP_/, outputOf(result));
      assert.equal(result.stdout, '');
    }
    assert.deepEqual(listPins(machine.snoopy.bpffs), []);
  });

  deepTest('on a machine that is set up, every command still exits with 77 and changes nothing', (t) => {
    const machine = new Machine(t);
    machine.reconcile();
    for (const args of [['reconcile'], ['reconcile', '--check'], ['status'], ['doctor'], ['remove']]) {
      const [command = '', ...rest] = args;
      const result = runAs(machine, NOBODY, command, ...rest);
      assertExit(result, 77);
      assert.match(result.stderr, /root|CAP_/, outputOf(result));
    }
    assert.deepEqual(machine.attachedPrograms('tap1'), [machine.programId()]);
    machine.assertIdle();
  });

  test('a missing capability is named', (t) => {
    const machine = new Machine(t);
    for (const [dropped, named] of [
      ['-bpf,-sys_admin', /CAP_BPF/],
      ['-net_admin', /CAP_NET_ADMIN/],
    ] as const) {
      const result = runAs(machine, ['setpriv', `--bounding-set=${dropped}`], 'reconcile');
      assertExit(result, 77);
      assert.match(result.stderr, named, outputOf(result));
    }
    const bpffs = createTempDir(machine.scope, 'unmounted');
    machine.snoopy.configure({ runtime: { bpffs }, bridges: [{ name: 'br0' }] });
    const unmounted = runAs(machine, ['setpriv', '--bounding-set=-sys_admin'], 'reconcile');
    assertExit(unmounted, 77);
    assert.match(unmounted.stderr, /CAP_SYS_ADMIN/);
    assert.deepEqual(readdirSync(bpffs), []);
  });

  deepTest('CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are enough where bpffs is mounted', (t) => {
    const machine = new Machine(t);
    const enough = ['setpriv', '--bounding-set=-all,+bpf,+net_admin,+perfmon,+dac_override'];
    const result = runAs(machine, enough, 'reconcile');
    assertExit(result, 0);
    assert.deepEqual(machine.attachedPrograms('tap1'), [machine.programId()]);
  });
});

describe('--bridge', () => {
  deepTest('changes only that bridge; without the option every bridge is reconciled', async (t) => {
    const { machine, one, other } = twoBridges(t);
    assert.deepEqual(portSteps(machine.reconcile('--bridge', 'br0')), ['set-port tap1', 'attach tap1']);
    assert.equal(machine.isAttached(other.port), false);
    machine.assertIdle('--bridge', 'br0');
    const report = machine.reconcile('--bridge', 'br1', '--bridge', 'br0');
    assert.deepEqual(portSteps(report), ['set-port tap11', 'attach tap11']);
    machine.assertIdle();

    await one.announceAndWait();
    await other.announceAndWait();
    const first = machine.reconcile('--bridge', 'br1');
    assert.deepEqual(neighborChanges(first), [`add ${other.ip} ${other.mac}`]);
    assert.deepEqual(
      first.bridges.map(({ name }) => name),
      ['br1'],
    );
    assert.deepEqual(neighborChanges(machine.reconcile()), [`add ${one.ip} ${one.mac}`]);
  });

  deepTest('leaves the other bridges as they are, even damaged ones', async (t) => {
    const { machine, one, other } = twoBridges(t);
    // Kernels before 6.17 flush the neighbors of a bridge that loses its carrier, so one port stays.
    machine.addHost(3);
    machine.reconcile();
    await one.announceAndWait();
    await other.announceAndWait();
    machine.reconcile();
    machine.detachByHand(one.port);
    machine.run('ip', 'link', 'set', one.port, 'nomaster');
    machine.assertIdle('--bridge', 'br1');
    assert.deepEqual(machine.ownNeighbors('br0'), [`${one.ip} ${one.mac}`]);
    assert.deepEqual(machine.ownNeighbors('br1'), [`${other.ip} ${other.mac}`]);
    assert.equal(machine.dump('ports').length, 3);
    assert.deepEqual(machine.boundIps(), [one.ip, other.ip].sort());
    machine.reconcile();
    assert.deepEqual(machine.ownNeighbors('br0'), []);
    machine.assertIdle();
  });
});

describe('status', () => {
  test('reports that nothing is loaded before the first run, then lists ports and hosts', async (t) => {
    const machine = new Machine(t, { hosts: 2 });
    const before = machine.snoopy.run('status', '--format', 'json');
    assertExit(before, 0);
    assert.equal(parseJson<{ loaded: boolean }>(before.stdout, 'status').loaded, false);
    assertExit(machine.snoopy.run('status'), 0);
    assert.equal(existsSync(machine.pins), false);

    machine.reconcile();
    const host = machine.host(1);
    await host.announceAndWait();
    machine.reconcile();
    assert.deepEqual(
      machine.snoopy.bindings().map((binding) => ({ ...binding, age: 0 })),
      [
        {
          bridge: 'br0',
          device: 'br0',
          vlan: 0,
          ip: host.ip,
          mac: host.mac,
          port: host.port,
          source: 'learned',
          state: 'installed',
          age: 0,
          because: '',
          advertised: null,
          hindrance: '',
          neighbor: 'noarp',
        },
      ],
    );
    type Status = { loaded: boolean; ports: { name: string; attached: boolean; bindings: number }[] };
    const after = machine.snoopy.run('status', '--format', 'json');
    const status = parseJson<Status>(after.stdout, 'status');
    assert.equal(status.loaded, true);
    assert.deepEqual(
      status.ports.map(({ name, attached, bindings }) => [name, attached, bindings]),
      [
        ['tap1', true, 1],
        ['tap2', true, 0],
      ],
    );
    machine.detachByHand('tap2');
    const text = machine.snoopy.run('status');
    assertExit(text, 0);
    assert.match(text.stdout, /10\.1\.0\.1/);
    const damaged = parseJson<Status>(machine.snoopy.run('status', '--format', 'json').stdout, 'status');
    assert.equal(damaged.ports[1]?.attached, false);
  });
});

describe('output', () => {
  test('only the report goes to stdout; progress goes to stderr', (t) => {
    const machine = new Machine(t);
    const verbose = machine.snoopy.run('reconcile', '--format', 'json', '--verbose');
    assertExit(verbose, 0);
    assert.match(verbose.stderr, /attach tap1: applied/);
    assert.equal(withReport(verbose).report.changed, true);
    const text = machine.snoopy.run('remove');
    assertExit(text, 0);
    assert.equal(text.stderr, '');
    assert.match(text.stdout, /tap1/);
  });

  test('a reader that closes stdout early is no failure', (t) => {
    const machine = new Machine(t);
    const argv = machine.snoopy
      .argv('reconcile', '--format', 'json')
      .map((word) => `'${word}'`)
      .join(' ');
    const result = machine.netns.tryRun(['bash', '-c', `${argv} | true; exit \${PIPESTATUS[0]}`]);
    assertExit(result, 0);
    machine.assertIdle();
  });
});
