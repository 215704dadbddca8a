// status as an operator uses it: filters, the width of a terminal, --watch, and an FRR that does not answer.
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { deepTest } from '../lib/depth.ts';
import { parseJson } from '../lib/run.ts';
import { outputOf, type StatusBinding } from '../lib/snoopy.ts';
import { createTempDir } from '../lib/temp.ts';
import { runInTerminal, type TerminalOptions, type TerminalResult } from '../lib/terminal.ts';
import { assertExit, Machine } from './machine.ts';

interface Status {
  readonly bridges: readonly {
    readonly name: string;
    readonly ports: readonly string[];
    readonly neighbors: number;
  }[];
  readonly ports: readonly { readonly name: string }[];
  readonly bindings: readonly (StatusBinding & { readonly advertised: boolean | null })[];
  readonly frr: { readonly state: string; readonly message: string };
}

const SIGINT = 2;
const SIGTERM = 15;
const ESCAPE = String.fromCharCode(27);
const CTRL_C = String.fromCharCode(3);

const undos: (() => void)[] = [];
let machine: Machine;

/** Two hosts on br0, one on br1, all with a neighbor. */
before(async () => {
  const config = { bridges: [{ name: 'br0' }, { name: 'br1' }] };
  machine = new Machine({ after: (undo) => undos.push(undo as () => void) }, { hosts: 2, config });
  machine.addBridge('br1');
  const far = machine.addHost(11, 'br1');
  machine.reconcile();
  for (const host of [...machine.hosts, far]) await host.announceAndWait();
  machine.host(1).advertise();
  machine.reconcile();
});
after(() => {
  for (const undo of undos) undo();
});

function status(...args: string[]): Status {
  const result = machine.snoopy.run('status', '--format', 'json', '--no-frr', ...args);
  assertExit(result, 0);
  return parseJson<Status>(result.stdout, 'status');
}

function inTerminal(args: readonly string[], options: TerminalOptions): TerminalResult {
  return runInTerminal(machine.netns, machine.snoopy.argv('status', '--no-frr', ...args), options);
}

describe('filters', () => {
  deepTest('by bridge, port, address, prefix and MAC are combined: every filter must match', () => {
    const [one, two] = machine.hosts;
    assert.ok(one && two);
    const ips = (...args: string[]): string[] =>
      status(...args)
        .bindings.map(({ ip }) => ip)
        .sort();
    assert.deepEqual(ips(), ['10.1.0.1', '10.1.0.11', '10.1.0.2', '2001:db8:1::1']);
    assert.deepEqual(ips('--bridge', 'br1'), ['10.1.0.11']);
    assert.deepEqual(ips('--bridge', 'br0', '--bridge', 'br1').length, 4);
    assert.deepEqual(ips('--port', 'tap2'), ['10.1.0.2']);
    assert.deepEqual(ips('--port', 'tap1*'), ['10.1.0.1', '10.1.0.11', '2001:db8:1::1']);
    assert.deepEqual(ips('--ip', '10.1.0.2'), ['10.1.0.2']);
    assert.deepEqual(ips('--ip', '10.1.0.9/29', '--ip', '2001:DB8:1:0::/64'), ['10.1.0.11', '2001:db8:1::1']);
    assert.deepEqual(ips('--mac', one.mac.toUpperCase().replaceAll(':', '-')), ['10.1.0.1', '2001:db8:1::1']);
    assert.deepEqual(ips('--mac', one.mac, '--ip', '10.0.0.0/8'), ['10.1.0.1']);
    const left = status('--ip', '10.1.0.2');
    assert.deepEqual(
      left.ports.map(({ name }) => name),
      ['tap2'],
    );
    assert.deepEqual(
      left.bridges.map(({ name, ports }) => [name, ports]),
      [['br0', ['tap2']]],
    );
  });

  test('print only what matches, and say so when nothing does', () => {
    const { stdout } = machine.snoopy.run('status', '--no-frr', '--ip', '10.1.0.2');
    assert.match(
      stdout,
      /^br0: 1 port, 1 host, 1 neighbor\n {2}tap2 {2}attached.*\n {2}untagged on br0\n {4}10\.1\.0\.2 .*\n$/,
    );
    const args = ['--no-frr', '--port', 'tap9', '--ip', '10.9.0.0/16'];
    const none = machine.snoopy.run('status', ...args);
    assertExit(none, 0);
    assert.equal(none.stdout, 'Nothing matches --port tap9 --ip 10.9.0.0/16.\n');
    const json = machine.snoopy.run('status', '--format', 'json', ...args);
    assert.deepEqual(parseJson<Status>(json.stdout, 'status').bindings, []);
    assert.equal(json.stderr, 'snoopy: Nothing matches --port tap9 --ip 10.9.0.0/16.\n');
    const unknown = machine.snoopy.run('status', '--bridge', 'br7');
    assertExit(unknown, 64);
    assert.match(unknown.stderr, /Cannot select bridge "br7": it is not in the configuration; .* br0, br1$/m);
  });

  test('for one bridge of two do not make the pins outdated', () => {
    assert.doesNotMatch(machine.snoopy.run('status', '--no-frr', '--bridge', 'br0').stdout, /Due/);
  });
});

test('a neighbor counts from when the kernel has it', async () => {
  const host = machine.addHost(21, 'br1');
  machine.reconcile();
  await host.announceAndWait();
  const neighbors = (): (number | undefined)[] =>
    status('--bridge', 'br1').bridges.map((bridge) => bridge.neighbors);
  assert.deepEqual(neighbors(), [1]);
  machine.reconcile();
  assert.deepEqual(neighbors(), [2]);
  host.unplug();
  machine.reconcile();
});

describe('a terminal', () => {
  deepTest('of 80 columns is enough, a wide one has each host in one line', () => {
    const linesOf = (size: readonly [number, number]): string[] => {
      const { output, code } = inTerminal(['--ip', '2001:db8::/32'], { size });
      assert.equal(code, 0, output);
      return output.replaceAll(new RegExp(`${ESCAPE}\\[\\d+m`, 'g'), '').split('\r\n');
    };
    const wide = linesOf([24, 120]).find((line) => line.includes('2001:db8:1::1'));
    assert.match(wide ?? '', /^ {4}2001:db8:1::1 {2}02:00:00:00:00:01 {2}tap1 +\d+s {2}installed$/);
    for (const line of linesOf([24, 80])) assert.ok(line.length <= 80, line);
    for (const line of linesOf([24, 48])) assert.ok(line.length <= 48 || line.includes('attached'), line);
  });
});

describe('--watch', () => {
  /** Lines of each screen that was drawn, without colors. */
  function screensOf(output: string): string[][] {
    const plain = output.replaceAll(new RegExp(`${ESCAPE}\\[\\d+m`, 'g'), '');
    return plain
      .split(`${ESCAPE}[H`)
      .slice(1)
      .map((screen) => {
        assert.ok(screen.includes(`${ESCAPE}[J`), 'what stood below is cleared');
        const [lines = ''] = screen.split(`${ESCAPE}[J`);
        const all = lines.split('\r\n').slice(0, -1);
        for (const line of all) assert.ok(line.endsWith(`${ESCAPE}[K`), 'what stood behind is cleared');
        return all.map((line) => line.slice(0, -3));
      });
  }

  deepTest('redraws in place each second, and ends at Ctrl-C with nothing to restore', () => {
    const frame = `${ESCAPE}[J`;
    const { output, code, left } = inTerminal(['--watch'], {
      steps: [{ expect: frame }, { expect: frame }, { expect: frame, send: CTRL_C }],
    });
    assert.deepEqual([code, left], [-SIGINT, 0]);
    const screens = screensOf(output);
    assert.ok(screens.length >= 3);
    const times = screens.map(
      ([head = '']) => /^(\d\d:\d\d:\d\d), again each second until Ctrl-C$/.exec(head)?.[1],
    );
    assert.ok(!times.includes(undefined) && new Set(times).size > 1, `${times}`);
    for (const screen of screens) assert.ok(screen.some((line) => line.startsWith('    10.1.0.2 ')));
    // No alternate screen and no hidden cursor: a signal would leave them behind.
    assert.ok(!output.includes(`${ESCAPE}[?`), 'a mode was set');
  });

  deepTest('fits a terminal that becomes smaller, and prints how many lines it leaves out', () => {
    const { output, code } = inTerminal(['--watch'], {
      size: [40, 100],
      steps: [
        { expect: `${ESCAPE}[J`, resize: [8, 50] },
        { expect: 'more line', send: CTRL_C },
      ],
    });
    assert.equal(code, -SIGINT);
    const screens = screensOf(output);
    const [first = [], last = []] = [screens[0], screens.at(-1)];
    assert.ok(first.length > 10 && !first.some((line) => line.includes('more line')));
    assert.equal(last.length, 7);
    assert.match(last.at(-1) ?? '', /^\.\.\. \d+ more lines: narrow it down/);
    for (const line of last) assert.ok(line.length <= 50, line);
  });

  test('with JSON prints one report a line, and ends with its reader', () => {
    const argv = machine.snoopy.argv('status', '--no-frr', '--format', 'json', '--watch');
    const quoted = argv.map((word) => `'${word}'`).join(' ');
    const result = machine.netns.tryRun(['bash', '-c', `${quoted} | head -n 2; exit \${PIPESTATUS[0]}`]);
    assertExit(result, 0);
    const lines = result.stdout.trimEnd().split('\n');
    assert.equal(lines.length, 2);
    for (const line of lines) assert.equal((JSON.parse(line) as Status).bindings.length, 4);
    assert.equal(result.stderr, '');
  });

  test('is refused without a terminal, and ends with the error of a failing look', () => {
    const refused = machine.snoopy.run('status', '--watch');
    assertExit(refused, 64);
    assert.match(refused.stderr, /no terminal; in a script, use --watch --format json/);
    const wrong = join(createTempDir(machine.scope, 'wrong'), 'snoopy.yaml');
    writeFileSync(wrong, 'version: 2\n');
    const { output, code } = inTerminal(['--watch', '--config', wrong], {});
    assert.equal(code, 78);
    assert.match(output, /snoopy\.yaml:1:10/);
  });

  deepTest('ends at SIGTERM', () => {
    const script = 'snoopy=$1; shift; "$snoopy" "$@" & sleep 2; kill -TERM $!; wait $!; exit $?';
    const argv = ['bash', '-c', script, 'bash', ...machine.snoopy.argv('status', '--no-frr', '--watch')];
    const { code, output } = runInTerminal(machine.netns, argv);
    assert.equal(code, 128 + SIGTERM, output);
  });
});

describe('FRR', () => {
  /** Runs status with `script` as vtysh; null: without vtysh. */
  function statusBeside(script: string | null, ...args: string[]) {
    const bin = join(createTempDir(machine.scope, 'bin'), 'bin');
    mkdirSync(bin);
    if (script !== null) writeFileSync(join(bin, 'vtysh'), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    const argv = machine.snoopy.argv('status', ...args);
    const startedAt = performance.now();
    const result = machine.netns.tryRun(['/usr/bin/env', `PATH=${bin}`, ...argv]);
    assertExit(result, 0);
    return { ...result, ms: performance.now() - startedAt };
  }

  deepTest('that is missing, does not answer or hangs is no failure, and nothing is claimed about it', () => {
    for (const [script, state, message] of [
      [null, 'absent', /^$/],
      [
        'echo "failed to connect to any daemons" >&2; exit 1',
        'silent',
        /fails: failed to connect to any daemons$/,
      ],
      ['exec /bin/sleep 60', 'silent', /fails: no answer in 2 s$/],
    ] as const) {
      const result = statusBeside(script, '--format', 'json');
      const { frr, bindings } = parseJson<Status>(result.stdout, 'status');
      assert.equal(frr.state, state, outputOf(result));
      assert.match(frr.message, message);
      assert.deepEqual([...new Set(bindings.map(({ advertised }) => advertised))], [null]);
      assert.ok(result.ms < 8_000, `${state} took ${result.ms} ms`);
      const text = statusBeside(script, '--ip', '10.1.0.1').stdout;
      assert.equal(/^FRR: vtysh/m.test(text), state === 'silent', text);
      assert.doesNotMatch(text, /advertised/);
    }
  });

  test('is not queried with --no-frr, nor without hosts to query for', () => {
    const dir = createTempDir(machine.scope, 'asked');
    const script = `echo asked >> ${dir}/asked; exit 1`;
    const queries = (result: { readonly stdout: string }): string =>
      `${parseJson<Status>(result.stdout, 'status').frr.state} ${machine.netns.run('sh', '-c', `cat ${dir}/asked 2>/dev/null | wc -l`).trim()}`;
    const json = ['--format', 'json'];
    assert.equal(queries(statusBeside(script, ...json, '--no-frr')), 'unasked 0');
    assert.equal(queries(statusBeside(script, ...json, '--ip', '10.9.9.9')), 'unasked 0');
    assert.equal(queries(statusBeside(script, ...json)), 'silent 1');
  });
});
