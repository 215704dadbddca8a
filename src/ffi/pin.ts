// Pins: eBPF objects by their names in a bpf file system.

import { readlinkSync } from 'node:fs';
import { SnoopyError } from '../base/errors.ts';
import { bpfError, libbpf } from './libbpf.ts';
import { EACCES, ENOENT, EPERM, EROFS } from './libc.ts';

/** bpf_obj_get: the pinned object's descriptor; undefined when there is nothing at `path`. */
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
  // Who may not write to the file system may not have the object either.
  const remedy = fd === -EROFS ? { remedy: 'bpffs is mounted read-only: remount it, rw' } : {};
  throw bpfError({ operation: `open pin "${path}"`, object: path, code: 'pin_unusable', ...remedy }, fd);
}

export type ObjectKind = 'map' | 'program' | 'link';

/** What kind of object a descriptor is of; undefined for others. The kernel tells by the name of its file alone. */
export function objectKind(fd: number): ObjectKind | undefined {
  const name = readlinkSync(`/proc/self/fd/${fd}`);
  if (/bpf[-_]map/.test(name)) return 'map';
  if (/bpf[-_]prog/.test(name)) return 'program';
  return /bpf[-_]link/.test(name) ? 'link' : undefined;
}

/** bpf_obj_pin. EEXIST is an error: pin under another name and rename. */
export function objPin(fd: number, path: string): void {
  const result = libbpf.objPin(fd, path);
  if (result >= 0) return;
  const remedy = 'the directory must be there, on a bpf file system';
  if (result === -EPERM) {
    // What the kernel says of other file systems too.
    const message = `Cannot pin "${path}": EPERM; ${remedy}, and you must be root or have CAP_BPF`;
    throw new SnoopyError('pin_unusable', path, message, 'EPERM');
  }
  throw bpfError({ operation: `pin "${path}"`, object: path, code: 'pin_unusable', remedy }, result);
}
