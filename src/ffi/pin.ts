// Pins: eBPF objects by their names in a bpf file system.

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
    throw new SnoopyError(
      'pin_unusable',
      path,
      `Cannot open pin "${path}": EACCES; it is no eBPF object, or its mode keeps you out`,
      'EACCES',
    );
  }
  // The kernel opens no pin on a file system that may not be written.
  const remedy = fd === -EROFS ? { remedy: 'bpffs is mounted read-only: remount it, rw' } : {};
  throw bpfError({ operation: `open pin "${path}"`, object: path, code: 'pin_unusable', ...remedy }, fd);
}

export type ObjectKind = 'map' | 'program' | 'link';

/** Kind of the object that is open as `fd`; undefined for another. Only the name of its file tells it. */
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
  const remedy = 'the directory must be there, on a bpf file system';
  if (result === -EPERM) {
    // The kernel answers the same for a path on another file system.
    const message = `Cannot pin "${path}": EPERM; ${remedy}, and you must be root or have CAP_BPF`;
    throw new SnoopyError('pin_unusable', path, message, 'EPERM');
  }
  throw bpfError({ operation: `pin "${path}"`, object: path, code: 'pin_unusable', remedy }, result);
}
