// One writer at a time: flock(2) on the pin directory itself, so that no lock file is left behind.

import { closeSync, constants, fstatSync, openSync, readFileSync, statSync } from 'node:fs';
import { causeOf, errnoOf, SnoopyError } from '../base/errors.ts';
import { flock, sleep } from '../ffi/libc.ts';

export interface Lock {
  /** False when the directory was deleted or replaced since: another process may lock the one that is there now. */
  isHeld(): boolean;
  release(): void;
}

/** Where there is nothing to lock. */
export const NOTHING_TO_LOCK: Lock = { isHeld: () => true, release: () => {} };

/** The interval between attempts to take a held lock. */
const RETRY_MS = 50;

/**
 * Locks the directory at `path`, waiting up to `timeoutMs`. `prepare` creates the directory before each attempt,
 * because a `remove` that held the lock has deleted it. The kernel releases the lock when the process ends in any way.
 * Throws SnoopyError `locked` on a timeout, `not_permitted` when the directory cannot be opened.
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
  const holder = holderOf(path);
  const name = holder === undefined ? 'another run' : `process ${holder.pid}`;
  const waited = `waited ${timeoutMs / 1000} s`;
  const context = { code: 'locked', object: path, operation: `lock "${path}"` } as const;
  if (holder?.isStopped === true) {
    return new SnoopyError({
      ...context,
      cause: `${name} holds the lock and is stopped (${waited})`,
      fix: `continue it (kill -CONT ${holder.pid}) or end it (kill -KILL ${holder.pid})`,
    });
  }
  return new SnoopyError({
    ...context,
    cause: `${name} holds the lock (${waited})`,
    fix: 'run again, or wait longer with --lock-timeout',
  });
}

interface Holder {
  readonly pid: number;
  /** Stopped by SIGSTOP or a debugger: it does not end by itself. */
  readonly isStopped: boolean;
}

/** The process that has the lock, by proc_locks(5); undefined when /proc hides it or it has ended since. */
function holderOf(path: string): Holder | undefined {
  try {
    const { dev, ino } = statSync(path);
    // makedev(3) of glibc, for small numbers like those of mounted file systems.
    const major = (dev >>> 8) & 0xfff;
    const minor = (dev & 0xff) | ((dev >>> 12) & 0xfff00);
    const place = `${hex(major)}:${hex(minor)}:${ino}`;
    const locks = readFileSync('/proc/locks', 'utf8').split('\n');
    const [, kind, , , pid] =
      locks.map((line) => line.split(/\s+/)).find((words) => words[5] === place) ?? [];
    return kind === 'FLOCK' ? { pid: Number(pid), isStopped: isStopped(Number(pid)) } : undefined;
  } catch {
    return undefined;
  }
}

function hex(value: number): string {
  return value.toString(16).padStart(2, '0');
}

/** The state in proc_pid_stat(5) comes after the name, which may contain brackets. */
function isStopped(pid: number): boolean {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return /^[Tt]/.test(stat.slice(stat.lastIndexOf(')') + 2));
}

/**
 * Undefined when another process holds the lock, or when the directory was replaced meanwhile (a `remove`, a mount).
 */
function tryLock(path: string, prepare: (() => void) | undefined): Lock | undefined {
  prepare?.();
  const fd = openDirectory(path);
  // A `remove` has deleted it: it is created again, or there is nothing to lock.
  if (fd === undefined) return prepare === undefined ? NOTHING_TO_LOCK : undefined;
  try {
    const taken = flock(fd, 'exclusive', { operation: `lock "${path}"`, object: path });
    if (taken && isStill(fd, path)) return { isHeld: () => isStill(fd, path), release: () => closeSync(fd) };
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
    const errno = errnoOf(thrown);
    if (errno === 'ENOENT') return undefined;
    throw new SnoopyError({
      code: errno === 'EACCES' || errno === 'EPERM' ? 'not_permitted' : 'pin_unusable',
      object: path,
      operation: `lock "${path}"`,
      cause: causeOf(thrown),
      fix: 'run as root',
      errno,
    });
  }
}

function isStill(fd: number, path: string): boolean {
  const held = fstatSync(fd);
  const named = statSync(path, { throwIfNoEntry: false });
  return named !== undefined && named.ino === held.ino && named.dev === held.dev;
}
