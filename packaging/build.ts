// Builds the packages in dist/packages: a self-contained npm tarball, and for each architecture a .deb and an RPM. The same
// sources give the same bytes: every time stamp is that of the last commit.

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  cpSync,
  existsSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { buildProgram } from '../src/cli.ts';
import { SCHEMA_TEXT } from '../src/generated/schema.ts';
import { VERSION } from '../src/generated/version.ts';
import { factsOf } from './commands.ts';
import { bashCompletion, fishCompletion, zshCompletion } from './completions.ts';
import { copyrightText } from './copyright.ts';
import type { Schema } from './keys.ts';
import { configPage, programPage } from './man.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const SOURCES = join(ROOT, 'packaging');
const NAME = 'snoopy-evpn';

/** Architectures, by their names in Node, in Debian and in rpm. */
const ARCHITECTURES = [
  { node: 'x64', debian: 'amd64', rpm: 'x86_64' },
  { node: 'arm64', debian: 'arm64', rpm: 'aarch64' },
] as const;
type Architecture = (typeof ARCHITECTURES)[number];

/** The files of koffi beside its native part, which is in build/koffi. */
const KOFFI_FILES = ['LICENSE.txt', 'index.cjs', 'src/koffi/index.cjs', 'src/koffi/src/static.cjs'];

interface Manifest {
  readonly version: string;
  readonly description: string;
  readonly license: string;
  readonly author: string;
  readonly bin: Readonly<Record<string, string>>;
  readonly engines: Readonly<Record<string, string>>;
}

const manifest = readManifest(join(ROOT, 'package.json'));

/** Stages a package in a directory of its own and builds it in another; returns its path. */
type Builder = (version: string, stage: string, output: string) => string;

/** The packages, by the name of their architecture. */
const BUILDERS: ReadonlyMap<string, Builder> = new Map<string, Builder>([
  ['npm', buildTarball],
  ...ARCHITECTURES.flatMap((architecture): [string, Builder][] => [
    [architecture.debian, (...places) => buildDeb(architecture, ...places)],
    [architecture.rpm, (...places) => buildRpm(architecture, ...places)],
  ]),
]);

/** Builds packages of `version` into `output`. */
function build(version: string, output: string, names: readonly string[]): void {
  const stage = join(output, 'stage');
  rmSync(stage, { recursive: true, force: true });
  mkdirSync(output, { recursive: true });
  const made = names.map((name) => {
    const builder = BUILDERS.get(name);
    if (builder === undefined)
      throw new Error(`There is no package ${name}: name some of ${[...BUILDERS.keys()].join(', ')}`);
    return builder(version, join(stage, name), output);
  });
  rmSync(stage, { recursive: true });
  for (const path of made) {
    const digest = createHash('sha256').update(readFileSync(path)).digest('hex');
    console.log(`${digest}  ${relative(process.cwd(), path)}`);
  }
}

/** Everything but the program, as a tree for /usr/share. */
function stageShare(share: string): void {
  const program = factsOf(buildProgram(version, () => {}));
  const schema = JSON.parse(SCHEMA_TEXT) as Schema;
  write(join(share, 'man/man8/snoopy.8'), programPage(program, epoch()));
  write(join(share, 'man/man5/snoopy.yaml.5'), configPage(schema, epoch()));
  write(join(share, 'bash-completion/completions/snoopy'), bashCompletion(program));
  write(join(share, 'zsh/site-functions/_snoopy'), zshCompletion(program));
  write(join(share, 'fish/vendor_completions.d/snoopy.fish'), fishCompletion(program));
  copy(join(SOURCES, 'systemd'), join(share, 'systemd/system'));
  copy(join(SOURCES, 'rt_protos.conf'), join(share, 'iproute2/rt_protos.d/snoopy.conf'));
  copy(join(SOURCES, 'snoopy.yaml'), join(share, NAME, 'snoopy.yaml'));
  copy(join(ROOT, 'schema/snoopy.schema.json'), join(share, NAME, 'schema/snoopy.schema.json'));
  copy(join(ROOT, 'schema/report.schema.json'), join(share, NAME, 'schema/report.schema.json'));
  for (const name of ['alerts.yml', 'dashboard.json']) {
    copy(join(ROOT, 'docs/monitoring', name), join(share, NAME, 'monitoring', name));
  }
  for (const unit of ['snoopy-reconcile.service', 'snoopy-reconcile.timer']) {
    copy(join(SOURCES, 'prompt', unit), join(share, NAME, 'prompt', `${unit}.d/prompt.conf`));
  }
  write(join(share, 'doc', NAME, 'copyright'), copyrightText(ROOT));
}

/** koffi without a compiler and without other packages: it loads its native part from build/koffi. */
function stageKoffi(directory: string, architectures: readonly string[]): void {
  const source = join(ROOT, 'node_modules/koffi');
  for (const file of KOFFI_FILES) copy(join(source, file), join(directory, file));
  const { name, version, description, license, homepage, main } = JSON.parse(
    readFileSync(join(source, 'package.json'), 'utf8'),
  ) as Readonly<Record<string, string>>;
  writeJson(join(directory, 'package.json'), { name, version, description, license, homepage, main });
  for (const architecture of architectures) {
    const file = `linux_${architecture}/koffi.node`;
    copy(join(nativeKoffi(architecture), file), join(directory, 'build/koffi', file));
  }
}

/** The output of bundle.mjs: the program, its launcher, and the script that compiles it at installation. */
const PROGRAMS = ['snoopy.cjs', 'start.cjs', 'precompile.cjs'];

/** The npm tarball. */
function buildTarball(version: string, stage: string, output: string): string {
  const path = join(output, `${NAME}-${version}.tgz`);
  for (const name of PROGRAMS) copy(join(ROOT, 'dist', name), join(stage, 'dist', name));
  for (const name of ['README.md', 'CHANGELOG.md', 'LICENSE']) copy(join(ROOT, name), join(stage, name));
  stageShare(join(stage, 'share'));
  stageKoffi(
    join(stage, 'node_modules/koffi'),
    ARCHITECTURES.map(({ node }) => node),
  );
  const { description, license, author, bin, engines } = manifest;
  const koffi = readManifest(join(stage, 'node_modules/koffi/package.json')).version;
  writeJson(join(stage, 'package.json'), {
    name: NAME,
    version,
    description,
    license,
    author,
    bin,
    man: ['share/man/man5/snoopy.yaml.5', 'share/man/man8/snoopy.8'],
    engines,
    os: ['linux'],
    cpu: ARCHITECTURES.map(({ node }) => node),
    dependencies: { koffi },
    bundleDependencies: ['koffi'],
  });
  makeReproducible(stage);
  run('npm', ['pack', '--silent', '--ignore-scripts', '--offline', '--pack-destination', output], stage);
  return path;
}

/** The tree of a package that installs below `/`: the program below `programs`, everything else below usr/share and etc. */
function stageSystem(stage: string, programs: string, architecture: Architecture): void {
  const share = join(stage, 'usr/share');
  const lib = join(stage, programs);
  for (const name of PROGRAMS) {
    const source = join(ROOT, 'dist', name);
    // By absolute path: `env node` may find another one. The options stay: V8 rejects code compiled with others.
    const program = readFileSync(source, 'utf8').replace(
      /^#!\/usr\/bin\/env (?:-S )?node/,
      '#!/usr/bin/node',
    );
    write(join(lib, name), program, statSync(source).mode & 0o777);
  }
  copy(join(SOURCES, 'remove-all'), join(lib, 'remove-all'));
  stageKoffi(join(lib, 'node_modules/koffi'), [architecture.node]);
  rmSync(join(lib, 'node_modules/koffi/LICENSE.txt')); // in usr/share/doc/snoopy-evpn/copyright
  mkdirSync(join(stage, 'usr/bin'));
  symlinkSync(relative('usr/bin', join(programs, 'start.cjs')), join(stage, 'usr/bin/snoopy'));
  stageShare(share);
  // By absolute path too: a program in /usr/local/bin, from a tarball, must not run instead.
  const service = 'snoopy-reconcile.service';
  for (const unit of [join('systemd/system', service), join(NAME, 'prompt', `${service}.d/prompt.conf`)]) {
    const text = readFileSync(join(share, unit), 'utf8');
    write(
      join(share, unit),
      text.replace(/^(?:# Looked up.*\n)?ExecStart=snoopy /m, 'ExecStart=/usr/bin/snoopy '),
    );
  }
  move(join(share, 'systemd/system'), join(stage, 'usr/lib/systemd/system'));
  move(join(share, 'iproute2/rt_protos.d'), join(stage, 'etc/iproute2/rt_protos.d'));
  for (const page of ['man5/snoopy.yaml.5', 'man8/snoopy.8']) compress(join(share, 'man', page));
  const doc = join(share, 'doc', NAME);
  copy(join(ROOT, 'CHANGELOG.md'), join(doc, 'CHANGELOG.md'));
  compress(join(doc, 'CHANGELOG.md'));
}

/** A Debian package. */
function buildDeb(architecture: Architecture, version: string, stage: string, output: string): string {
  const path = join(output, `${NAME}_${version}_${architecture.debian}.deb`);
  stageSystem(stage, `usr/lib/${NAME}`, architecture);
  const share = join(stage, 'usr/share');
  move(join(share, 'zsh/site-functions'), join(share, 'zsh/vendor-completions'));
  const doc = join(share, 'doc', NAME);
  copy(join(SOURCES, 'README'), join(doc, 'README.Debian'));
  write(join(doc, 'changelog'), debianChangelog(version));
  compress(join(doc, 'changelog'));
  copy(join(SOURCES, 'debian/lintian-overrides'), join(share, 'lintian/overrides', NAME));

  const files = listFiles(stage);
  const control = join(stage, 'DEBIAN');
  write(join(control, 'control'), controlText(version, architecture.debian, installedSize(files)));
  const conffiles = files.map((file) => relative(stage, file)).filter((name) => name.startsWith('etc/'));
  write(join(control, 'conffiles'), conffiles.map((name) => `/${name}\n`).join(''));
  write(join(control, 'md5sums'), files.map((file) => `${md5(file)}  ${relative(stage, file)}\n`).join(''));
  // Compiled code is valid for one version of Node.
  write(join(control, 'triggers'), 'interest-noawait /usr/bin/node\n');
  for (const script of ['postinst', 'prerm', 'postrm']) {
    write(join(control, script), readFileSync(join(SOURCES, 'debian', script), 'utf8'), 0o755);
  }
  makeReproducible(stage);
  run('dpkg-deb', ['--root-owner-group', '-Zxz', '--threads-max=1', '--build', stage, path]);
  return path;
}

/** An RPM for Enterprise Linux 9. */
function buildRpm(architecture: Architecture, version: string, stage: string, output: string): string {
  const tree = join(stage, 'tree');
  // SELinux lets systemd start what is below libexec as a service of its own.
  stageSystem(tree, `usr/libexec/${NAME}`, architecture);
  copy(join(tree, 'usr/share', NAME, 'snoopy.yaml'), join(tree, 'etc/snoopy/snoopy.yaml'));
  copy(join(SOURCES, 'README'), join(tree, 'usr/share/doc', NAME, 'README'));
  copy(join(ROOT, 'LICENSE'), join(tree, 'usr/share/licenses', NAME, 'LICENSE'));
  makeReproducible(tree);
  const [day = '', date = '', month = '', year = ''] = epoch().toUTCString().split(/,? /);
  const defines = {
    _topdir: join(stage, 'rpmbuild'),
    _rpmdir: stage,
    stage: tree,
    package_version: version,
    changelog_date: `${day} ${month} ${date} ${year}`,
  };
  run('rpmbuild', [
    '-bb',
    `--target=${architecture.rpm}-redhat-linux`,
    ...Object.entries(defines).flatMap(([name, value]) => ['--define', `${name} ${value}`]),
    join(SOURCES, 'rpm', `${NAME}.spec`),
  ]);
  const name = `${NAME}-${version}-1.el9.${architecture.rpm}.rpm`;
  renameSync(join(stage, architecture.rpm, name), join(output, name));
  return join(output, name);
}

function controlText(version: string, architecture: string, installedKiB: number): string {
  return [
    `Package: ${NAME}`,
    `Version: ${version}`,
    `Architecture: ${architecture}`,
    `Maintainer: ${manifest.author}`,
    `Installed-Size: ${installedKiB}`,
    // passwd has groupadd, for the postinst. The last three are for the native part of koffi; Node depends on them anyway.
    'Depends: nodejs (>= 18.19), libbpf1 (>= 1:1.1), passwd, libc6 (>= 2.34), libgcc-s1, libstdc++6',
    'Recommends: iproute2',
    'Suggests: frr, prometheus-node-exporter',
    'Section: net',
    'Priority: optional',
    'Description: neighbors of VMs and containers for EVPN',
    ' On an EVPN-VXLAN hypervisor or leaf, FRR advertises a MAC/IP route only for a',
    ' neighbor that it finds on the bridge. Traffic between VMs of one subnet creates',
    ' none. A small eBPF program on the local ports watches ARP and Neighbor',
    ' Discovery. snoopy turns what it saw into bridge neighbors, with a command that',
    ' runs and exits: from a timer, from cron or from a provisioning pipeline.',
    '',
  ].join('\n');
}

function debianChangelog(version: string): string {
  const date = epoch().toUTCString().replace('GMT', '+0000');
  const lines = [
    `${NAME} (${version}) unstable; urgency=medium`,
    '',
    '  * See CHANGELOG.md.gz in this directory.',
  ];
  return [...lines, '', ` -- ${manifest.author}  ${date}`, ''].join('\n');
}

/** koffi's native part from its npm package; fetched once, and checked against package-lock.json. */
function nativeKoffi(architecture: string): string {
  const name = `@koromix/koffi-linux-${architecture}`;
  const lock = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')) as {
    readonly packages: Readonly<Record<string, { readonly version: string; readonly integrity: string }>>;
  };
  const locked = lock.packages[`node_modules/${name}`];
  if (locked === undefined) throw new Error(`package-lock.json has no ${name}`);
  const directory = join(ROOT, 'dist/native', `${architecture}-${locked.version}`);
  if (existsSync(directory)) return directory;
  const fetched = `${directory}.${process.pid}`;
  mkdirSync(fetched, { recursive: true });
  run('npm', [
    'pack',
    '--silent',
    '--prefer-offline',
    '--pack-destination',
    fetched,
    `${name}@${locked.version}`,
  ]);
  const [tarball = ''] = readdirSync(fetched);
  const digest = createHash('sha512')
    .update(readFileSync(join(fetched, tarball)))
    .digest('base64');
  if (locked.integrity !== `sha512-${digest}`) {
    throw new Error(`${name}@${locked.version} does not match package-lock.json: ${locked.integrity}`);
  }
  run('tar', ['-xzf', tarball, '--strip-components=1'], fetched);
  try {
    renameSync(fetched, directory);
  } catch (thrown) {
    // Another build was faster.
    if (!existsSync(directory)) throw thrown;
    rmSync(fetched, { recursive: true });
  }
  return directory;
}

/** The time stamp that npm gives to every file in a tarball. */
const NPM_EPOCH = 499_162_500;

let epochSeconds: number | undefined;

/** SOURCE_DATE_EPOCH, else the time of the last commit, else npm's own time stamp. */
function epoch(): Date {
  epochSeconds ??= Number(process.env['SOURCE_DATE_EPOCH'] ?? timeOfCommit() ?? NPM_EPOCH);
  return new Date(epochSeconds * 1000);
}

function timeOfCommit(): string | undefined {
  // The build may run as root in another user's checkout.
  const argv = ['-c', 'safe.directory=*', 'log', '-1', '--format=%ct'];
  const { status, stdout } = spawnSync('git', argv, { cwd: ROOT, encoding: 'utf8' });
  return status === 0 ? stdout : undefined;
}

/** Gives everything below a directory modes that do not depend on the umask, and one time stamp. */
function makeReproducible(directory: string): void {
  const names = readdirSync(directory, { recursive: true, withFileTypes: true });
  for (const entry of names) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isDirectory()) chmodSync(path, 0o755);
    else if (entry.isFile()) chmodSync(path, (statSync(path).mode & 0o100) === 0 ? 0o644 : 0o755);
    lutimesSync(path, epoch(), epoch());
  }
  chmodSync(directory, 0o755);
  lutimesSync(directory, epoch(), epoch());
}

function listFiles(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

/** In KiB, each file rounded up, as dpkg-gencontrol counts. */
function installedSize(files: readonly string[]): number {
  return files.reduce((sum, file) => sum + Math.ceil(statSync(file).size / 1024), 0);
}

function md5(file: string): string {
  return createHash('md5').update(readFileSync(file)).digest('hex');
}

function write(path: string, text: string | Uint8Array, mode = 0o644): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  chmodSync(path, mode);
}

function writeJson(path: string, value: unknown): void {
  write(path, `${JSON.stringify(value, null, 2)}\n`);
}

/** Copies a file or a directory; a native module is not executable, whatever its mode. */
function copy(from: string, to: string): void {
  cpSync(from, to, { recursive: true });
  if (to.endsWith('.node')) chmodSync(to, 0o644);
}

function move(from: string, to: string): void {
  mkdirSync(dirname(to), { recursive: true });
  renameSync(from, to);
  if (readdirSync(dirname(from)).length === 0) rmSync(dirname(from), { recursive: true });
}

function compress(path: string): void {
  write(`${path}.gz`, gzipSync(readFileSync(path), { level: 9 }));
  rmSync(path);
}

function readManifest(path: string): Manifest {
  return JSON.parse(readFileSync(path, 'utf8')) as Manifest;
}

function run(command: string, args: readonly string[], cwd = ROOT): string {
  const env = { ...process.env, SOURCE_DATE_EPOCH: String(epoch().getTime() / 1000) };
  const { error, status, stdout, stderr } = spawnSync(command, args, { cwd, env, encoding: 'utf8' });
  if (error !== undefined) throw new Error(`Cannot run ${command}: ${error.message}`);
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}: ${stderr || stdout}`);
  return stdout;
}

/** All that can be built here. */
function buildable(): string[] {
  const hasRpmbuild = spawnSync('rpmbuild', ['--version']).error === undefined;
  if (!hasRpmbuild) console.error('Without rpmbuild no RPM is built: Debian has it in the package rpm');
  return [...BUILDERS.keys()].filter((name) => hasRpmbuild || ARCHITECTURES.every(({ rpm }) => rpm !== name));
}

// The tests build another version, into another directory, or not all.
const [version = VERSION, output = join(ROOT, 'dist/packages'), ...names] = process.argv.slice(2);
build(version, output, names.length === 0 ? buildable() : names);
