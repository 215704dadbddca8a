// Pins: names of eBPF objects in a bpf file system.

import { readlinkSync } from 'node:fs';
import { SnoopyError } from '../base/errors.ts';
import { bpfError, libbpf } from './libbpf.ts';
import { EACCES, ENOENT, EPERM, EROFS } from './libc.ts';

/** Opens a pin (bpf_obj_get); undefined when there is nothing at `path`. Throws SnoopyError `pin_unusable`. */
export function objGet(path: string): number | undefined {
  const fd = libbpf.objGet(path);
  if (fd >= 0) return fd;
  if (fd === -ENOENT) return undefined;
  if (fd === -EACCES) {
    throw new SnoopyError({
      code: 'pin_unusable',
      object: path,
      operation: `open pin "${path}"`,
      cause: 'EACCES (it is not an eBPF object, or its mode forbids it)',
      fix: 'move it away, or run as root',
      errno: 'EACCES',
    });
  }
  // The kernel does not open a pin on a read-only file system.
  const fix = fd === -EROFS ? { fix: 'remount bpffs read-write' } : {};
  throw bpfError({ operation: `open pin "${path}"`, object: path, code: 'pin_unusable', ...fix }, fd);
}

export type ObjectKind = 'map' | 'program' | 'link';

/** Kind of the object open as `fd`; undefined for any other. Only the link in /proc/self/fd has it. */
export function objectKind(fd: number): ObjectKind | undefined {
  const name = readlinkSync(`/proc/self/fd/${fd}`);
  if (/bpf[-_]map/.test(name)) return 'map';
  if (/bpf[-_]prog/.test(name)) return 'program';
  return /bpf[-_]link/.test(name) ? 'link' : undefined;
}

/** Pins an object (bpf_obj_pin). Throws SnoopyError `pin_unusable`, also where `path` exists. */
export function objPin(fd: number, path: string): void {
  const result = libbpf.objPin(fd, path);
  if (result >= 0) return;
  const context = { code: 'pin_unusable', object: path, operation: `pin "${path}"` } as const;
  const fix = 'check that its directory exists on a bpf file system';
  if (result === -EPERM) {
    // The kernel returns the same error for a path on another file system.
    const cause = 'EPERM';
    throw new SnoopyError({
      ...context,
      cause,
      fix: `${fix}, and run as root or with CAP_BPF`,
      errno: cause,
    });
  }
  throw bpfError({ ...context, fix }, result);
}
