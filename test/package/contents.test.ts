// The content of the packages.
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: shells have them too.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { buildProgram } from '../../src/cli.ts';
import { SCHEMA_TEXT } from '../../src/generated/schema.ts';
import { deepTest } from '../lib/depth.ts';
import { run, tryRun } from '../lib/run.ts';
import { Scope } from '../lib/scope.ts';
import { NODE } from '../lib/snoopy.ts';
import { createTempDir } from '../lib/temp.ts';
import { buildPackages, type Packages } from './packages.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const VERSION = '1.2.3';
const scope = new Scope();
let packages: Packages;
/** The .deb of this machine, and the npm package, unpacked. */
let root: string;
let npm: string;

before(() => {
  packages = buildPackages(scope, VERSION);
  root = createTempDir(scope, 'deb');
  npm = createTempDir(scope, 'npm');
  run(['dpkg-deb', '--extract', packages.deb, root]);
  run(['tar', '-xzf', packages.tarball, '-C', npm, '--strip-components=1']);
});
after(() => scope.close());

describe('the .deb', () => {
  test('declares what it depends on', () => {
    for (const architecture of ['amd64', 'arm64'] as const) {
      const field = (name: string): string =>
        run(['dpkg-deb', '--field', packages[architecture], name]).trim();
      assert.equal(field('Package'), 'snoopy-evpn');
      assert.equal(field('Version'), VERSION);
      assert.equal(field('Architecture'), architecture);
      assert.match(field('Depends'), /^nodejs \(>= 18\.19\), libbpf1 \(>= 1:1\.1\)/);
      // Not essential in Debian, and called by the postinst.
      const postinst = run(['dpkg-deb', '--info', packages[architecture], 'postinst']);
      assert.match(postinst, /groupadd/);
      assert.match(field('Depends'), /, passwd(?:,|$)/);
    }
  });

  test('has every file in its place, owned by root', () => {
    const listing = run(['dpkg-deb', '--contents', packages.deb]).trimEnd().split('\n');
    const files = new Map(listing.map((line) => [line.split(/ +/)[5]?.slice(1), line]));
    for (const path of [
      '/usr/bin/snoopy',
      '/etc/iproute2/rt_protos.d/snoopy.conf',
      '/usr/lib/systemd/system/snoopy-reconcile.service',
      '/usr/lib/systemd/system/snoopy-reconcile.timer',
      '/usr/share/man/man8/snoopy.8.gz',
      '/usr/share/man/man5/snoopy.yaml.5.gz',
      '/usr/share/bash-completion/completions/snoopy',
      '/usr/share/zsh/vendor-completions/_snoopy',
      '/usr/share/fish/vendor_completions.d/snoopy.fish',
      '/usr/share/snoopy-evpn/schema/snoopy.schema.json',
      '/usr/share/snoopy-evpn/monitoring/alerts.yml',
      '/usr/share/snoopy-evpn/prompt/snoopy-reconcile.service.d/prompt.conf',
    ]) {
      assert.ok(files.has(path), `${path} is missing:\n${listing.join('\n')}`);
    }
    for (const line of listing) assert.match(line, / root\/root /);
    // Not snoopy.yaml, which every operator edits: an upgrade would ask about each change of its comments.
    const conffiles = run(['dpkg-deb', '--info', packages.deb, 'conffiles']);
    assert.equal(conffiles, '/etc/iproute2/rt_protos.d/snoopy.conf\n');
  });

  test('starts the program with the options that it is compiled for, whichever Node.js is first in the PATH', () => {
    const first = (file: string): string => readFileSync(file, 'utf8').split('\n')[0] ?? '';
    const [, ...options] = NODE;
    assert.ok(options.length > 0);
    assert.equal(
      first(join(root, 'usr/lib/snoopy-evpn/start.cjs')),
      ['#!/usr/bin/node', ...options].join(' '),
    );
    assert.equal(first(join(root, 'usr/lib/snoopy-evpn/snoopy.cjs')), '#!/usr/bin/node');
  });

  deepTest('has no lintian tag without an explanation', () => {
    for (const deb of [packages.amd64, packages.arm64]) {
      const argv = ['lintian', '--pedantic', '--display-info', '--display-experimental', '--allow-root', deb];
      const { code, stdout } = tryRun(argv, { timeoutMs: 120_000 });
      assert.equal(stdout, '');
      assert.equal(code, 0);
    }
    const overrides = readFileSync(join(root, 'usr/share/lintian/overrides/snoopy-evpn'), 'utf8').split('\n');
    const unexplained = overrides.filter(
      (line, at) => isOverride(line) && isFirstWithoutComment(overrides, at),
    );
    assert.deepEqual(unexplained, []);
    assert.ok(overrides.some(isOverride));
  });
});

function isOverride(line: string): boolean {
  return line.startsWith('snoopy-evpn');
}

/** A comment applies to all lines up to the next one. */
function isFirstWithoutComment(lines: readonly string[], at: number): boolean {
  return at === 0 || (!isOverride(lines[at - 1] ?? '') && !lines[at - 1]?.startsWith('#'));
}

describe('the RPM', () => {
  /** A query of a package file; `%` of rpm's formats. */
  const query = (rpm: string, ...argv: string[]): string[] =>
    run(['rpm', '--query', '--package', ...argv, rpm])
      .trimEnd()
      .split('\n');

  test('declares what it depends on', () => {
    for (const architecture of ['x86_64', 'aarch64'] as const) {
      const rpm = packages[architecture];
      const [name] = query(rpm, '--queryformat', '%{NAME} %{VERSION}-%{RELEASE} %{ARCH} %{OS}\n');
      assert.equal(name, `snoopy-evpn ${VERSION}-1.el9 ${architecture} linux`);
      const required = query(rpm, '--requires');
      for (const requirement of ['nodejs >= 1:18.19', 'libbpf.so.1(LIBBPF_1.1.0)(64bit)'])
        assert.ok(required.includes(requirement), `${requirement}:\n${required.join('\n')}`);
    }
  });

  test('has the files of the .deb, with the configuration kept by upgrades', () => {
    /** The paths of the .deb, where the RPM has them. */
    const expected = run(['dpkg-deb', '--contents', packages.deb])
      .trimEnd()
      .split('\n')
      .map((line) => (line.split(/ +/)[5] ?? '').slice(1))
      .filter((path) => !path.endsWith('/') && !/lintian|doc.snoopy-evpn.changelog/.test(path))
      .map((path) => path.replace('/usr/lib/snoopy-evpn/', '/usr/libexec/snoopy-evpn/'))
      .map((path) => path.replace('zsh/vendor-completions', 'zsh/site-functions'))
      .map((path) => path.replace('README.Debian', 'README'));
    const owned = [
      '/etc/snoopy/snoopy.yaml',
      '/usr/libexec/snoopy-evpn/snoopy.cjs.cache',
      '/usr/share/licenses/snoopy-evpn/LICENSE',
    ];
    const lines = query(
      packages.rpm,
      '--queryformat',
      '[%{FILEMODES:perms} %{FILEUSERNAME}/%{FILEGROUPNAME} %{FILENAMES}\n]',
    );
    const files = lines.filter((line) => !line.startsWith('d')).map((line) => line.split(' ')[2] ?? '');
    assert.deepEqual(files.sort(), [...expected, ...owned].sort());
    for (const line of lines) assert.match(line, / root\/root /);
    // RPMFILE_CONFIG and RPMFILE_NOREPLACE.
    const kept = query(packages.rpm, '--queryformat', '[%{FILEFLAGS} %{FILENAMES}\n]').filter((line) =>
      line.startsWith('17 '),
    );
    assert.deepEqual(kept, ['17 /etc/iproute2/rt_protos.d/snoopy.conf', '17 /etc/snoopy/snoopy.yaml']);
  });

  deepTest('has nothing that rpmlint reports without an explanation', () => {
    const config = `${ROOT}packaging/rpm/rpmlint.toml`;
    const argv = ['rpmlint', '--config', config, packages.x86_64, packages.aarch64];
    const { code, stdout } = tryRun(argv, { timeoutMs: 120_000 });
    assert.match(stdout, /2 packages and 0 specfiles checked; 0 errors, 0 warnings/);
    assert.equal(code, 0);
    const lines = readFileSync(config, 'utf8').split('\n');
    const filters = lines.filter((line) => line.startsWith('  "'));
    const unexplained = filters.filter((line) => !lines[lines.indexOf(line) - 1]?.startsWith('  # '));
    assert.ok(filters.length > 0);
    assert.deepEqual(unexplained, []);
  });
});

describe('the npm tarball', () => {
  test('has koffi for both architectures, and nothing for npm to fetch or build', () => {
    // e_machine of elf(5): EM_X86_64, EM_AARCH64.
    for (const [name, machine] of [
      ['linux_x64', 62],
      ['linux_arm64', 183],
    ] as const) {
      const native = readFileSync(join(npm, `node_modules/koffi/build/koffi/${name}/koffi.node`));
      assert.equal(native.readUInt16LE(18), machine, name);
    }
    for (const path of ['package.json', 'node_modules/koffi/package.json']) {
      const manifest = JSON.parse(readFileSync(join(npm, path), 'utf8')) as Readonly<Record<string, unknown>>;
      assert.equal(manifest['scripts'], undefined, path);
      assert.equal(manifest['optionalDependencies'], undefined, path);
    }
    assert.deepEqual(readdirSync(join(npm, 'node_modules')), ['koffi']);
  });

  test('has the same files beside the program as the .deb', () => {
    for (const [ours, theirs] of [
      ['systemd/system/snoopy-reconcile.timer', 'usr/lib/systemd/system/snoopy-reconcile.timer'],
      ['bash-completion/completions/snoopy', 'usr/share/bash-completion/completions/snoopy'],
      ['zsh/site-functions/_snoopy', 'usr/share/zsh/vendor-completions/_snoopy'],
      ['fish/vendor_completions.d/snoopy.fish', 'usr/share/fish/vendor_completions.d/snoopy.fish'],
      ['iproute2/rt_protos.d/snoopy.conf', 'etc/iproute2/rt_protos.d/snoopy.conf'],
      ['snoopy-evpn/snoopy.yaml', 'usr/share/snoopy-evpn/snoopy.yaml'],
      ['snoopy-evpn/schema/snoopy.schema.json', 'usr/share/snoopy-evpn/schema/snoopy.schema.json'],
    ] as const) {
      assert.deepEqual(readFileSync(join(npm, 'share', ours)), readFileSync(join(root, theirs)), ours);
    }
    // The .deb's units run the .deb's program, whichever other program has that name.
    for (const [ours, theirs] of [
      ['systemd/system/snoopy-reconcile.service', 'usr/lib/systemd/system/snoopy-reconcile.service'],
      [
        'snoopy-evpn/prompt/snoopy-reconcile.service.d/prompt.conf',
        'usr/share/snoopy-evpn/prompt/snoopy-reconcile.service.d/prompt.conf',
      ],
    ] as const) {
      const text = readFileSync(join(root, theirs), 'utf8');
      assert.match(text, /^ExecStart=\/usr\/bin\/snoopy reconcile --quiet/m, theirs);
      const searched = text.replace('ExecStart=/usr/bin/snoopy ', 'ExecStart=snoopy ');
      assert.equal(
        readFileSync(join(npm, 'share', ours), 'utf8').replace(/^# Looked up.*\n/m, ''),
        searched,
        ours,
      );
    }
  });
});

describe('the manual pages', () => {
  const page = (name: string): string => join(npm, 'share/man', name);
  /** As a reader sees it, in one line. */
  const shown = (name: string): string => {
    const text = run(['mandoc', '-T', 'ascii', '-O', 'width=1000', page(name)]);
    // Bold and underlined letters are typed twice.
    return text.replaceAll(new RegExp(`.${String.fromCharCode(8)}`, 'g'), '').replaceAll(/\s+/g, ' ');
  };

  test('cause no warning in mandoc and groff', () => {
    for (const name of ['man8/snoopy.8', 'man5/snoopy.yaml.5']) {
      assert.equal(tryRun(['mandoc', '-T', 'lint', '-W', 'warning', page(name)]).stdout, '', name);
      assert.equal(tryRun(['groff', '-ww', '-mandoc', '-T', 'utf8', '-z', page(name)]).stderr, '', name);
    }
  });

  test('have every command, option and exit code in snoopy(8)', () => {
    const text = shown('man8/snoopy.8');
    const program = buildProgram(VERSION, () => {});
    const starts = program.commands.map((command) => {
      const words = [command.name(), ...command.registeredArguments.map((argument) => argument.name())];
      return text.indexOf(` ${words.join(' ')} ${command.description()}`);
    });
    for (const [at, command] of program.commands.entries()) {
      assert.ok((starts[at] ?? -1) > 0, command.name());
      // Up to the next command: two may have options of the same name.
      const section = text.slice(starts[at], starts[at + 1]);
      for (const option of command.options) {
        assert.ok(
          section.includes(`${option.long} `) && section.includes(option.description),
          `${command.name()} ${option.flags}`,
        );
      }
      assert.match(section, new RegExp(` Example: snoopy ${command.name()}`));
    }
    for (const option of program.options)
      assert.ok(text.includes(`${option.long} `) && text.includes(option.description), option.flags);
    for (const code of [0, 1, 2, 64, 69, 75, 77, 78])
      assert.match(text, new RegExp(`EXIT STATUS.* ${code} [a-z]`));
  });

  test('have every key with its default in snoopy.yaml(5)', () => {
    const text = shown('man5/snoopy.yaml.5');
    const keys = keysOf(JSON.parse(SCHEMA_TEXT) as Node, '');
    assert.ok(keys.length > 35, `the schema is read: ${keys.length} keys`);
    for (const key of keys) assert.ok(text.includes(` ${key} `), key);
    assert.match(text, /runtime\.neighbor_protocol .* Default: `115'\./);
  });
});

interface Node {
  readonly properties?: Readonly<Record<string, Node>>;
  readonly items?: Node;
}

function keysOf(node: Node, prefix: string): string[] {
  return Object.entries(node.properties ?? {}).flatMap(([name, child]) => {
    const path = `${prefix}${name}`;
    if (path === 'defaults') return [path];
    return [
      path,
      ...keysOf(child, `${path}.`),
      ...(child.items === undefined ? [] : keysOf(child.items, `${path}[].`)),
    ];
  });
}

describe('the completions', () => {
  const bash = (line: string): string[] => {
    const words = line.split(' ');
    const script = [
      `source ${join(npm, 'share/bash-completion/completions/snoopy')}`,
      'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))',
      '_snoopy snoopy "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"',
      'printf "%s\\n" "${COMPREPLY[@]}"',
    ].join('\n');
    return run(['bash', '-euc', script, 'bash', ...words])
      .trim()
      .split('\n')
      .sort();
  };
  const fish = (line: string): string[] => {
    const script = `source ${join(npm, 'share/fish/vendor_completions.d/snoopy.fish')}; complete -C '${line}'`;
    const lines = run(['fish', '--no-config', '-c', script]).trim().split('\n');
    return lines.map((each) => each.split('\t')[0] ?? '').sort();
  };

  test('complete every command and its options in bash and fish', () => {
    const program = buildProgram(VERSION, () => {});
    const names = program.commands.map((command) => command.name());
    const common = program.options.map((option) => option.long ?? '');
    assert.deepEqual(bash('snoopy '), [...names, 'help'].sort());
    assert.deepEqual(fish('snoopy '), [...names, 'help'].sort());
    for (const command of program.commands) {
      const own = command.options.map((option) => option.long ?? '');
      for (const complete of [bash, fish]) {
        const found = complete(`snoopy ${command.name()} --`);
        assert.deepEqual(found, [...common, '--help', ...own].sort(), command.name());
      }
    }
  });

  test('complete values in bash and fish: choices and files', () => {
    const dir = createTempDir(scope, 'files');
    writeFileSync(join(dir, 'node.yaml'), '');
    for (const complete of [bash, fish]) {
      assert.deepEqual(complete('snoopy status --format '), ['json', 'text']);
      assert.deepEqual(complete(`snoopy --config ${dir}/no`), [`${dir}/node.yaml`]);
      assert.deepEqual(complete('snoopy rem'), ['remove']);
    }
  });

  deepTest('work in a terminal in zsh', () => {
    // zpty: a terminal for an interactive zsh, which lists its completions.
    const script = [
      'zmodload zsh/zpty; zpty z zsh -f -i',
      `zpty -w z "PS1=; fpath=(${join(npm, 'share/zsh/site-functions')} \\$fpath); autoload -U compinit; compinit -u -D"`,
      "zpty -w z \"zstyle ':completion:*' list-prompt ''; LISTMAX=1000; stty columns 200; echo rea''dy\"",
      'zpty -r -m z line "*ready*"',
      'zpty -w -n z "$1"$\'\\t\\t\'',
      'for i in {1..30}; do sleep 0.05; zpty -r -t z line && print -rn -- "$line"; done',
      'exit 0',
    ].join('\n');
    const zsh = (line: string): string => run(['zsh', '-f', '-c', script, 'zsh', line]);
    assert.match(zsh('snoopy re'), /reconcile[\s\S]*remove|remove[\s\S]*reconcile/);
    assert.match(zsh('snoopy reconcile --de'), /--detailed-exitcode/);
    assert.match(zsh('snoopy status --format j'), /json/);
  });
});
