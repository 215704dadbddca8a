// Progress of long work: one line on a terminal, cleared at the end, and no output where nobody reads it.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { createTempDir } from '../lib/temp.ts';
import { runInTerminal, type TerminalResult } from '../lib/terminal.ts';
import { assertExit, Machine } from './machine.ts';
import { NEEDS_TCX } from './probe.ts';

const PORTS = 60;
/** Load, a prefix, and two for each port. */
const STEPS = 2 + 2 * PORTS;
const CLEARED = `\r${String.fromCharCode(27)}[K`;

/** A machine with many ports, none of them attached yet. */
function large(t: { after(undo: () => void): void }): Machine {
  const machine = new Machine(t, { hosts: 0 });
  const names = Array.from({ length: PORTS }, (_, at) => `port${at}`);
  machine.netns.ipBatch(names.map((name) => `link add ${name} master br0 type veth peer name ${name}x`));
  return machine;
}

/** Runs a command with only stderr on a terminal. */
function inTerminal(
  machine: Machine,
  command: string,
  ...args: string[]
): TerminalResult & { stdout: string } {
  const file = join(createTempDir(machine.scope, 'out'), 'stdout');
  const argv = machine.snoopy.argv(command, ...args);
  const result = runInTerminal(machine.netns, argv, { stdout: file, size: [24, 40] });
  assert.equal(result.code, 0, result.output);
  return { ...result, stdout: readFileSync(file, 'utf8') };
}

/** Every text that the line had. */
function linesOf(output: string): string[] {
  assert.ok(output.endsWith(CLEARED), 'the line is cleared');
  assert.ok(!output.includes('\n'), 'it is one line');
  return output
    .slice(0, -CLEARED.length)
    .split('\r')
    .slice(1)
    .map((text) => text.replace(`${String.fromCharCode(27)}[K`, ''));
}

for (const [attach, last, removed] of [
  // Filters are attached in one batch, TCX links one by one.
  ['clsact', `steps ${STEPS - PORTS + 1} to ${STEPS} of ${STEPS}: attach`, /^steps 1 to 60 of \d+: detach$/],
  ['tcx', `step 101 of ${STEPS}: attach`, /^step 51 of \d+: detach$/],
] as const) {
  test(
    `attaching and detaching many ports shows each step, ${attach}`,
    attach === 'tcx' ? NEEDS_TCX : {},
    (t) => {
      const machine = large(t);
      machine.snoopy.configure({ runtime: { attach }, bridges: [{ name: 'br0' }] });
      const up = inTerminal(machine, 'reconcile');
      const lines = linesOf(up.output);
      assert.ok(lines.includes(last), lines.join('\n'));
      for (const line of lines) assert.match(line, /^steps? \d+( to \d+)? of \d+: [a-z-]+$/);
      assert.match(up.stdout, /60 ports/);
      const down = linesOf(inTerminal(machine, 'remove').output);
      assert.ok(
        down.some((line) => removed.test(line)),
        down.join('\n'),
      );
    },
  );
}

test('listening shows the seconds, within the width of the terminal', (t) => {
  const machine = new Machine(t);
  machine.reconcile();
  const { output, stdout } = inTerminal(machine, 'reconcile', '--listen', '3s');
  const lines = linesOf(output);
  assert.ok(lines.length >= 2, lines.join('\n'));
  for (const line of lines) assert.match(line, /^listening: [0-3]s left, 0 neighbor chang/);
  for (const line of lines) assert.ok(line.length < 40);
  assert.equal(stdout, '1 bridge, 1 port, 0 neighbors: nothing to do\n');
});

test('--quiet, --verbose, JSON and short work show no progress', (t) => {
  const machine = large(t);
  assert.equal(inTerminal(machine, 'reconcile', '--quiet').output, '');
  assert.equal(inTerminal(machine, 'remove', '--format', 'json').output, '');
  const verbose = inTerminal(machine, 'reconcile', '--verbose').output.split('\r\n');
  assert.ok(verbose.includes('attach port7: applied'));
  assert.ok(!verbose.some((line) => line.includes(' of ')));
  assert.equal(inTerminal(machine, 'reconcile').output, '');
});

test('without a terminal on stderr there is no progress', (t) => {
  const machine = large(t);
  for (const args of [[], ['--listen', '2s']]) {
    const result = machine.snoopy.run('reconcile', ...args);
    assertExit(result, 0);
    assert.equal(result.stderr, '');
  }
});
