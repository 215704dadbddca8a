// bpffs and our directory in it: mounting, creating and locking them.

import {
  lstatSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  rmdirSync,
  statfsSync,
  statSync,
  utimesSync,
} from 'node:fs';
import { causeOf, errnoOf, isAbsence, type Problem, problemOf, SnoopyError } from '../base/errors.ts';
import { describeWeakness, follow, type Users } from '../base/trust.ts';
import type { Runtime } from '../core/desired.ts';
import { pinPath } from '../datapath/pins.ts';
import { mount } from '../ffi/libc.ts';
import { acquireLock, type Lock, NOTHING_TO_LOCK } from './lock.ts';

/** BPF_FS_MAGIC of linux/magic.h */
const BPF_FS_MAGIC = 0xcafe4a11;

/** The directory of all pins. */
export function pinDirectory(runtime: Runtime): string {
  return `${runtime.bpffs}/${runtime.pinDir}`;
}

/** False when the path does not exist. Other errors are thrown, so that nothing unknown is mounted over. */
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

/** True when the first process of the system sees the same file system at the path, or when that cannot be checked. */
export function isSeenByProcessOne(path: string): boolean {
  try {
    return statSync(`/proc/1/root${path}`).dev === statSync(path).dev;
  } catch {
    return true;
  }
}

/** True when a mount made here is one of process 1 as well, or when that cannot be checked. */
export function sharesMounts(): boolean {
  try {
    return readlinkSync('/proc/1/ns/mnt') === readlinkSync('/proc/self/ns/mnt');
  } catch {
    return true;
  }
}

/**
 * Throws SnoopyError `bpffs_unusable` when bpffs is not mounted and a run must not mount it: there is no directory for it, or all
 * pins may be lost when the program ends, as under `ip netns exec`, which gives it another /sys and mounts of its own.
 */
export function requireMountable({ bpffs }: Runtime): void {
  if (isBpffs(bpffs)) return;
  if (!directoryExists(bpffs))
    throw notMounted(bpffs, 'ENOENT', 'create the directory, or correct runtime.bpffs');
  if (sharesMounts() && isSeenByProcessOne(bpffs)) return;
  throw notMounted(
    bpffs,
    'this is not the mount namespace of process 1, so the mount may end with this program',
    'run snoopy in the mount namespace of the node: use nsenter --net instead of ip netns exec',
  );
}

function notMounted(bpffs: string, cause: string, fix: string): SnoopyError {
  const operation = `mount bpffs on "${bpffs}"`;
  return new SnoopyError({ code: 'bpffs_unusable', object: bpffs, operation, cause, fix });
}

/**
 * Mounts bpffs unless it is mounted; true when it did. Two runs at the same time mount it only once, as both lock the
 * mount point first. Throws SnoopyError `bpffs_unusable` or `not_permitted`.
 */
export function mountBpffs(runtime: Runtime, timeoutMs: number, now: () => number): boolean {
  const { bpffs } = runtime;
  if (isBpffs(bpffs)) return false;
  requireMountable(runtime);
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

/** Creates the pin directory, readable only by root, and locks it. Throws SnoopyError `locked` and others. */
export function lockPinDirectory(runtime: Runtime, timeoutMs: number, now: () => number, users: Users): Lock {
  return acquireLock(pinDirectory(runtime), timeoutMs, now, () => {
    makeDirectory(runtime, users);
  });
}

export interface RemovalLock extends Lock {
  /** True when nothing is pinned: the directory exists only for this lock. */
  readonly isBlank: boolean;
}

const NO_LOCK: RemovalLock = { isBlank: true, ...NOTHING_TO_LOCK };

/**
 * Locks the pin directory for a removal. A missing directory is created until the release: filters and neighbors may
 * exist without it, and a run that starts meanwhile must wait.
 */
export function lockForRemoval(
  runtime: Runtime,
  timeoutMs: number,
  now: () => number,
  users: Users,
): RemovalLock {
  const { bpffs } = runtime;
  if (!directoryExists(bpffs)) return NO_LOCK;
  // A run that mounts bpffs locks the mount point too.
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
    return { ...lock, isBlank: made.includes(path) && readdirSync(path).length === 0, release };
  } catch (thrown) {
    // Then no other run can pin anything either.
    if (errnoOf(thrown) === 'EROFS') return NO_LOCK;
    throw thrown;
  }
}

function removeIfEmpty(directory: string): void {
  try {
    rmdirSync(directory);
  } catch {
    // Another run uses it by now, or has removed it.
  }
}

/**
 * Throws SnoopyError `pin_unusable` when untrusted users may redirect an existing part of the path: their pins would
 * decide what this host advertises and what a `remove` deletes.
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
 * What a later run needs the time of, and the pin whose modification time it is: any pin, as the kernel writes those times only
 * when it makes one.
 */
const PIN_OF = {
  succeeded: 'layout',
  verified: 'program',
  unfinished: 'counters',
  few: 'ports',
  burst: 'state',
} as const;

/**
 * `succeeded`: a run; `verified`: what zebra has was compared, or there was none to ask; `unfinished`: that must continue soon;
 * `few`, `burst`: so many neighbors were written.
 */
export type TimedEvent = keyof typeof PIN_OF;

/** Stores the time of an event in milliseconds since the epoch; 0 for never. Returns a failure as a problem. */
export function noteTime(directory: string, event: TimedEvent, timeMs: number): Problem[] {
  const path = pinPath(directory, PIN_OF[event]);
  try {
    utimesSync(path, timeMs / 1000, timeMs / 1000);
    return [];
  } catch (thrown) {
    return [problemOf(thrown, path)];
  }
}

/** When an event last happened with these pins, in milliseconds since the epoch; null when it did not. */
export function lastTime(directory: string, event: TimedEvent): number | null {
  const found = statSync(pinPath(directory, PIN_OF[event]), { throwIfNoEntry: false });
  return found === undefined || found.mtimeMs === 0 ? null : found.mtimeMs;
}

/** Throws SnoopyError `pin_unusable` when the path of the pin directory is not a directory. */
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

/** Creates missing directories one by one, without following new links. Returns those it created, innermost first. */
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
    fix: errno === 'EROFS' ? 'remount bpffs read-write' : 'run as root, and check that bpffs is writable',
    errno,
  });
}
