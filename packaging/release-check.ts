// `npm run release:check`: what must be true of a release. Versions agree; packages are reproducible, list the licenses of
// what is in them, and are installed without a network.

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';
import { VERSION } from '../src/generated/version.ts';
import { readTexts, unreleased, versionProblems } from './release.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** A command that runs without a network, where root may take it away. */
const WITHOUT_NETWORK = process.getuid?.() === 0 ? ['unshare', '--net'] : [];

/** The packages of a release, by their names in build.ts. */
const ALL = ['npm', 'amd64', 'arm64', 'x86_64', 'aarch64'];

/** The program and koffi in each kind of package for this machine, and the file with the licenses. */
const LAYOUTS = [
  { suffix: '.tgz', unpack: 'tar -xzf "$0"', program: 'package/dist', share: 'package/share' },
  {
    suffix: process.arch === 'arm64' ? '_arm64.deb' : '_amd64.deb',
    unpack: 'dpkg-deb --extract "$0" .',
    program: 'usr/lib/snoopy-evpn',
    share: 'usr/share',
  },
  {
    suffix: process.arch === 'arm64' ? '.aarch64.rpm' : '.x86_64.rpm',
    unpack: 'rpm2cpio "$0" | cpio --extract --make-directories --quiet',
    program: 'usr/libexec/snoopy-evpn',
    share: 'usr/share',
  },
];

const scratch = mkdtempSync(join(tmpdir(), 'snoopy-release-'));
process.on('exit', () => rmSync(scratch, { recursive: true }));
const PACKAGES = join(scratch, 'packages');

check('all files agree on the versions, and the changelog has no unreleased lines', () => [
  ...versionProblems(readTexts(ROOT)),
  ...unreleased(readFileSync(join(ROOT, 'CHANGELOG.md'), 'utf8'))
    .slice(0, 1)
    .map((line) => `Unreleased begins with: ${line}`),
]);

check('two builds have the same digests', () => {
  const again = join(scratch, 'again');
  build(PACKAGES, '022', 'UTC');
  build(again, '077', 'Pacific/Auckland');
  const [first, second] = [digests(PACKAGES), digests(again)];
  for (const [name, digest] of first) console.log(`      ${digest}  ${name}`);
  return [...first]
    .filter(([name, digest]) => second.get(name) !== digest)
    .map(([name]) => `${name} differs`);
});

check('each package lists the license of everything in it', () =>
  LAYOUTS.flatMap((layout) => {
    const text = readFileSync(join(unpacked(layout), layout.share, 'doc/snoopy-evpn/copyright'), 'utf8');
    // In the bundle, by the holders of the copyright; beside it, by the directory.
    const isListed = (name: string): boolean =>
      text.includes(`(${name})`) || text.includes(`node_modules/${name}/`);
    const missing = [...bundled(), 'koffi'].filter((name) => !isListed(name));
    return missing.map((name) => `*${layout.suffix} lacks ${name}`);
  }),
);

check('each package has all that its program loads', () =>
  LAYOUTS.flatMap((layout) => {
    const directory = join(unpacked(layout), layout.program);
    const version = run([process.execPath, join(directory, 'snoopy.cjs'), '--version']).trim();
    const load = `typeof require('node:module').createRequire('${directory}/')('koffi').load`;
    const loaded = run([process.execPath, '--print', load]).trim();
    return [
      ...(version === VERSION ? [] : [`*${layout.suffix} has the program of version ${version}`]),
      ...(loaded === 'function' ? [] : [`*${layout.suffix} has no koffi for this machine`]),
    ];
  }),
);

check('npm installs the tarball without a network and with an empty cache', () => {
  const prefix = join(scratch, 'prefix');
  const options = ['--global', '--offline', '--no-audit', '--no-fund', '--cache', join(scratch, 'cache')];
  const tarball = join(PACKAGES, nameOf('.tgz'));
  run([...WITHOUT_NETWORK, 'npm', 'install', ...options, '--prefix', prefix, tarball]);
  const version = run([join(prefix, 'bin/snoopy'), '--version']).trim();
  return version === VERSION ? [] : [`the installed program has version ${version}`];
});

function build(output: string, umask: string, zone: string): void {
  const argv = [process.execPath, join(ROOT, 'dist/packaging/build.js'), VERSION, output, ...ALL];
  run(['sh', '-ec', 'umask "$0"; exec "$@"', umask, ...argv], { TZ: zone });
}

function digests(directory: string): ReadonlyMap<string, string> {
  const digest = (name: string): string =>
    createHash('sha256')
      .update(readFileSync(join(directory, name)))
      .digest('hex');
  return new Map(readdirSync(directory).map((name) => [name, digest(name)]));
}

/** The package with a suffix. */
function nameOf(suffix: string): string {
  const name = readdirSync(PACKAGES).find((each) => each.endsWith(suffix));
  if (name === undefined) throw new Error(`there is no *${suffix}`);
  return name;
}

/** The tree of a package. */
function unpacked({ suffix, unpack }: (typeof LAYOUTS)[number]): string {
  const tree = join(scratch, `tree${suffix}`);
  if (existsSync(tree)) return tree;
  mkdirSync(tree);
  const script = `cd "$1" && ${unpack}`;
  run(['bash', '-o', 'pipefail', '-ec', script, join(PACKAGES, nameOf(suffix)), tree]);
  return tree;
}

/** The packages in the bundle, by esbuild's own account. */
function bundled(): string[] {
  const { metafile } = buildSync({
    entryPoints: [join(ROOT, 'dist/src/main.js')],
    bundle: true,
    platform: 'node',
    external: ['koffi'],
    metafile: true,
    write: false,
    logLevel: 'error',
  });
  const names = Object.keys(metafile.inputs).map(
    (path) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1],
  );
  return [...new Set(names.filter((name) => name !== undefined))];
}

/** Prints a claim and what contradicts it. */
function check(claim: string, problems: () => readonly string[]): void {
  let lines: readonly string[];
  try {
    lines = problems();
  } catch (thrown) {
    lines = [thrown instanceof Error ? thrown.message : String(thrown)];
  }
  console.log(`${lines.length === 0 ? 'ok  ' : 'FAIL'}  ${claim}`);
  for (const line of lines) console.log(`      ${line}`);
  if (lines.length > 0) process.exitCode = 1;
}

function run(
  [file = '', ...args]: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): string {
  const env = { ...process.env, ...environment };
  const { error, status, stdout, stderr } = spawnSync(file, args, { cwd: ROOT, env, encoding: 'utf8' });
  if (error !== undefined) throw new Error(`Cannot run ${file}: ${error.message}`);
  if (status !== 0) throw new Error(`${[file, ...args].join(' ')} ended with ${status}: ${stderr || stdout}`);
  return stdout;
}
