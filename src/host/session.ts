// Everything a command holds open: the netlink socket, the pins, the lock. Released in one place.

import { statSync } from 'node:fs';
import type { Users } from '../base/trust.ts';
import { type Configuration, type Runtime, staticKeys } from '../core/desired.ts';
import { type Expected, openPins } from '../datapath/pins.ts';
import { pageSize } from '../ffi/libc.ts';
import { OBJECT_BASE64, OBJECT_DIGEST } from '../generated/object.ts';
import { openNetlink } from '../netlink/socket.ts';
import type { Target } from './apply.ts';
import { acquireLock, type Lock } from './lock.ts';
import {
  directoryExists,
  lockForRemoval,
  lockPinDirectory,
  mountBpffs,
  pinDirectory,
  type RemovalLock,
  refuseOther,
  refuseWeakPath,
  requireMountable,
} from './pin-directory.ts';
import { type Capability, LOADING, type Mode, requireCapabilities, takenBy } from './privileges.ts';

export interface Session extends Target {
  readonly runtime: Runtime;
  /** True when this session mounted bpffs. */
  readonly mounted: boolean;
  /** True for a removal when nothing is pinned: the pin directory exists only for its lock. */
  readonly isBlank: boolean;
  /** False without a lock, and when the locked pin directory was deleted or replaced since. */
  isLocked(): boolean;
  close(): void;
}

export interface SessionOptions {
  readonly mode: Mode;
  readonly lockTimeoutMs: number;
  /** CLOCK_MONOTONIC in milliseconds. */
  readonly now: () => number;
  /** Users whose files are trusted. */
  readonly users: Users;
  /** Capabilities that the command needs besides those for the mode and the state of the node. */
  readonly capabilities: readonly Capability[];
}

/** Throws SnoopyError `locked`, `not_permitted`, `unsupported`, `bpffs_unusable` or `pin_unusable`. */
export function openSession(
  { runtime, entries }: Pick<Configuration, 'runtime' | 'entries'>,
  options: SessionOptions,
): Session {
  const { mode, lockTimeoutMs, now, users, capabilities } = options;
  const directory = pinDirectory(runtime);
  // Reports everything that is missing together, before anything is created.
  requireCapabilities([...takenBy(mode, runtime), ...capabilities], runtime);
  refuseWeakPath(directory, users);
  const expected: Expected = {
    digest: OBJECT_DIGEST,
    netns: statSync('/proc/self/ns/net').ino,
    // As libbpf rounds it up: pages have up to 64 KiB on arm64.
    ringBytes: Math.max(runtime.ringBytes, pageSize()),
    maxBindings: runtime.maxBindings,
    // Doubled: new ones are written before old ones are deleted.
    maxStatics: roomFor(2 * staticKeys(entries)),
  };
  const closers: (() => void)[] = [];
  const close = (): void => {
    for (const closer of closers.splice(0).reverse()) closer();
  };
  try {
    // A plan must not promise what the run then refuses.
    if (mode === 'plan') requireMountable(runtime);
    const mounted = mode === 'write' && mountBpffs(runtime, lockTimeoutMs, now);
    refuseOther(directory);
    const lock = takeLock(runtime, directory, options);
    if (lock !== null) closers.push(lock.release);
    const netlink = openNetlink();
    closers.push(() => netlink.close());
    const session: Session = {
      runtime,
      mounted,
      isBlank: lock?.isBlank ?? false,
      isLocked: () => lock?.isHeld() ?? false,
      netlink,
      expected,
      users,
      object: () => Buffer.from(OBJECT_BASE64, 'base64'),
      pins: openPins(directory, expected),
      close,
    };
    closers.push(() => session.pins.close());
    if (mode === 'write' && session.pins.loadReason !== null) requireCapabilities(LOADING, runtime);
    return session;
  } catch (thrown) {
    close();
    throw thrown;
  }
}

/** The size of the map of static entries, in steps, so that not every new entry replaces the map. */
function roomFor(keys: number): number {
  return Math.max(16_384, 2 ** Math.ceil(Math.log2(Math.max(1, keys))));
}

function takeLock(
  runtime: Runtime,
  directory: string,
  { mode, lockTimeoutMs, now, users }: SessionOptions,
): (Lock & Partial<RemovalLock>) | null {
  switch (mode) {
    case 'write':
      return lockPinDirectory(runtime, lockTimeoutMs, now, users);
    case 'remove':
      return lockForRemoval(runtime, lockTimeoutMs, now, users);
    case 'plan':
      return directoryExists(directory) ? acquireLock(directory, lockTimeoutMs, now) : null;
    case 'read':
      return null;
    default:
      return mode satisfies never;
  }
}
