// bpffs and our directory in it: mounted, made, locked, removed.

import {
  lstatSync,
  mkdirSync,
  readdirSync,
  rmdirSync,
  statfsSync,
  statSync,
  unlinkSync,
  utimesSync,
} from 'node:fs';
import { causeOf, errnoOf, isAbsence, type Problem, problemOf, SnoopyError } from '../base/errors.ts';
import { describeWeakness, follow, type Users } from '../base/trust.ts';
import type { Runtime } from '../core/desired.ts';
import { pinPath } from '../datapath/pins.ts';
import { mount } from '../ffi/libc.ts';
import { acquireLock, type Lock } from './lock.ts';

/** BPF_FS_MAGIC of linux/magic.h */
const BPF_FS_MAGIC = 0xcafe4a11;

/** Everything pinned lives here. */
export function pinDirectory(runtime: Runtime): string {
  return `${runtime.bpffs}/${runtime.pinDir}`;
}

/** False where there is nothing; what cannot be looked at must not be mounted over. */
export function isBpffs(path: string): boolean {
  try {
    return statfsSync(path).type === BPF_FS_MAGIC;
  } catch (thrown) {
    if (isAbsence(thrown)) return false;
    throw thrown;
  }
}

export function directoryExists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

/**
 * Mounts bpffs where it is not mounted; true when it did. Two runs at once mount it once: both lock the mount
 * point first. Throws SnoopyError `bpffs_unusable` or `not_permitted`.
 */
export function mountBpffs(runtime: Runtime, timeoutMs: number, now: () => number): boolean {
  const { bpffs } = runtime;
  if (isBpffs(bpffs)) return false;
  if (!directoryExists(bpffs)) {
    throw new SnoopyError({
      code: 'bpffs_unusable',
      object: bpffs,
      operation: `mount bpffs on "${bpffs}"`,
      cause: 'ENOENT',
      fix: 'create the directory, or correct runtime.bpffs',
    });
  }
  const lock = acquireLock(bpffs, timeoutMs, now);
  try {
    if (isBpffs(bpffs)) return false;
    mount('bpf', bpffs, 'bpf', 0, 'mode=0700', {
      operation: `mount bpffs on "${bpffs}"`,
      object: bpffs,
      code: 'bpffs_unusable',
      capability: 'CAP_SYS_ADMIN',
      fix: `mount it by hand: mount -t bpf bpf ${bpffs}`,
    });
    return true;
  } finally {
    lock.release();
  }
}

/** Makes the pin directory, readable by root alone, and locks it. Throws SnoopyError `locked` and others. */
export function lockPinDirectory(runtime: Runtime, timeoutMs: number, now: () => number, users: Users): Lock {
  return acquireLock(pinDirectory(runtime), timeoutMs, now, () => {
    makeDirectory(runtime, users);
  });
}

export interface RemovalLock extends Lock {
  /** True where nothing is pinned: the directory is there for this lock alone. */
  readonly isBlank: boolean;
}

const NO_LOCK: RemovalLock = { isBlank: true, release: () => {} };

/**
 * Locks the pin directory for a removal. Where there is none, one is made until the release: filters and neighbors may
 * be left all the same, and a run that begins meanwhile shall wait.
 */
export function lockForRemoval(
  runtime: Runtime,
  timeoutMs: number,
  now: () => number,
  users: Users,
): RemovalLock {
  const { bpffs } = runtime;
  if (!directoryExists(bpffs)) return NO_LOCK;
  // Who mounts bpffs locks the mount point.
  if (!isBpffs(bpffs)) return { isBlank: true, ...acquireLock(bpffs, timeoutMs, now) };
  const path = pinDirectory(runtime);
  const made: string[] = [];
  try {
    const lock = acquireLock(path, timeoutMs, now, () => {
      made.unshift(...makeDirectory(runtime, users));
    });
    const release = (): void => {
      for (const each of made) removeIfEmpty(each);
      lock.release();
    };
    return { isBlank: made.includes(path) && readdirSync(path).length === 0, release };
  } catch (thrown) {
    // Nobody else can pin anything either.
    if (errnoOf(thrown) === 'EROFS') return NO_LOCK;
    throw thrown;
  }
}

function removeIfEmpty(directory: string): void {
  try {
    rmdirSync(directory);
  } catch {
    // Somebody uses it by now, or it is gone.
  }
}

/**
 * Throws SnoopyError `pin_unusable` for a path that others may lead elsewhere, as far as it is there: their pins
 * would decide what this host advertises, and what a `remove` deletes.
 */
export function refuseWeakPath(path: string, users: Users): void {
  const { weakness } = follow(path, users);
  if (weakness === null) return;
  throw new SnoopyError({
    code: 'pin_unusable',
    object: path,
    operation: `trust the pins in "${path}"`,
    cause: describeWeakness(weakness),
    fix: weakness.fix,
  });
}

/**
 * Keeps the time of the last run that succeeded (milliseconds since the epoch): the layout record's pin has it.
 * Returns why it could not, for the run itself has done its work.
 */
export function noteSuccess(directory: string, timeMs: number): Problem[] {
  const path = pinPath(directory, 'layout');
  try {
    utimesSync(path, timeMs / 1000, timeMs / 1000);
    return [];
  } catch (thrown) {
    return [problemOf(thrown, path)];
  }
}

/** When a run last succeeded with what is pinned, in milliseconds since the epoch; null: none did. */
export function lastSuccess(directory: string): number | null {
  const found = statSync(pinPath(directory, 'layout'), { throwIfNoEntry: false });
  return found === undefined || found.mtimeMs === 0 ? null : found.mtimeMs;
}

/** Throws SnoopyError `pin_unusable` where something else stands in the place of the pin directory. */
export function refuseOther(path: string): void {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined || found.isDirectory()) return;
  throw new SnoopyError({
    code: 'pin_unusable',
    object: path,
    operation: `use the pin directory "${path}"`,
    cause: found.isSymbolicLink() ? 'it is a symlink, which is not followed' : 'it is no directory',
    fix: 'move it away, or set another runtime.pin_dir',
  });
}

/** One by one: what others have put there since is not followed. Returns those that it made, the innermost first. */
function makeDirectory(runtime: Runtime, users: Users): string[] {
  const made: string[] = [];
  let path = runtime.bpffs;
  for (const name of runtime.pinDir.split('/')) {
    path = `${path}/${name}`;
    try {
      mkdirSync(path, { mode: 0o700 });
      made.unshift(path);
    } catch (thrown) {
      if (errnoOf(thrown) !== 'EEXIST') throw notMade(path, thrown);
    }
    refuseWeakPath(path, users);
  }
  return made;
}

function notMade(path: string, thrown: unknown): SnoopyError {
  const errno = errnoOf(thrown);
  return new SnoopyError({
    code: errno === 'EACCES' || errno === 'EPERM' ? 'not_permitted' : 'bpffs_unusable',
    object: path,
    operation: `create "${path}"`,
    cause: causeOf(thrown),
    fix: 'run as root, and check that bpffs is writable',
    errno,
  });
}

/** Unlinks every pin below the directory, and the directory itself. */
export function removePinDirectory(directory: string): void {
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = `${directory}/${entry.name}`;
    if (entry.isDirectory()) removePinDirectory(path);
    else unlinkSync(path);
  }
  rmdirSync(directory);
}
