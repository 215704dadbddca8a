// The textfile of real runs, and its readers: promtool, the node exporter, Prometheus.
import assert from 'node:assert/strict';
import {
  chmodSync,
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { dump, load } from 'js-yaml';
import { runAudit } from '../lib/audit.ts';
import { deepTest } from '../lib/depth.ts';
import type { Netns } from '../lib/netns.ts';
import { parseJson, run, tryRun } from '../lib/run.ts';
import { outputOf, withReport } from '../lib/snoopy.ts';
import { createTempDir } from '../lib/temp.ts';
import { readSeries, readTextfile, readTypes } from '../lib/textfile.ts';
import { until } from '../lib/wait.ts';
import { assertExit, failureCodes, Machine } from './machine.ts';

const DOCS = fileURLToPath(new URL('../../../docs/monitoring', import.meta.url));
const LAST_SUCCESS = 'snoopy_last_success_timestamp_seconds';
const LAST_RUN = 'snoopy_last_run_timestamp_seconds';

/** A machine that writes a textfile, and the path of it. */
function withTextfile(t: Pick<TestContext, 'after'>, bridges: readonly object[] = [{ name: 'br0' }]) {
  const machine = new Machine(t);
  const directory = createTempDir(machine.scope, 'textfile');
  const file = join(directory, 'snoopy.prom');
  const configure = (...others: readonly object[]): void =>
    machine.snoopy.configure({ bridges: others, metrics: { textfile: file } });
  configure(...bridges);
  return { machine, directory, file, configure };
}

function metricOf(file: string, series: string): number {
  const value = readTextfile(file).get(series);
  assert.ok(value !== undefined, `no ${series} in ${readFileSync(file, 'utf8')}`);
  return value;
}

/** The complaints of promtool about a text: none when it follows the conventions. */
function lint(text: string): string {
  const { code, stdout, stderr } = tryRun(['promtool', 'check', 'metrics'], { input: text });
  return code === 0 ? stdout + stderr : `exit ${code}: ${stdout}${stderr}`;
}

/** The number of netlink requests of a run. */
function countRequests(machine: Machine): number {
  const trace = join(createTempDir(machine.scope, 'strace'), 'requests');
  const strace = ['strace', '-f', '-o', trace, '-e', 'trace=sendto'];
  assertExit(machine.netns.tryRun([...strace, ...machine.snoopy.argv('reconcile')]), 0);
  return readFileSync(trace, 'utf8').split('\n').length;
}

describe('the textfile', () => {
  deepTest(
    'of a run that cannot load has no bindings: those that a load would recover are none',
    async (t) => {
      const { machine, file } = withTextfile(t);
      machine.reconcile();
      await machine.host(1).announceAndWait();
      machine.reconcile();
      for (const name of readdirSync(machine.pins)) rmSync(join(machine.pins, name), { recursive: true });
      mkdirSync(join(machine.pins, 'bindings/in-the-way'), { recursive: true });
      assertExit(machine.snoopy.reconcile(), 1);
      assert.equal(metricOf(file, 'snoopy_bindings{bridge="br0",state="installed"}'), 0);
    },
  );

  test('of a run that changes nothing is of what the run has seen: nothing is read for it', async (t) => {
    const { machine, file } = withTextfile(t);
    machine.reconcile();
    await machine.host(1).announceAndWait();
    machine.reconcile();
    machine.assertIdle();
    const installed = 'snoopy_bindings{bridge="br0",state="installed"}';
    rmSync(file);
    const withFile = countRequests(machine);
    assert.equal(metricOf(file, installed), 1);
    machine.snoopy.configure({ bridges: [{ name: 'br0' }] });
    assert.equal(withFile, countRequests(machine));
  });

  test('agrees with status, has the outcome of the run, and promtool has no complaint', async (t) => {
    const { machine, directory, file, configure } = withTextfile(t);
    const odd = 'o"d\\d';
    machine.run('ip', 'link', 'add', odd, 'type', 'bridge', 'stp_state', '0', 'forward_delay', '0');
    machine.run('ip', 'link', 'set', odd, 'up');
    configure({ name: 'br0' }, { name: odd }, { name: 'br9', required: false });
    machine.reconcile();
    const host = machine.host(1);
    await host.announceAndWait();
    const before = Date.now() / 1000;
    const report = machine.reconcile();
    const text = readFileSync(file, 'utf8');
    assert.equal(lint(text), '');
    assert.match(lint('# TYPE x_total gauge\nx_total 1\n'), /x_total/, 'promtool finds mistakes');

    const expected: Readonly<Record<string, number>> = {
      snoopy_last_run_success: 1,
      snoopy_last_run_steps: 0,
      snoopy_last_run_remaining_actions: 0,
      snoopy_last_run_warnings: 0,
      snoopy_last_run_ring_records: report.ring.records,
      'snoopy_last_run_neighbor_changes{kind="add"}': 1,
      'snoopy_bridge_present{bridge="br0"}': 1,
      'snoopy_bridge_present{bridge="o\\"d\\\\d"}': 1,
      'snoopy_bridge_present{bridge="br9"}': 0,
      'snoopy_ports{bridge="br0"}': 1,
      'snoopy_ports_attached{bridge="br0"}': 1,
      'snoopy_ports_full{bridge="br0"}': 0,
      'snoopy_bindings{bridge="br0",state="installed"}': 1,
      'snoopy_bindings{bridge="br9",state="installed"}': 0,
      'snoopy_neighbors{bridge="br0",state="noarp"}': 1,
      'snoopy_neighbors{bridge="br0",state="stale"}': 0,
      snoopy_bindings_limit: 65_536,
      snoopy_ring_size_bytes: 1_048_576,
      snoopy_ring_pending: 0,
      snoopy_ring_dropped_total: 0,
      snoopy_sightings_total: report.counters.sightings,
      snoopy_bindings_created_total: 1,
    };
    const series = readSeries(text);
    const found = Object.keys(expected).map((name) => [name, series.get(name)]);
    assert.deepEqual(Object.fromEntries(found), expected);
    assert.ok(report.counters.sightings > 0);
    const written = series.get(LAST_RUN) ?? 0;
    assert.ok(written >= before && written <= Date.now() / 1000, `written at ${written}`);
    assert.equal(series.get(LAST_SUCCESS), written);
    for (const [phase, seconds] of Object.entries(report.durations)) {
      const shown = series.get(`snoopy_last_run_duration_seconds{phase="${phase}"}`);
      if (phase === 'metrics') assert.ok(shown !== undefined && shown > 0 && shown <= seconds);
      else assert.equal(shown, seconds, phase);
    }
    assert.ok(Object.values(report.durations).some((seconds) => seconds > 0));
    assert.equal(lstatSync(file).mode & 0o7777, 0o644);
    assert.deepEqual(readdirSync(directory), ['snoopy.prom']);
  });

  deepTest('is not written by default, nor by a run for some bridges only', async (t) => {
    const { machine, directory, file, configure } = withTextfile(t);
    machine.snoopy.configure({ bridges: [{ name: 'br0' }] });
    machine.reconcile();
    configure({ name: 'br0' });
    machine.reconcile('--check');
    machine.reconcile('--bridge', 'br0');
    assertExit(machine.snoopy.run('status'), 0);
    assertExit(machine.snoopy.run('validate'), 0);
    assertExit(machine.snoopy.run('remove', '--check'), 0);
    assert.deepEqual(readdirSync(directory), []);

    machine.reconcile();
    const text = readFileSync(file, 'utf8');
    await machine.host(1).announceAndWait();
    machine.reconcile('--check');
    machine.reconcile('--bridge', 'br0');
    assert.equal(readFileSync(file, 'utf8'), text);
    const other = machine.snoopy.startReconcile('--listen', '9s', '--bridge', 'br0');
    await until(
      'the other run to hold the lock',
      () => machine.snoopy.run('reconcile', '--lock-timeout', '0s', '--bridge', 'br0').code,
      (code) => code === 75,
    );
    assertExit(machine.snoopy.run('reconcile', '--lock-timeout', '0s'), 75);
    other.kill();
    assertExit(machine.snoopy.run('reconcile', '--bridge', 'br9'), 64);
    assert.equal(readFileSync(file, 'utf8'), text);
  });

  deepTest('keeps the time of the last success over runs that fail, and counts errors by code', (t) => {
    const { machine, file, configure } = withTextfile(t);
    machine.reconcile();
    const succeeded = metricOf(file, LAST_SUCCESS);
    configure({ name: 'br0' }, { name: 'br8' }, { name: 'br9' });
    for (let i = 0; i < 2; i++) {
      const failed = machine.snoopy.reconcile();
      assertExit(failed, 1);
      assert.equal(metricOf(file, LAST_SUCCESS), succeeded);
      assert.equal(metricOf(file, 'snoopy_last_run_success'), 0);
      assert.equal(metricOf(file, 'snoopy_last_run_errors{code="bridge_missing"}'), 2);
      assert.ok(metricOf(file, LAST_RUN) > succeeded);
      assert.equal(lint(readFileSync(file, 'utf8')), '');
    }
    configure({ name: 'br0' });
    machine.reconcile();
    assert.ok(metricOf(file, LAST_SUCCESS) > succeeded);
    assert.doesNotMatch(readFileSync(file, 'utf8'), /snoopy_last_run_errors/);
  });

  deepTest(
    'takes the last success only from the current pins: no earlier one, none in the future, none from another source',
    (t) => {
      const { machine, directory, file, configure } = withTextfile(t, [{ name: 'br9' }]);
      const fails = (): number => {
        const result = machine.snoopy.reconcile();
        assertExit(result, 1);
        assert.deepEqual(failureCodes(result.report), ['bridge_missing']);
        assert.ok(lstatSync(file).isFile());
        assert.deepEqual(readdirSync(directory), ['snoopy.prom']);
        return metricOf(file, LAST_SUCCESS);
      };
      assert.equal(fails(), 0);
      writeFileSync(file, `${LAST_SUCCESS} 1700000000\n`);
      assert.equal(fails(), 0);
      configure({ name: 'br0' });
      machine.reconcile();
      const succeeded = metricOf(file, LAST_SUCCESS);
      machine.reconcile('--bridge', 'br0');
      configure({ name: 'br9' });
      for (const make of [`rm ${file}`, `rm ${file} && mkfifo ${file}`, `echo > ${file}`]) {
        run(['sh', '-c', make]);
        assert.equal(fails(), succeeded, make);
      }
      const layout = `${machine.pins}/layout`;
      utimesSync(layout, new Date(), new Date(Date.now() + 3_600_000));
      assert.equal(fails(), 0, 'the clock was put back');
    },
  );

  test('is written by a run that breaks off too, with its error', (t) => {
    const { machine, file } = withTextfile(t);
    machine.reconcile();
    const succeeded = metricOf(file, LAST_SUCCESS);
    const inject = (when: string): Map<string, number> => {
      const strace = ['strace', '-f', '-qq', '-o', '/dev/null', '-e', 'trace=sendto'];
      const argv = machine.snoopy.argv('reconcile', '--format', 'json');
      const result = machine.netns.tryRun([
        ...strace,
        '-e',
        `inject=sendto:error=ENOBUFS:when=${when}`,
        ...argv,
      ]);
      assertExit(result, 1);
      assert.equal(withReport(result).report.ok, false);
      const text = readFileSync(file, 'utf8');
      assert.equal(lint(text), '');
      const series = readSeries(text);
      assert.equal(series.get(LAST_SUCCESS), succeeded);
      assert.equal(series.get('snoopy_last_run_success'), 0);
      assert.equal(series.has('snoopy_last_run_steps'), false, 'not known');
      return series;
    };
    const once = inject('1');
    assert.equal(once.get('snoopy_last_run_errors{code="syscall_failed"}'), 1);
    assert.equal(once.get('snoopy_ports_attached{bridge="br0"}'), 1);
    const always = inject('1+');
    assert.equal(always.get('snoopy_last_run_errors{code="syscall_failed"}'), 2);
    assert.equal(always.has('snoopy_ports_attached{bridge="br0"}'), false, 'not known either');
  });

  deepTest('is written by a listening run after its first pass and at its end', async (t) => {
    const { machine, file } = withTextfile(t);
    const started = performance.now();
    const listening = machine.snoopy.startReconcile('--listen', '6s');
    await until('the textfile', () => existsSync(file), Boolean);
    assert.equal(listening.running, true);
    assert.equal(metricOf(file, 'snoopy_bindings{bridge="br0",state="installed"}'), 0);
    const first = metricOf(file, LAST_RUN);
    await machine.host(1).announceAndWait();
    const result = withReport(await listening.ended());
    const wholeRun = (performance.now() - started) / 1000;
    assertExit(result, 0);
    assert.equal(metricOf(file, 'snoopy_bindings{bridge="br0",state="installed"}'), 1);
    assert.equal(metricOf(file, 'snoopy_last_run_neighbor_changes{kind="add"}'), 1);
    assert.ok(metricOf(file, LAST_RUN) > first);
    const listened = metricOf(file, 'snoopy_last_run_duration_seconds{phase="listen"}');
    assert.ok(listened > 0 && listened < wholeRun, `listened for ${listened} of ${wholeRun} s`);
  });

  deepTest(
    'is that of the run which has the lock, not of one whose pin directory was replaced',
    async (t) => {
      const { machine, file } = withTextfile(t);
      const listening = machine.snoopy.startReconcile('--listen', '6s');
      await until('the textfile', () => existsSync(file), Boolean);
      rmSync(machine.pins, { recursive: true });
      machine.reconcile();
      const written = readFileSync(file, 'utf8');
      const { report, ...result } = withReport(await listening.ended());
      assertExit(result, 1);
      assert.deepEqual(
        report.errors.map(({ code }) => code),
        ['pin_unusable'],
      );
      assert.equal(readFileSync(file, 'utf8'), written);
    },
  );

  test('is deleted by remove, which has nothing to do afterwards', (t) => {
    const { machine, directory, file } = withTextfile(t);
    machine.reconcile();
    writeFileSync(`${file}.tmp`, 'left by a killed run');
    writeFileSync(join(directory, 'other.prom'), 'other 1\n');
    const report = machine.remove();
    assert.ok(report.steps.some(({ action }) => action.kind === 'drop-textfile'));
    assert.deepEqual(readdirSync(directory), ['other.prom']);
    assert.deepEqual(machine.remove().steps, []);
    mkdirSync(file);
    assert.deepEqual(machine.remove().steps, [], 'a directory is of another owner');
  });

  deepTest(
    'is deleted by remove even when it is half written; a directory in its place does not stop remove',
    (t) => {
      const { machine, directory, file } = withTextfile(t);
      machine.reconcile();
      rmSync(file);
      writeFileSync(`${file}.tmp`, 'left by a killed run');
      machine.remove();
      assert.deepEqual(readdirSync(directory), []);

      machine.reconcile();
      rmSync(file);
      rmdirSync(directory);
      writeFileSync(directory, 'no directory');
      machine.remove();
      assert.equal(machine.isAttached('tap1'), false);
      assert.equal(existsSync(machine.pins), false);
    },
  );
});

describe('writing the textfile', () => {
  deepTest('replaces it as a whole: an open reader reads the old one to its end', (t) => {
    const { machine, file } = withTextfile(t);
    machine.reconcile();
    const old = readFileSync(file, 'utf8');
    const fd = openSync(file, 'r');
    try {
      machine.reconcile();
      assert.equal(readFileSync(fd, 'utf8'), old);
    } finally {
      closeSync(fd);
    }
    assert.notEqual(readFileSync(file, 'utf8'), old);
  });

  deepTest(
    'replaces nothing that is in use: no device or socket, no link to one, nor to what is open',
    (t) => {
      const { machine, directory } = withTextfile(t);
      const device = join(directory, 'null.prom');
      run(['mknod', device, 'c', '1', '3']);
      symlinkSync('null.prom', join(directory, 'link.prom'));
      symlinkSync('/proc/self/fd/1', join(directory, 'stdout.prom'));
      run([
        'python3',
        '-c',
        'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])',
        join(directory, 'log.prom'),
      ]);
      symlinkSync('log.prom', join(directory, 'loglink.prom'));
      for (const [name, what] of [
        ['null.prom', 'a device'],
        ['link.prom', 'a link to a device'],
        ['stdout.prom', 'a link to an open file'],
        ['log.prom', 'a socket'],
        ['loglink.prom', 'a link to a socket'],
      ] as const) {
        const textfile = join(directory, name);
        const before = lstatSync(textfile);
        machine.snoopy.configure({ bridges: [{ name: 'br0' }], metrics: { textfile } });
        const result = machine.snoopy.reconcile();
        assertExit(result, 1);
        const message = `Cannot write the textfile "${textfile}": it is ${what}; remove it if nothing needs it, or`;
        assert.ok(result.stderr.includes(message), outputOf(result));
        assert.deepEqual([lstatSync(textfile).ino, lstatSync(textfile).mode], [before.ino, before.mode]);
      }
      assert.ok(!readdirSync(directory).some((name) => name.endsWith('.tmp')));
    },
  );

  deepTest('replaces the draft of a killed run, and links, and follows none of them', (t) => {
    const { machine, directory, file } = withTextfile(t);
    const victim = join(createTempDir(machine.scope, 'victim'), 'file');
    writeFileSync(victim, 'as it was', { mode: 0o600 });
    symlinkSync(victim, `${file}.tmp`);
    symlinkSync(victim, file);
    machine.reconcile();
    writeFileSync(`${file}.tmp`, 'left by a killed run', { mode: 0o600 });
    machine.reconcile();
    assert.equal(readFileSync(victim, 'utf8'), 'as it was');
    assert.equal(lstatSync(victim).mode & 0o777, 0o600);
    assert.deepEqual(readdirSync(directory), ['snoopy.prom']);
    assert.ok(lstatSync(file).isFile());
    assert.equal(lint(readFileSync(file, 'utf8')), '');
  });

  test('makes it readable for all, whatever the umask', (t) => {
    const { machine, file } = withTextfile(t);
    const argv = machine.snoopy.argv('reconcile');
    assertExit(machine.netns.tryRun(['sh', '-c', 'umask 077; exec "$@"', 'sh', ...argv]), 0);
    assert.equal(lstatSync(file).mode & 0o7777, 0o644);
  });

  deepTest('reports a failure as an error with its fix, after everything else is done', async (t) => {
    const { machine, directory, file } = withTextfile(t);
    const elsewhere = join(directory, 'missing', 'snoopy.prom');
    const failing = (path: string): string => {
      machine.snoopy.configure({ bridges: [{ name: 'br0' }], metrics: { textfile: path } });
      const result = machine.snoopy.reconcile();
      assertExit(result, 1);
      assert.deepEqual(failureCodes(result.report), ['textfile_failed'], outputOf(result));
      assert.equal(result.report.errors[0]?.object, path);
      assert.match(result.stderr, /Cannot write the textfile .*; .*, or choose another path/);
      return result.stderr;
    };
    assert.match(failing(elsewhere), /ENOENT/);
    assert.deepEqual(machine.attachedPrograms('tap1'), [machine.programId()]);
    await machine.host(1).announceAndWait();
    mkdirSync(file);
    assert.match(failing(file), /EISDIR|EEXIST|ENOTDIR/);
    assert.deepEqual(machine.ownNeighbors(), [`${machine.host(1).ip} ${machine.host(1).mac}`]);
    assert.deepEqual(readdirSync(directory), ['snoopy.prom'], 'nothing is left half written');

    const small = createTempDir(machine.scope, 'small');
    run(['mount', '-t', 'tmpfs', '-o', 'size=8k,mode=755', 'tmpfs', small]);
    writeFileSync(join(small, 'ballast'), Buffer.alloc(4096));
    writeFileSync(join(small, 'snoopy.prom'), 'old 1\n');
    assert.match(failing(join(small, 'snoopy.prom')), /ENOSPC/);
    assert.equal(readFileSync(join(small, 'snoopy.prom'), 'utf8'), 'old 1\n');
    assert.deepEqual(readdirSync(small).sort(), ['ballast', 'snoopy.prom']);
    run(['mount', '-o', 'remount,ro', small]);
    assert.match(failing(join(small, 'snoopy.prom')), /EROFS; .*ReadWritePaths=/);
  });
});

/** The bodies of URLs, fetched inside a namespace. */
function get(netns: Netns, ...urls: readonly string[]): string[] {
  const script = `Promise.all(process.argv.slice(1).map((url) => fetch(url).then((answer) => answer.text())))
    .then((texts) => process.stdout.write(JSON.stringify(texts)), () => process.stdout.write('[]'))`;
  return netns.json<string[]>(process.execPath, '-e', script, ...urls);
}

interface Panel {
  readonly id: number;
  readonly title: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly targets: readonly { readonly refId: string; readonly expr: string }[];
}

function readDashboard(): { readonly panels: readonly Panel[] } {
  return parseJson(readFileSync(join(DOCS, 'dashboard.json'), 'utf8'), 'dashboard.json');
}

interface Rules {
  readonly groups: readonly {
    readonly rules: readonly { readonly alert: string; readonly expr: string }[];
  }[];
}

function readAlerts(): Rules {
  return load(readFileSync(join(DOCS, 'alerts.yml'), 'utf8')) as Rules;
}

describe('the documentation of the textfile', () => {
  deepTest('the alerts fire when they should, and only then', (t) => {
    const machineless = createTempDir(new Machine(t).scope, 'rules');
    const tests = readFileSync(join(DOCS, 'alerts.test.yml'), 'utf8');
    writeFileSync(join(machineless, 'alerts.test.yml'), tests);
    const check = (rules: Rules): boolean => {
      writeFileSync(join(machineless, 'alerts.yml'), dump(rules));
      return tryRun(['promtool', 'test', 'rules', join(machineless, 'alerts.test.yml')]).code === 0;
    };
    run(['promtool', 'check', 'rules', join(DOCS, 'alerts.yml')]);
    run(['promtool', 'test', 'rules', join(DOCS, 'alerts.test.yml')]);
    const alerts = readAlerts();
    assert.equal(check(alerts), true);
    // Each alert is needed for the tests to pass, and no alert may fire always.
    for (const { alert } of alerts.groups.flatMap(({ rules }) => rules)) {
      for (const expr of ['vector(1)', 'vector(1) > 1']) {
        const groups = alerts.groups.map((group) => ({
          ...group,
          rules: group.rules.map((rule) => (rule.alert === alert ? { ...rule, expr } : rule)),
        }));
        assert.equal(check({ groups }), false, `no test fails when ${alert} is ${expr}`);
      }
    }
  });

  test('the table has every metric of a run and of an audit with its type, and no other', (t) => {
    const { machine, directory, file } = withTextfile(t, [{ name: 'br0' }, { name: 'br9' }]);
    machine.snoopy.reconcile();
    const audited = join(directory, 'audit.prom');
    const status = machine.snoopy.run('status', '--all', '--format', 'json').stdout;
    writeFileSync(join(directory, 'node.json'), status);
    runAudit(directory, '--textfile', audited);
    const rows = readFileSync(join(DOCS, 'README.md'), 'utf8').matchAll(/^\| `(snoopy_\w+)` \| (\w+) \|/gm);
    const documented = [...rows].map(([, name = '', type = '']): [string, string] => [name, type]);
    const types = [file, audited].flatMap((path) => [...readTypes(readFileSync(path, 'utf8'))]);
    assert.deepEqual(documented, types);
  });

  test('every panel of the dashboard has a place of its own', () => {
    const taken = new Set<string>();
    for (const { id, title, gridPos, targets } of readDashboard().panels) {
      assert.ok(gridPos.x + gridPos.w <= 24, title);
      assert.equal(new Set(targets.map(({ refId }) => refId)).size, targets.length, title);
      const cells = Array.from({ length: gridPos.w * gridPos.h }, (_, n) => {
        return `${gridPos.x + (n % gridPos.w)} ${gridPos.y + Math.floor(n / gridPos.w)}`;
      });
      for (const place of [`id ${id}`, ...cells]) {
        assert.equal(taken.has(place), false, `${title}: ${place}`);
        taken.add(place);
      }
    }
  });

  deepTest(
    'the node exporter serves it, and every panel and alert of Prometheus finds its series',
    async (t) => {
      const { machine, directory, file } = withTextfile(t, [{ name: 'br0' }, { name: 'br9' }]);
      machine.snoopy.reconcile();
      await machine.host(1).announceAndWait();
      assertExit(machine.snoopy.reconcile(), 1);

      // Debian runs it as a user other than root.
      machine.netns.start(
        ...['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', 'prometheus-node-exporter'],
        ...['--collector.disable-defaults', '--collector.textfile'],
        ...[`--collector.textfile.directory=${directory}`, '--web.listen-address=127.0.0.1:9100'],
      );
      const served = await until(
        'the node exporter to answer',
        () => get(machine.netns, 'http://127.0.0.1:9100/metrics')[0] ?? '',
        (text) => text.includes('node_textfile_scrape_error'),
      );
      const scraped = readSeries(served);
      assert.equal(scraped.get('node_textfile_scrape_error'), 0);
      assert.equal(scraped.get(`node_textfile_mtime_seconds{file="${file}"}`) !== undefined, true);
      for (const [series, value] of readTextfile(file)) assert.equal(scraped.get(series), value, series);
      const types = readTypes(served);
      for (const [name, type] of readTypes(readFileSync(file, 'utf8'))) assert.equal(types.get(name), type);

      const home = createTempDir(machine.scope, 'prometheus');
      chmodSync(home, 0o700);
      const config = {
        global: { scrape_interval: '1s', evaluation_interval: '1s' },
        rule_files: [join(DOCS, 'alerts.yml')],
        scrape_configs: [{ job_name: 'node', static_configs: [{ targets: ['127.0.0.1:9100'] }] }],
      };
      writeFileSync(join(home, 'prometheus.yml'), dump(config));
      machine.netns.start(
        ...['prometheus', `--config.file=${join(home, 'prometheus.yml')}`, '--log.level=error'],
        ...[`--storage.tsdb.path=${join(home, 'data')}`, '--web.listen-address=127.0.0.1:9090'],
      );
      // Until then it answers that it is not available.
      await until(
        'prometheus to be ready',
        () => get(machine.netns, 'http://127.0.0.1:9090/-/ready')[0] ?? '',
        (text) => text.includes('Ready'),
        { timeoutMs: 30_000 },
      );
      const results = (exprs: readonly string[]): number[] =>
        get(
          machine.netns,
          ...exprs.map((expr) => `http://127.0.0.1:9090/api/v1/query?query=${encodeURIComponent(expr)}`),
        ).map((text) => {
          type Answer = { readonly data?: { readonly result: readonly unknown[] }; readonly error?: string };
          const { data, error } = parseJson<Answer>(text, 'prometheus');
          assert.equal(error, undefined, text);
          return data?.result.length ?? 0;
        });
      // An alert is a comparison: its left side must have series, whether it fires or not.
      const exprs = [
        ...readDashboard().panels.flatMap(({ targets }) =>
          targets.map(({ expr }) =>
            expr.replace(/\$(instance|bridge)\b/g, '.*').replaceAll('$__rate_interval', '10s'),
          ),
        ),
        ...readAlerts().groups.flatMap(({ rules }) =>
          rules.map(({ expr }) => expr.replace(/ (>|==) [\d.]+$/, '').replaceAll('[15m]', '[10s]')),
        ),
      ];
      assert.ok(exprs.length > 30 && exprs.every((expr) => !expr.includes('$')), exprs.join('\n'));
      await until(
        'two scrapes',
        () => results(['rate(snoopy_sightings_total[10s])']),
        ([count]) => count === 1,
        { timeoutMs: 30_000 },
      );
      for (const [i, count] of results(exprs).entries()) assert.ok(count > 0, `no series for ${exprs[i]}`);
      await until(
        'an alert that is due',
        () => results(['ALERTS{alertname="SnoopyFailing",alertstate="pending"}']),
        ([count]) => count === 1,
      );
    },
  );
});
