// Everything a command holds open: the netlink socket, the pins, the lock. Released in one place.

import { statSync } from 'node:fs';
import type { Runtime } from '../core/desired.ts';
import { type Expected, openPins } from '../datapath/pins.ts';
import { OBJECT_BASE64, OBJECT_DIGEST } from '../generated/object.ts';
import { openNetlink } from '../netlink/socket.ts';
import type { Target } from './apply.ts';
import { acquireLock, type Lock } from './lock.ts';
import { directoryExists, lockPinDirectory, mountBpffs, pinDirectory, refuseOther } from './pin-directory.ts';
import { requirePrivileges } from './privileges.ts';

export interface Session extends Target {
  readonly runtime: Runtime;
  /** True when this session mounted bpffs. */
  readonly mounted: boolean;
  /** Reads the pins anew. */
  reopenPins(): void;
  close(): void;
}

export interface SessionOptions {
  /**
   * `write`: mounts bpffs, makes the pin directory and locks it. `plan`: locks it if it is there. `read`:
   * neither waits nor locks.
   */
  readonly mode: 'write' | 'plan' | 'read';
  readonly lockTimeoutMs: number;
  /** CLOCK_MONOTONIC in milliseconds. */
  readonly now: () => number;
}

/** Throws SnoopyError `locked`, `not_permitted`, `unsupported`, `bpffs_unusable` or `pin_unusable`. */
export function openSession(runtime: Runtime, { mode, lockTimeoutMs, now }: SessionOptions): Session {
  requirePrivileges();
  const directory = pinDirectory(runtime);
  const expected: Expected = {
    digest: OBJECT_DIGEST,
    netns: statSync('/proc/self/ns/net').ino,
    ringBytes: runtime.ringBytes,
    maxBindings: runtime.maxBindings,
  };
  const closers: (() => void)[] = [];
  const close = (): void => {
    for (const closer of closers.splice(0).reverse()) closer();
  };
  try {
    const mounted = mode === 'write' && mountBpffs(runtime, lockTimeoutMs, now);
    refuseOther(directory);
    const lock = takeLock(mode, runtime, directory, lockTimeoutMs, now);
    if (lock !== null) closers.push(lock.release);
    const netlink = openNetlink();
    closers.push(() => netlink.close());
    const session: Session = {
      runtime,
      mounted,
      netlink,
      expected,
      object: () => Buffer.from(OBJECT_BASE64, 'base64'),
      adopt: () => [],
      pins: openPins(directory, expected),
      reopenPins: () => {
        session.pins.close();
        session.pins = openPins(directory, expected);
      },
      close,
    };
    closers.push(() => session.pins.close());
    return session;
  } catch (thrown) {
    close();
    throw thrown;
  }
}

function takeLock(
  mode: SessionOptions['mode'],
  runtime: Runtime,
  directory: string,
  timeoutMs: number,
  now: () => number,
): Lock | null {
  switch (mode) {
    case 'write':
      return lockPinDirectory(runtime, timeoutMs, now);
    case 'plan':
      return directoryExists(directory) ? acquireLock(directory, timeoutMs, now) : null;
    case 'read':
      return null;
    default:
      return mode satisfies never;
  }
}
