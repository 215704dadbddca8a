// Debian's kernels for the guest: downloaded and unpacked below dist/guest, never installed, kept for later runs. Those of
// arm64 come with the root of that architecture, which test/setup.sh makes.
import {
  chmodSync,
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run, tryRun } from '../lib/run.ts';

const PROJECT = fileURLToPath(new URL('../../../', import.meta.url));
const CACHE = join(PROJECT, 'dist/guest');

const ARM64_ROOT = join(PROJECT, 'dist/roots/arm64');

/** Where a kernel comes from: Debian 12's package that depends on its newest build, or the kernels of the arm64 root. */
type Source =
  | { readonly machine: 'x86_64'; readonly meta: string }
  | { readonly machine: 'aarch64'; readonly release: RegExp };

/** Kernels by name. Debian 13's of arm64, 6.12, have pages of 4 KiB or 16 KiB. */
const SOURCES: ReadonlyMap<string, Source> = new Map([
  ['6.1', { machine: 'x86_64', meta: 'linux-image-amd64' }],
  ['6.12', { machine: 'x86_64', meta: 'linux-image-6.12-amd64' }],
  ['arm64', { machine: 'aarch64', release: /-arm64$/ }],
  ['arm64-16k', { machine: 'aarch64', release: /-arm64-16k$/ }],
]);

export const KERNELS: readonly string[] = [...SOURCES.keys()];

/** Modules that the guest's first process needs to read the host's files; modprobe adds their dependencies. */
const EARLY_MODULES = ['virtio_pci', 'virtio_console', '9p', '9pnet_virtio', 'overlay'];

export interface Kernel {
  readonly machine: Source['machine'];
  /** The root directory of the guest: this host's own, or one of its architecture. */
  readonly root: string;
  readonly image: string;
  readonly initramfs: string;
  /** The source of /lib/modules in the guest. */
  readonly modules: string;
}

/** The kernel with that name, from the cache or from Debian. */
export function fetchKernel(name: string): Kernel {
  const source = SOURCES.get(name);
  if (source === undefined) throw new RangeError(`No kernel ${name}; there are ${KERNELS.join(' and ')}`);
  const dir = join(CACHE, name);
  if (!existsSync(dir)) {
    const unfinished = `${dir}.${process.pid}`;
    try {
      if (source.machine === 'x86_64') unpackKernel(source.meta, unfinished);
      else linkKernel(source.release, unfinished);
      run(['depmod', '--basedir', unfinished, releaseIn(unfinished)]);
      renameSync(unfinished, dir);
    } finally {
      rmSync(unfinished, { recursive: true, force: true });
    }
  }
  const root = source.machine === 'x86_64' ? '/' : ARM64_ROOT;
  return {
    machine: source.machine,
    root,
    image: join(dir, 'vmlinuz'),
    initramfs: buildInitramfs(dir, root),
    modules: join(dir, 'lib/modules'),
  };
}

function unpackKernel(meta: string, dir: string): void {
  mkdirSync(dir, { recursive: true });
  const image = newestBuild(meta);
  console.log(`guest: fetching ${image}`);
  // As root: apt's own user may not write here.
  run(['env', '-C', dir, 'apt-get', '-qq', '-o', 'APT::Sandbox::User=root', 'download', image], {
    timeoutMs: 600_000,
  });
  const archive = readdirSync(dir).find((file) => file.endsWith('.deb'));
  if (archive === undefined) throw new Error(`apt-get download ${image} brought no package`);
  run(['dpkg-deb', '--extract', join(dir, archive), dir], { timeoutMs: 600_000 });
  rmSync(join(dir, archive));
  renameSync(join(dir, 'boot', `vmlinuz-${releaseIn(dir)}`), join(dir, 'vmlinuz'));
}

/** Takes a kernel from the arm64 root: by hard links, because each has a directory of its own with its modules alone. */
function linkKernel(release: RegExp, dir: string): void {
  const modules = join(ARM64_ROOT, 'usr/lib/modules');
  const name = existsSync(modules) ? readdirSync(modules).find((file) => release.test(file)) : undefined;
  if (name === undefined) throw new Error(`${modules} has no kernel ${release}: run \`bash test/setup.sh\``);
  mkdirSync(join(dir, 'lib/modules'), { recursive: true });
  run(['cp', '--archive', '--link', join(modules, name), join(dir, 'lib/modules')]);
  linkSync(join(ARM64_ROOT, 'boot', `vmlinuz-${name}`), join(dir, 'vmlinuz'));
}

function newestBuild(meta: string): string {
  const find = (): string | undefined =>
    /Depends: (linux-image-\S+)/.exec(tryRun(['apt-cache', 'depends', meta]).stdout)?.[1];
  let image = find();
  if (image === undefined) {
    run(['apt-get', 'update', '-qq'], { timeoutMs: 600_000 });
    image = find();
  }
  if (image === undefined) throw new Error(`apt knows no package ${meta}: is this Debian 12?`);
  return image;
}

function releaseIn(dir: string): string {
  const release = readdirSync(join(dir, 'lib/modules'))[0];
  if (release === undefined) throw new Error(`${dir} has no modules`);
  return release;
}

/** Written for each run: it contains the current test/guest/init.sh. */
function buildInitramfs(dir: string, root: string): string {
  const content = join(dir, 'initramfs');
  const archive = join(dir, 'initramfs.cpio');
  rmSync(content, { recursive: true, force: true });
  for (const path of ['bin', 'modules', 'dev', 'proc', 'sys']) {
    mkdirSync(join(content, path), { recursive: true });
  }
  copyFileSync(join(root, 'bin/busybox'), join(content, 'bin/busybox'));
  symlinkSync('busybox', join(content, 'bin/sh'));
  copyFileSync(join(PROJECT, 'test/guest/init.sh'), join(content, 'init'));
  chmodSync(join(content, 'init'), 0o755);
  for (const [order, file] of modulesInOrder(dir).entries()) {
    const target = join(content, 'modules', `${String(order).padStart(2, '0')}-${basename(file, '.xz')}`);
    if (file.endsWith('.xz')) run(['sh', '-c', 'xz --decompress --stdout "$0" >"$1"', file, target]);
    else copyFileSync(file, target);
  }
  run(['sh', '-ec', 'cd "$0" && find . | busybox cpio -o -H newc >"$1" 2>/dev/null', content, archive]);
  return archive;
}

/** Files of the early modules and their dependencies, each after those it depends on. */
function modulesInOrder(dir: string): string[] {
  const options = ['--dirname', dir, '--set-version', releaseIn(dir), '--show-depends', '--all'];
  const shown = run(['modprobe', ...options, ...EARLY_MODULES]);
  return [...new Set([...shown.matchAll(/^insmod (\S+)/gm)].map((match) => match[1] ?? ''))];
}
