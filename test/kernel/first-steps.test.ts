// A node without a configuration: doctor says how to begin, and init writes the first configuration.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Check } from '../lib/doctor.ts';
import { parseJson, type Result } from '../lib/run.ts';
import { NODE, outputOf, START } from '../lib/snoopy.ts';
import { createTempDir } from '../lib/temp.ts';
import { assertExit, Machine, TUNNEL } from './machine.ts';

/** Runs a command with these arguments alone, where /etc/snoopy is an empty directory. */
function bare(machine: Machine, ...args: string[]): Result {
  const etc = createTempDir(machine.scope, 'etc');
  // Only this process sees that /etc.
  const hide = `cp -a /etc/passwd ${etc}; mkdir ${etc}/snoopy; mount --bind ${etc} /etc; exec "$@"`;
  return machine.netns.tryRun(['unshare', '--mount', 'sh', '-c', hide, 'sh', ...NODE, START, ...args]);
}

/** Runs init for a file. */
function init(machine: Machine, file: string, ...args: string[]): Result {
  return machine.netns.tryRun([...NODE, START, 'init', '--config', file, ...args]);
}

test('init --write creates a configuration that serves the bridges of the node, with one run', async (t) => {
  const machine = new Machine(t, { tunnel: true });
  const file = join(createTempDir(machine.scope, 'init'), 'new/etc/snoopy.yaml');
  const printed = init(machine, file);
  assertExit(printed, 0);
  assert.equal(existsSync(file), false, 'only --write writes');
  const written = machine.netns.tryRun([
    'sh',
    '-c',
    'umask 077; exec "$@"',
    'sh',
    ...NODE,
    START,
    'init',
    '--write',
    '-c',
    file,
  ]);
  assertExit(written, 0);
  assert.equal(
    written.stdout,
    `wrote ${file}: br0; next: snoopy validate --config ${file}; then: snoopy reconcile --check --diff --config ${file}\n`,
  );
  assert.equal(readFileSync(file, 'utf8'), printed.stdout);
  assert.equal(statSync(file).mode & 0o777, 0o644);
  assertExit(machine.snoopy.run('validate', '--config', file), 0);

  // The file of this machine's snoopy differs by its bpffs alone.
  writeFileSync(machine.snoopy.configFile, `${printed.stdout}\nruntime: {bpffs: ${machine.snoopy.bpffs}}\n`);
  machine.reconcile();
  await machine.host(1).announceAndWait();
  machine.reconcile();
  assert.deepEqual(machine.ownNeighbors(), ['10.1.0.1 02:00:00:00:00:01']);
});

test('init leaves what is there alone', (t) => {
  const machine = new Machine(t);
  const directory = createTempDir(machine.scope, 'init');
  const file = join(directory, 'snoopy.yaml');
  writeFileSync(file, '# mine\n');
  const link = join(directory, 'link.yaml');
  symlinkSync(join(directory, 'elsewhere.yaml'), link);
  for (const path of [file, link]) {
    const again = init(machine, path, '--write');
    assertExit(again, 1);
    assert.equal(again.stdout, '');
    assert.match(
      again.stderr,
      /Cannot create the configuration ".*": it exists, and is left as it is; edit it/,
    );
  }
  assert.equal(readFileSync(file, 'utf8'), '# mine\n');
  assert.equal(existsSync(join(directory, 'elsewhere.yaml')), false);

  const weak = join(directory, 'weak');
  mkdirSync(weak);
  machine.run('chmod', '0777', weak);
  const refused = init(machine, join(weak, 'snoopy.yaml'), '--write');
  assertExit(refused, 78);
  assert.match(refused.stderr, /may be written by all users; chmod go-w /);
  assert.equal(existsSync(join(weak, 'snoopy.yaml')), false);
});

test('init needs no root, and on a node without tunnel ports it prints a glob', (t) => {
  const machine = new Machine(t);
  const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
  const argv = [...nobody, ...NODE, START, 'init', '--format', 'json'];
  const result = machine.netns.tryRun(argv);
  assertExit(result, 0);
  const report = parseJson<{ bridges: readonly string[]; configuration: string }>(result.stdout, 'init');
  assert.deepEqual(report.bridges, []);
  assert.match(report.configuration, /^bridges:\n {2}- name: "\*"$/m);
  const file = join(createTempDir(machine.scope, 'init'), 'snoopy.yaml');
  const denied = machine.netns.tryRun([...nobody, ...NODE, START, 'init', '--write', '-c', file]);
  assertExit(denied, 1);
  assert.match(denied.stderr, /EACCES; run as root/);
});

test('doctor without a configuration says what the node lacks, and how to begin', (t) => {
  const machine = new Machine(t, { tunnel: true });
  machine.run('bridge', 'link', 'set', 'dev', TUNNEL, 'neigh_suppress', 'off');
  const { code, stdout } = bare(machine, 'doctor', '--format', 'json');
  const { ok, checks, proposal } = parseJson<{
    ok: boolean;
    checks: readonly Check[];
    proposal: string;
  }>(stdout, 'doctor');
  assert.equal(code, ok ? 0 : 1);
  const named = checks.map(({ id, status, subject }) => [status, id, subject].filter(Boolean).join(' '));
  assert.equal(named[0], 'warning configuration');
  for (const line of ['ok node', 'ok kernel', 'ok capabilities', 'ok bridge br0', `ok tunnel br0`]) {
    assert.ok(named.includes(line), `${line}: ${named.join(', ')}`);
  }
  assert.ok(named.includes(`warning neigh-suppress ${TUNNEL}`), 'what is wrong with a bridge is found');
  assert.ok(checks.some(({ id }) => id === 'frr') && checks.some(({ id }) => id === 'bpffs'));
  // A run sets these up.
  for (const id of ['pins', 'ports', 'last-run', 'due', 'unnamed', 'hosts'])
    assert.ok(!checks.some((check) => check.id === id), id);
  assert.match(proposal, /^ {2}- name: br0$/m);
  const text = bare(machine, 'doctor').stdout;
  assert.match(text, /^warning {2}configuration .*none at \/etc\/snoopy\/snoopy\.yaml$/m);
  assert.match(text, /fix: snoopy init --write creates one/);
  assert.ok(text.endsWith(proposal), text);
});

test('a configuration that was named and does not exist is an error, as for every other command', (t) => {
  const machine = new Machine(t);
  for (const args of [
    ['doctor', '-c', '/etc/snoopy/snoopy.yaml'],
    ['doctor', '--config', '/nowhere.yaml'],
    ['reconcile'],
    ['status'],
  ]) {
    const result = bare(machine, ...args);
    assertExit(result, 78);
    assert.equal(result.stdout, '', outputOf(result));
    assert.match(result.stderr, /ENOENT; create it \(`snoopy init --write` does\)/);
  }
});
