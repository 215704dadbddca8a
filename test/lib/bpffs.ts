// A BPF file system of the test's own: the host's is never used.
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './run.ts';
import type { Scope } from './scope.ts';
import { createTempDir } from './temp.ts';

/** Mounts a private bpffs and returns its mount point; unmounted when the scope is closed. */
export function mountBpffs(scope: Scope): string {
  const dir = join(createTempDir(scope, 'bpffs'), 'bpf');
  mkdirSync(dir);
  run(['mount', '-t', 'bpf', 'bpf', dir]);
  return dir;
}

/** Everything pinned below a bpffs, as sorted relative paths, directories included. */
export function listPins(bpffs: string): string[] {
  const all = readdirSync(bpffs, { recursive: true, encoding: 'utf8' });
  // The kernel puts these two into the root of every bpffs that is mounted with its iterators.
  return all.filter((path) => path !== 'maps.debug' && path !== 'progs.debug').sort();
}
