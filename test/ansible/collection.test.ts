// The collection as a whole: the findings of Ansible's own tools, the build, and the documentation.
import assert from 'node:assert/strict';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { deepTest } from '../lib/depth.ts';
import { type Result, run, tryRun } from '../lib/run.ts';
import { Scope } from '../lib/scope.ts';
import { outputOf, PRODUCT } from '../lib/snoopy.ts';
import { COLLECTION, Controller } from './controller.ts';

/** Tests of `ansible-test sanity` that install packages from PyPI, and what replaces them here. */
const FROM_PYPI = new Map([
  ['ansible-doc', 'ansible-doc itself, below'],
  ['import', 'the module runs, in reconcile.test.ts'],
  ['pep8', 'pycodestyle of Debian, below'],
  ['pylint', 'nothing: Debian has a pylint, without the plugins of ansible-test'],
  ['runtime-metadata', 'ansible-lint, below: it has a schema of meta/runtime.yml'],
  ['validate-modules', 'the same program with the voluptuous of Debian, below'],
  ['yamllint', 'ansible-lint, below: it runs yamllint'],
]);
const SANITY = '/usr/lib/python3/dist-packages/ansible_test/_util/controller/sanity';

describe('the collection', () => {
  const scope = new Scope();
  const controller = new Controller(scope);
  after(() => scope.close());

  function inCollection(...argv: string[]): Result {
    return controller.tryRun(argv, { cwd: controller.collection, timeoutMs: 300_000 });
  }

  test('contains what an operator needs, and nothing else', () => {
    const output = controller.makeDir('built');
    const built = inCollection('ansible-galaxy', 'collection', 'build', '--output-path', output);
    assert.equal(built.code, 0, outputOf(built));
    const [name = ''] = readdirSync(output);
    assert.match(name, /^snoopy-evpn-\d+\.\d+\.\d+\.tar\.gz$/);
    const inside = run(['tar', '-tzf', join(output, name)])
      .split('\n')
      .filter(Boolean);
    const files = inside.filter((path) => !path.endsWith('/'));
    const sources = run(['git', '-C', COLLECTION, 'ls-files']).split('\n').filter(Boolean);
    const expected = [...sources.filter((path) => path !== 'galaxy.yml'), 'FILES.json', 'MANIFEST.json'];
    assert.deepEqual(files.sort(), expected.sort());

    const elsewhere = controller.makeDir('elsewhere');
    const argv = [
      'ansible-galaxy',
      'collection',
      'install',
      '--offline',
      '-p',
      elsewhere,
      join(output, name),
    ];
    const installed = controller.tryRun(argv);
    assert.equal(installed.code, 0, outputOf(installed));
    const env = { ANSIBLE_COLLECTIONS_PATH: elsewhere };
    const listed = controller.tryRun(['ansible-doc', '--list', 'snoopy.evpn'], { env });
    assert.match(listed.stdout, /^snoopy\.evpn\.reconcile +Run snoopy once/m);
  });

  deepTest('passes ansible-lint with the profile production', () => {
    const lint = inCollection(
      'ansible-lint',
      '--offline',
      '--nocolor',
      '--strict',
      '--profile',
      'production',
    );
    assert.equal(lint.code, 0, outputOf(lint));
    assert.match(lint.stderr, /Passed with production profile.*: 0 failure\(s\), 0 warning\(s\)/);
  });

  deepTest('passes every test of ansible-test sanity that needs nothing from PyPI', () => {
    const listed = inCollection('ansible-test', 'sanity', '--list-tests');
    assert.equal(listed.code, 0, outputOf(listed));
    const tests = listed.stdout.split('\n').filter(Boolean);
    for (const name of FROM_PYPI.keys()) assert.ok(tests.includes(name), `ansible-test has no ${name}`);
    const chosen = tests.filter((name) => !FROM_PYPI.has(name));
    assert.ok(chosen.length >= 20, `only ${chosen.join(' ')}`);
    const sanity = inCollection('ansible-test', 'sanity', ...chosen.flatMap((name) => ['--test', name]));
    assert.equal(sanity.code, 0, outputOf(sanity));
    for (const name of chosen) assert.match(sanity.stderr + sanity.stdout, new RegExp(`test "${name}"`));
  });

  deepTest('passes validate-modules, except for the license', () => {
    const path = 'plugins/modules/reconcile.py';
    const directory = 'ansible_collections/snoopy/evpn';
    const program = join(SANITY, 'validate-modules/validate.py');
    const argv = ['/usr/bin/python3', program, '--format', 'json', '--arg-spec'];
    const validated = inCollection(...argv, '--collection', directory, '--collection-version', '1.0.0', path);
    assert.equal(validated.stderr, '');
    const found = JSON.parse(validated.stdout) as Record<
      string,
      { errors: { code: string }[]; warnings: unknown[] }
    >;
    assert.deepEqual(
      found[path]?.errors.map(({ code }) => code),
      ['missing-gplv3-license'],
    );
    assert.deepEqual(found[path]?.warnings, []);
  });

  test('passes pycodestyle by the rules of ansible-test', () => {
    const ignored = run(['cat', join(SANITY, 'pep8/current-ignore.txt')])
      .split('\n')
      .filter(Boolean)
      .join(',');
    const argv = ['pycodestyle', '--max-line-length=160', `--ignore=${ignored}`, 'plugins'];
    assert.equal(outputOf(inCollection(...argv)), outputOf({ argv, code: 0, stdout: '', stderr: '' }));
  });

  test('documents the module and the role with every parameter in ansible-doc', () => {
    const module = controller.tryRun(['ansible-doc', '--type', 'module', 'snoopy.evpn.reconcile']);
    assert.equal(module.code, 0, outputOf(module));
    for (const word of ['config', 'config_path', 'bridges', 'listen', 'lock_timeout', 'executable'])
      assert.match(module.stdout, new RegExp(`^- ${word}$`, 'm'));
    assert.match(module.stdout, /snoopy_neighbors/);
    const role = controller.tryRun(['ansible-doc', '--type', 'role', 'snoopy.evpn.snoopy']);
    assert.equal(role.code, 0, outputOf(role));
    for (const word of [
      'state',
      'package',
      'package_checksum',
      'config',
      'profile',
      'timer_enabled',
      'doctor',
    ])
      assert.match(role.stdout, new RegExp(`^- snoopy_${word}$`, 'm'));
  });

  test('has an example inventory that fits the playbook, with valid configurations', () => {
    const inventory = join(controller.collection, 'examples/inventory.yml');
    const argv = ['ansible-playbook', '--inventory', inventory, '--syntax-check', 'snoopy.evpn.rollout'];
    const checked = controller.tryRun(argv);
    assert.equal(checked.code, 0, outputOf(checked));
    const debug = ['-m', 'ansible.builtin.debug', '-a', 'var=snoopy_config', '--one-line'];
    const shown = controller.tryRun(['ansible', '--inventory', inventory, 'evpn', ...debug]);
    const configs = shown.stdout.split('\n').filter(Boolean);
    assert.equal(configs.length, 3, outputOf(shown));
    for (const line of configs) {
      const { snoopy_config } = JSON.parse(line.slice(line.indexOf('{'))) as { snoopy_config: object };
      const file = join(controller.dir, 'snoopy.yaml');
      writeFileSync(file, JSON.stringify(snoopy_config));
      const validated = tryRun([process.execPath, PRODUCT, 'validate', '--config', file]);
      assert.equal(validated.code, 0, outputOf(validated));
    }
  });
});
