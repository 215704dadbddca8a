// Debian's kernels for the guest: downloaded and unpacked below dist/guest, never installed, kept for later runs.
import {
  chmodSync,
  copyFileSync,
  existsSync,
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

/** Kernels by name, and Debian 12's package that depends on the newest build of each. */
const PACKAGES: ReadonlyMap<string, string> = new Map([
  ['6.1', 'linux-image-amd64'],
  ['6.12', 'linux-image-6.12-amd64'],
]);

export const KERNELS: readonly string[] = [...PACKAGES.keys()];

/** Modules that the guest's first process needs to read the host's files; modprobe adds their dependencies. */
const EARLY_MODULES = ['virtio_pci', 'virtio_console', '9p', '9pnet_virtio', 'overlay'];

export interface Kernel {
  readonly image: string;
  readonly initramfs: string;
  /** The source of /lib/modules in the guest. */
  readonly modules: string;
}

/** The kernel with that name, from the cache or from Debian. */
export function fetchKernel(name: string): Kernel {
  const meta = PACKAGES.get(name);
  if (meta === undefined) throw new RangeError(`No kernel ${name}; there are ${KERNELS.join(' and ')}`);
  const dir = join(CACHE, name);
  if (!existsSync(dir)) {
    const unfinished = `${dir}.${process.pid}`;
    try {
      unpackKernel(meta, unfinished);
      renameSync(unfinished, dir);
    } finally {
      rmSync(unfinished, { recursive: true, force: true });
    }
  }
  return {
    image: join(dir, 'vmlinuz'),
    initramfs: buildInitramfs(dir),
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
  const release = releaseIn(dir);
  renameSync(join(dir, 'boot', `vmlinuz-${release}`), join(dir, 'vmlinuz'));
  run(['depmod', '--basedir', dir, release]);
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
function buildInitramfs(dir: string): string {
  const content = join(dir, 'initramfs');
  const archive = join(dir, 'initramfs.cpio');
  rmSync(content, { recursive: true, force: true });
  for (const path of ['bin', 'modules', 'dev', 'proc', 'sys']) {
    mkdirSync(join(content, path), { recursive: true });
  }
  copyFileSync('/bin/busybox', join(content, 'bin/busybox'));
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
