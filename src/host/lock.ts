// One writer at a time: flock(2) on the pin directory itself, so that no file is left behind anywhere.

import { closeSync, constants, fstatSync, openSync, statSync } from 'node:fs';
import { SnoopyError } from '../base/errors.ts';
import { flock, sleep } from '../ffi/libc.ts';

export interface Lock {
  release(): void;
}

/** How often a held lock is tried again. */
const RETRY_MS = 50;

/**
 * Locks the directory at `path`, waiting up to `timeoutMs`; `prepare` makes it, for each try anew: a `remove` that
 * held the lock has taken it away. The kernel releases it with the process, however that ends. Throws SnoopyError
 * `locked` when the time is over, `not_permitted` when it cannot be opened.
 */
export function acquireLock(path: string, timeoutMs: number, now: () => number, prepare?: () => void): Lock {
  const deadline = now() + timeoutMs;
  for (;;) {
    const lock = tryLock(path, prepare);
    if (lock !== undefined) return lock;
    const leftMs = deadline - now();
    if (leftMs <= 0) throw heldBy(path, timeoutMs);
    sleep(Math.min(RETRY_MS, leftMs));
  }
}

function heldBy(path: string, timeoutMs: number): SnoopyError {
  return new SnoopyError(
    'locked',
    path,
    `Another run held the lock on "${path}" for ${timeoutMs / 1000} s; try again, or wait longer with --lock-timeout`,
  );
}

/** Undefined when another holds it, or when the directory was replaced while we waited (a `remove`, a mount). */
function tryLock(path: string, prepare: (() => void) | undefined): Lock | undefined {
  prepare?.();
  const fd = openDirectory(path);
  // Gone, by a `remove`: to be made anew, or else there is nothing left to lock.
  if (fd === undefined) return prepare === undefined ? { release: () => {} } : undefined;
  try {
    const taken = flock(fd, 'exclusive', { operation: `lock "${path}"`, object: path });
    if (taken && isStill(fd, path)) return { release: () => closeSync(fd) };
  } catch (thrown) {
    closeSync(fd);
    throw thrown;
  }
  closeSync(fd);
  return undefined;
}

function openDirectory(path: string): number | undefined {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  } catch (thrown) {
    const errno = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : 'EIO';
    if (errno === 'ENOENT') return undefined;
    const code = errno === 'EACCES' || errno === 'EPERM' ? 'not_permitted' : 'pin_unusable';
    throw new SnoopyError(code, path, `Cannot lock "${path}": ${errno}; run as root`, errno);
  }
}

function isStill(fd: number, path: string): boolean {
  const held = fstatSync(fd);
  const named = statSync(path, { throwIfNoEntry: false });
  return named !== undefined && named.ino === held.ino && named.dev === held.dev;
}
