// Names and directories that contain the process that made them, so that those of a killed run can be deleted.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spawnApart } from './apart.ts';
import type { Scope } from './scope.ts';

const PREFIX = 'snp';

let count = 0;

/** A name of this process that no other has: `snp-<pid>-<number>-<role>`. */
export function uniqueName(role: string): string {
  count += 1;
  return `${PREFIX}-${process.pid}-${count}-${role}`;
}

/** True for a name whose process has ended without deleting it. */
export function isStale(name: string): boolean {
  const pid = /^snp-(\d+)-\d+-/.exec(name)?.[1];
  return pid !== undefined && !existsSync(`/proc/${pid}`);
}

/** A directory that is deleted when the scope is closed. */
export function createTempDir(scope: Scope, role: string): string {
  sweepTempDirs();
  const dir = join(tmpdir(), uniqueName(role));
  mkdirSync(dir, { mode: 0o755 });
  scope.defer(() => removeTempDir(dir));
  return dir;
}

let swept = false;

function sweepTempDirs(): void {
  if (swept) return;
  swept = true;
  for (const name of readdirSync(tmpdir())) {
    if (!isStale(name)) continue;
    try {
      removeTempDir(join(tmpdir(), name));
    } catch {
      // Another test process may delete it at the same time; only its end matters.
    }
  }
}

/** Unmounts everything below, then deletes: a bpffs would live on without its directory. */
function removeTempDir(dir: string): void {
  const mounts = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((target) => target === dir || target.startsWith(`${dir}/`));
  for (const target of mounts.reverse()) {
    const { status, stderr } = spawnApart(['umount', target]);
    if (status !== 0) throw new Error(`Cannot unmount ${target}: ${stderr.trim()}`);
  }
  rmSync(dir, { recursive: true, force: true });
}
