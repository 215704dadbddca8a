// TCX links: a program at the ingress of a device (Linux 6.6 and later).

import { closeSync } from 'node:fs';
import { writeU32, writeU64 } from '../base/bytes.ts';
import { type LinkInfo, linkInfo } from './info.ts';
import { bpfError, isUnsupported, libbpf } from './libbpf.ts';
import { EINVAL, ENODEV, ENOENT, EPERM } from './libc.ts';

/** enum bpf_attach_type: ingress of a device, by a TCX link (6.6 and later). */
export const BPF_TCX_INGRESS = 46;
/** Flag of tcxAttach: ahead of all programs that are attached. */
export const BPF_F_BEFORE = 1 << 3;

/**
 * Attaches a program by TCX (bpf_link_create), as the last one unless `flags` has BPF_F_BEFORE; returns the link's
 * descriptor. Throws SnoopyError `attach_failed`, or `unsupported` where the kernel has no TCX.
 */
export function tcxAttach(programFd: number, ifIndex: number, attachType: number, flags = 0): number {
  // struct bpf_link_create_opts, its first members: size_t sz, u32 flags.
  const options = new Uint8Array(16);
  writeU64(options, 0, 16n);
  writeU32(options, 8, flags);
  const fd = libbpf.linkCreate(programFd, ifIndex, attachType, options);
  if (fd >= 0) return fd;
  const context = { operation: `attach to interface ${ifIndex} by TCX`, object: `interface ${ifIndex}` };
  if (fd === -EINVAL) {
    throw bpfError(
      { ...context, code: 'unsupported', fix: 'use "attach: auto", as TCX needs Linux 6.6' },
      fd,
    );
  }
  throw bpfError({ ...context, code: 'attach_failed' }, fd);
}

/** Replaces the program of a link (bpf_link_update). Throws SnoopyError `attach_failed`. */
export function linkUpdate(linkFd: number, programFd: number, ifIndex: number): void {
  const result = libbpf.linkUpdate(linkFd, programFd, null);
  if (result < 0) {
    throw bpfError(
      {
        operation: `replace the program of interface ${ifIndex} by TCX`,
        object: `interface ${ifIndex}`,
        code: 'attach_failed',
      },
      result,
    );
  }
}

/** Detaches a link (bpf_link_detach), even one that is pinned. Throws SnoopyError `detach_failed`. */
export function linkDetach(linkFd: number, ifIndex: number): void {
  const result = libbpf.linkDetach(linkFd);
  if (result < 0) {
    throw bpfError(
      {
        operation: `detach from interface ${ifIndex} by TCX`,
        object: `interface ${ifIndex}`,
        code: 'detach_failed',
      },
      result,
    );
  }
}

/** IDs of the programs attached to a device by TCX, first to run first; none where the kernel has no TCX. */
export function tcxPrograms(ifIndex: number, attachType: number): number[] {
  const answer = queryTcx(ifIndex, attachType);
  return typeof answer === 'string' ? [] : answer;
}

/** Whether the kernel has TCX; null when this process may not know (CAP_NET_ADMIN). Throws SnoopyError as tcxPrograms does. */
export function hasTcx(ifIndex: number, attachType: number): boolean | null {
  const answer = queryTcx(ifIndex, attachType);
  return answer === 'refused' ? null : answer !== 'unsupported';
}

/** BPF_MPROG_MAX (kernel/bpf/mprog.c) is 64. */
const ids = new Uint32Array(64);
const count = new Uint32Array(1);
const flags = new Uint32Array(1);

/** The programs, or why there is no answer. */
function queryTcx(ifIndex: number, attachType: number): number[] | 'unsupported' | 'refused' {
  count[0] = ids.length;
  const result = libbpf.progQuery(ifIndex, attachType, 0, flags, ids, count);
  if (result === -ENOENT || result === -ENODEV) return [];
  if (isUnsupported(result)) return 'unsupported';
  if (result === -EPERM) return 'refused';
  if (result < 0) {
    throw bpfError(
      { operation: `list the TCX programs of interface ${ifIndex}`, object: `interface ${ifIndex}` },
      result,
    );
  }
  return [...ids.subarray(0, count[0])];
}

/** A link that was found by its ID. The caller closes `fd`. */
export interface FoundLink extends LinkInfo {
  readonly fd: number;
}

/** Opens every link of the system for which `isWanted` holds. Throws SnoopyError `not_permitted`, or `pin_unusable`. */
export function findLinks(isWanted: (link: LinkInfo) => boolean): FoundLink[] {
  const found: FoundLink[] = [];
  const next = new Uint32Array(1);
  for (let id = 0; libbpf.linkGetNextId(id, next) === 0; ) {
    id = next[0] ?? 0;
    const fd = libbpf.linkGetFdById(id);
    // It has been detached meanwhile.
    if (fd === -ENOENT) continue;
    if (fd < 0) throw bpfError({ operation: `open link ${id}`, object: `link ${id}` }, fd);
    const info = linkInfo(fd);
    if (isWanted(info)) found.push({ ...info, fd });
    else closeSync(fd);
  }
  return found;
}
