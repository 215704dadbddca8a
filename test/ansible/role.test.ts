// The role snoopy.evpn.snoopy on nodes with systemd, dpkg, rpm and npm: installed, changed, refused, and removed.
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: dpkg has them too.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { load } from 'js-yaml';
import { VERSION } from '../../src/generated/version.ts';
import type { BootOptions, Root } from '../lib/container.ts';
import { deepTest, QUICK, sample } from '../lib/depth.ts';
import { run } from '../lib/run.ts';
import { Scope } from '../lib/scope.ts';
import { until } from '../lib/wait.ts';
import { makeEnterpriseLinux } from '../package/enterprise-linux.ts';
import { buildPackages, type Packages } from '../package/packages.ts';
import { Controller, hasChanged, type PlayOptions, type PlayResult, refusalOf } from './controller.ts';
import { BRIDGE, EvpnNode, HOST, TUNNEL } from './evpn-node.ts';

const CONFIG = { version: 1, bridges: [{ name: BRIDGE }] };
/** Of a package that is newer than the one of this tree. */
const NEWER = '99.0.0';
/** Roots, and the kind of package that is installed there. */
const SYSTEMS: readonly { readonly from: Root; readonly kind: 'deb' | 'rpm' }[] = [
  { from: 'trixie', kind: 'deb' },
  { from: 'bookworm', kind: 'deb' },
  { from: 'rpm', kind: 'rpm' },
];

describe('role snoopy.evpn.snoopy', () => {
  const scope = new Scope();
  let controller: Controller;
  let packages: Packages;

  before(() => {
    controller = new Controller(scope);
    packages = buildPackages(scope, VERSION, { only: sample(['deb'], ['deb', 'rpm', 'npm']) });
  });
  after(() => scope.close());

  async function boot(name: string, options: BootOptions = {}): Promise<EvpnNode> {
    const node = await EvpnNode.boot(scope, name, options);
    controller.addNode(name, node.container);
    return node;
  }

  function play(host: string, variables: object, options: PlayOptions = {}): PlayResult {
    const vars = { snoopy_package: packages.deb, snoopy_config: CONFIG, ...variables };
    const roles = [{ role: 'snoopy.evpn.snoopy', vars }];
    return controller.play([{ hosts: host, gather_facts: false, roles }], options);
  }

  /** A play that must succeed; returns whether it changed anything. */
  function apply(host: string, variables: object, options: PlayOptions = {}): boolean {
    const result = play(host, variables, options);
    assert.equal(result.code, 0, result.stdout + result.stderr);
    return hasChanged(result, host);
  }

  /** A play that must fail; returns the message of its failed task. */
  function refusal(host: string, variables: object, options: PlayOptions = {}): string {
    return refusalOf(play(host, variables, options));
  }

  for (const { from, kind } of sample(SYSTEMS.slice(0, 1), SYSTEMS)) {
    test(`from the .${kind} on ${from}: check, apply, check, apply; another version and configuration; a broken one; removed`, async () => {
      const name = `${kind}-${from}`;
      const node = await boot(
        name,
        kind === 'rpm' ? { from, prepare: (root) => makeEnterpriseLinux(scope, root) } : { from },
      );
      const given = { snoopy_package: packages[kind] };
      const { container } = node;
      const before = listFiles(node);

      assert.equal(apply(name, given, { check: true, diff: true }), true, 'check mode foresees no change');
      assert.deepEqual(listFiles(node), before, 'check mode has written');
      assert.equal(apply(name, given), true);
      assert.equal(node.isAttached, true);
      assert.equal(container.run('systemctl', 'is-enabled', 'snoopy-reconcile.timer').trim(), 'enabled');
      assert.equal(container.run('systemctl', 'is-active', 'snoopy-reconcile.timer').trim(), 'active');
      assert.equal(apply(name, given, { check: true, diff: true }), false, 'check mode foresees a change');
      assert.equal(apply(name, given), false, 'the second run has changed something');

      await node.announce();
      await until(
        'the timer to install the neighbor',
        () => node.neighbors,
        (neighbors) => neighbors.includes(`${HOST.ip} ${HOST.mac}`),
        { timeoutMs: 30_000, everyMs: 250 },
      );

      // Once for each kind: it takes minutes.
      if (!QUICK && from !== 'bookworm') changeAndRefuse(name, kind, node);

      if (!QUICK) {
        assert.equal(apply(name, { snoopy_state: 'absent' }, { check: true }), true);
        assert.equal(node.isAttached, true, 'check mode has removed snoopy');
      }
      assert.equal(apply(name, { snoopy_state: 'absent' }), true);
      assert.equal(node.isAttached, false);
      assert.deepEqual(node.neighbors, []);
      assert.deepEqual(
        readdirSync(container.path('/sys/fs/bpf')).filter((name) => name.includes('snoopy')),
        [],
      );
      assert.deepEqual(listFiles(node), before, 'files are left');
      assert.equal(container.tryRun(['systemctl', 'cat', 'snoopy-reconcile.timer']).code, 1);
      for (const check of sample([], [true, false])) {
        assert.equal(apply(name, { snoopy_state: 'absent' }, { check }), false);
      }
    });
  }

  /** Another version and configuration are applied, the older version too; a broken configuration is refused. */
  function changeAndRefuse(name: string, kind: 'deb' | 'rpm', node: EvpnNode): void {
    const { container } = node;
    const newer = buildPackages(scope, NEWER, { only: [kind] });
    const query = {
      deb: ['dpkg-query', '--show', '--showformat=${Version}'],
      rpm: ['rpm', '--query', '--queryformat=%{VERSION}'],
    };
    const version = () => container.run(...query[kind], 'snoopy-evpn');
    const other = { ...CONFIG, bridges: [{ name: BRIDGE, max_age: '30m' }] };
    assert.equal(version(), VERSION);
    assert.equal(apply(name, { snoopy_package: newer[kind], snoopy_config: other }), true);
    assert.deepEqual(readConfig(node), other);
    assert.equal(version(), NEWER);
    assert.equal(node.isAttached, true);
    // The given package is the installed one afterwards, even if it is older.
    assert.equal(apply(name, { snoopy_package: packages[kind], snoopy_config: other }), true);
    assert.equal(version(), VERSION);
    assert.equal(node.isAttached, true);

    const broken = { ...CONFIG, bridges: [{ name: BRIDGE, max_age: '30 minutes' }] };
    const files = listFiles(node);
    for (const check of [true, false]) {
      assert.match(
        refusal(name, { snoopy_package: packages[kind], snoopy_config: broken }, { check }),
        /snoopy_config is wrong.*max_age.*30m/s,
      );
    }
    assert.deepEqual(listFiles(node), files, 'a broken configuration has changed files');
    assert.deepEqual(readConfig(node), other);
    assert.equal(node.isAttached, true);
  }

  deepTest(
    'from the tarball, by URL, with the profile prompt and another textfile path; removed',
    async () => {
      const node = await boot('tarball');
      const { container } = node;
      putNpm(container.root);
      const textfile = '/opt/my 100% "metrics\\x"/snoopy.prom';
      container.run('install', '--directory', '--owner=nobody', dirname(textfile));
      const before = listFiles(node);
      cpSync(packages.tarball, join(container.root, 'srv/snoopy.tgz'));
      node.serve('/srv', 8000);
      const checksum = `sha256:${createHash('sha256').update(readFileSync(packages.tarball)).digest('hex')}`;
      const variables = {
        snoopy_package: 'http://127.0.0.1:8000/snoopy.tgz',
        snoopy_package_checksum: checksum,
        snoopy_config: { ...CONFIG, metrics: { textfile } },
        snoopy_profile: 'prompt',
      };

      const forged = {
        ...variables,
        snoopy_package_checksum: checksum.replace(/.$/, (digit) => (digit === '0' ? '1' : '0')),
      };
      assert.match(refusal('tarball', forged), /checksum/i);
      assert.equal(apply('tarball', variables, { check: true }), true);
      assert.equal(apply('tarball', variables), true);
      assert.equal(apply('tarball', variables, { check: true }), false);
      assert.equal(apply('tarball', variables), false);
      assert.equal(node.isAttached, true);
      const show = (property: string) =>
        container.run('systemctl', 'show', '--property', property, 'snoopy-reconcile.service');
      assert.match(show('ExecStart'), /--listen 8s/);
      await node.announce();
      await until(
        'a listening run to install the neighbor',
        () => node.neighbors,
        (neighbors) => neighbors.length === 1,
        { timeoutMs: 30_000, everyMs: 250 },
      );
      const written = container.path(textfile);
      rmSync(written);
      await until(
        'the unit to write the textfile',
        () => existsSync(written),
        (exists) => exists,
        { timeoutMs: 30_000, everyMs: 250 },
      );

      const since = () =>
        container.run(
          'systemctl',
          'show',
          '--property',
          'ActiveEnterTimestampMonotonic',
          'snoopy-reconcile.timer',
        );
      const start = since();
      container.run('sed', '-i', 's/10s/1h/', '/etc/systemd/system/snoopy-reconcile.timer');
      container.run('systemctl', 'daemon-reload');
      // While a run listens, which writes the textfile when it ends.
      const noTextfile = { ...variables, snoopy_config: CONFIG };
      assert.equal(apply('tarball', noTextfile), true);
      assert.notEqual(since(), start, 'the timer still runs the old unit');
      assert.equal(existsSync(written), false, 'the old textfile is left');
      writeFileSync(written, 'now owned by another user');
      assert.equal(apply('tarball', noTextfile), false);
      assert.equal(existsSync(written), true);

      assert.equal(
        apply('tarball', { ...noTextfile, snoopy_profile: 'periodic', snoopy_timer_enabled: false }),
        true,
      );
      assert.doesNotMatch(show('ExecStart'), /--listen/);
      assert.equal(
        container.tryRun(['systemctl', 'is-active', 'snoopy-reconcile.timer']).stdout.trim(),
        'inactive',
      );

      assert.equal(apply('tarball', { snoopy_state: 'absent' }, { check: true }), true);
      const gone = play('tarball', { snoopy_state: 'absent' });
      assert.equal(gone.code, 0, gone.stdout + gone.stderr);
      assert.equal(hasChanged(gone, 'tarball'), true);
      // npm installs to the same place as the .deb, and systems other than these have no apt.
      assert.deepEqual(outcomesOf(gone, 'Remove the .deb'), ['skipped']);
      assert.equal(node.isAttached, false);
      assert.deepEqual(node.neighbors, []);
      container.run('rm', '-rf', textfile, '/srv/snoopy.tgz', '/root/.npm');
      assert.deepEqual(listFiles(node), before, 'files are left');
      assert.equal(apply('tarball', { snoopy_state: 'absent' }), false);
    },
  );

  deepTest(
    'says what blocks the removal, and removes snoopy with a broken or missing configuration',
    async () => {
      const node = await boot('broken');
      const { container } = node;
      const path = join(container.root, 'etc/snoopy/snoopy.yaml');
      const install = () => {
        assert.equal(apply('broken', { snoopy_timer_enabled: false }), true);
        assert.equal(node.isAttached, true);
      };
      install();
      const listener = container.netns.start(...container.argv(['snoopy', 'reconcile', '--listen', '1m']));
      const failed = play('broken', { snoopy_state: 'absent' });
      assert.equal(failed.code, 2, failed.stdout);
      listener.kill();
      const [task] = failed.tasks.filter(({ outcome }) => outcome === 'failed');
      assert.match(String(task?.result.msg), /^Cannot lock \S+: (another run|process \d+) holds the lock/);
      assert.equal(node.isAttached, true);
      assert.ok(
        existsSync(path) && existsSync(join(container.root, 'usr/bin/snoopy')),
        'it has removed files',
      );

      const foresee = () => {
        assert.equal(apply('broken', { snoopy_state: 'absent' }, { check: true }), true);
        assert.equal(node.isAttached, true, 'check mode has removed snoopy');
      };
      const removal = () => {
        assert.equal(apply('broken', { snoopy_state: 'absent' }), true);
        assert.equal(node.isAttached, false);
        assert.equal(existsSync(path), false);
      };
      writeFileSync(path, 'version: [\n');
      foresee();
      removal();
      install();
      rmSync(path);
      foresee();
      removal();
    },
  );

  deepTest('prints the findings of the doctor, and ends the play if requested', async () => {
    const { container } = await boot('doctor');
    container.netns.run('ip', 'link', 'del', TUNNEL);
    const failed = play('doctor', {});
    assert.equal(failed.code, 2, failed.stdout);
    const [task] = failed.tasks.filter(({ outcome }) => outcome === 'failed');
    assert.match(
      String(task?.result.msg),
      new RegExp(`^tunnel ${BRIDGE}: no VXLAN port; take .* else: ip link add`),
    );
    const warned = play('doctor', { snoopy_doctor: 'warn' });
    assert.equal(warned.code, 0, warned.stdout);
    assert.match(warned.stdout, /"failure: no VXLAN port; take .* else: ip link add/);
  });

  deepTest(
    'writes a file that means the same as the configuration, whatever YAML 1.1 makes of it',
    async () => {
      const node = await boot('yaml');
      const config = {
        version: 1,
        bridges: [
          {
            name: BRIDGE,
            max_age: 'never',
            static: [
              { ip: '10.1.0.1', mac: '52:54:00:12:34:56' },
              { ip: '10.1.0.2', mac: ['02:00:00:00:00:02', '12:30:45:10:20:30'] },
              { ip: '2001:db8::1', mac: '52:54:00:12:34:56' },
            ],
          },
          { name: 'on', required: false },
          { name: '0x10', required: false },
          { name: '1e3', required: false },
          { name: '0o17', required: false },
          { name: '.5', required: false },
          { name: 'brücke', required: false },
        ],
        metrics: { textfile: null },
      };
      // A broken file that exists already is no obstacle.
      const directory = join(node.container.root, 'etc/snoopy');
      mkdirSync(directory);
      writeFileSync(join(directory, 'snoopy.yaml'), 'version: [\n');
      assert.equal(apply('yaml', { snoopy_config: config }), true);
      assert.deepEqual(readConfig(node), config);
      assert.equal(apply('yaml', { snoopy_config: config }), false);
    },
  );

  deepTest('an unreadable file names no textfile', async () => {
    await boot('spoilt');
    const texts = ['version: [\n', '', 'text\n', '- list\n', 'metrics: {textfile: [1]}\n'];
    const known = 'metrics: {textfile: /var/lib/old.prom}\n';
    const tasks = [known, ...texts].flatMap((text) => [
      { 'ansible.builtin.file': { path: '/etc/snoopy', state: 'directory', mode: '0755' } },
      { 'ansible.builtin.copy': { content: text, dest: '/etc/snoopy/snoopy.yaml', mode: '0644' } },
      { 'ansible.builtin.include_role': { name: 'snoopy.evpn.snoopy', tasks_from: 'textfile' } },
      { 'ansible.builtin.debug': { msg: "{{ snoopy__old_textfile is match('/') }}" } },
    ]);
    const result = controller.play([{ hosts: 'spoilt', gather_facts: false, tasks }]);
    assert.equal(result.code, 0, result.stdout + result.stderr);
    const shown = result.tasks
      .filter(({ task }) => task === 'ansible.builtin.debug')
      .map((one) => one.result.msg);
    assert.deepEqual(shown, [true, ...texts.map(() => false)]);
  });
});

/** The result of a task, in each play or batch. */
function outcomesOf({ tasks }: PlayResult, name: string): string[] {
  return tasks.filter(({ task }) => task === name).map(({ outcome }) => outcome);
}

/** npm of this machine, where the packages of Node.js include one. */
function putNpm(root: string): void {
  const directory = dirname(dirname(realpathSync(run(['sh', '-c', 'command -v npm']).trim())));
  cpSync(directory, join(root, 'usr/lib/node_modules/npm'), { recursive: true });
  symlinkSync('../lib/node_modules/npm/bin/npm-cli.js', join(root, 'usr/bin/npm'));
}

/** The file that the role wrote, as another reader of YAML 1.2 understands it. */
function readConfig(node: EvpnNode): unknown {
  return load(readFileSync(join(node.container.root, 'etc/snoopy/snoopy.yaml'), 'utf8'));
}

/** Every file of a node, except those that dpkg, rpm, systemd, ssh and Ansible write for themselves. */
function listFiles({ container }: EvpnNode): string[] {
  const own = [
    '/var/log',
    '/var/lib/dpkg',
    '/var/lib/apt',
    '/var/lib/dnf',
    '/var/lib/systemd',
    '/var/lib/private',
    '/var/cache',
  ];
  const prune = [...own, '/var/tmp', '/root/.ansible', '/root/.rpmdb'].flatMap((path) => [
    '-path',
    path,
    '-o',
  ]);
  const find = ['find', '/', '-xdev', '(', ...prune, '-path', '/etc/ssh', ')', '-prune', '-o', '-print'];
  return container
    .run(...find)
    .split('\n')
    .sort();
}
