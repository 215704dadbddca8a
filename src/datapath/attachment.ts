// Where the program hangs: a cls_bpf filter with a fixed place in the clsact qdisc, or a pinned TCX link.

import { closeSync, mkdirSync, rmSync } from 'node:fs';
import type { IfIndex } from '../base/address.ts';
import {
  BPF_TCX_INGRESS,
  linkDetach,
  linkInfo,
  linkUpdate,
  objGet,
  objPin,
  tcxAttach,
} from '../ffi/libbpf.ts';
import type { FilterPlace } from '../netlink/tc.ts';
import { linksDirectory } from './pins.ts';

/**
 * TCA_BPF_NAME of our filters: by it they are told from a stranger's at the same place. The second says that
 * snoopy made the clsact qdisc too; the filter keeps that note when the pins are lost.
 */
const FILTER_NAME = 'snoopy';
const OWNER_FILTER_NAME = 'snoopy:clsact';

export function filterName(ownsClsact: boolean): string {
  return ownsClsact ? OWNER_FILTER_NAME : FILTER_NAME;
}

/** True for a filter that is ours. */
export function isOurFilter(name: string): boolean {
  return name === FILTER_NAME || name === OWNER_FILTER_NAME;
}

/** True for a filter of ours below a clsact qdisc of ours. */
export function saysOwner(name: string): boolean {
  return name === OWNER_FILTER_NAME;
}

/** A low pref: a filter that ends the chain would hide the frames from those behind it. */
const FILTER_PREF = 10;
const FILTER_HANDLE = 0x73;

/** Place of our filter on a port. */
export function filterPlace(ifIndex: IfIndex): FilterPlace {
  return { ifIndex, direction: 'ingress', pref: FILTER_PREF, handle: FILTER_HANDLE };
}

function linkPath(directory: string, ifIndex: IfIndex): string {
  return `${linksDirectory(directory)}/${ifIndex}`;
}

/**
 * Attaches the program by TCX, or puts it into the place of the one in the pinned link. Throws SnoopyError
 * `attach_failed`, or `unsupported` on kernels before 6.6.
 */
export function attachTcx(directory: string, programFd: number, ifIndex: IfIndex): void {
  const path = linkPath(directory, ifIndex);
  const pinned = objGet(path);
  if (pinned !== undefined) {
    try {
      if (isAttached(pinned)) {
        linkUpdate(pinned, programFd);
        return;
      }
    } finally {
      closeSync(pinned);
    }
    // Detached by somebody: such a link takes no other program.
    rmSync(path, { force: true });
  }
  mkdirSync(linksDirectory(directory), { recursive: true, mode: 0o700 });
  const fd = tcxAttach(programFd, ifIndex, BPF_TCX_INGRESS);
  try {
    objPin(fd, path);
  } finally {
    closeSync(fd);
  }
}

/** False for a link that somebody has detached, and for one whose device is gone. */
export function isAttached(linkFd: number): boolean {
  return linkInfo(linkFd).ifIndex !== 0;
}

/** Takes the program off and unpins the link; the device may be gone. */
export function detachTcx(directory: string, ifIndex: IfIndex): void {
  const path = linkPath(directory, ifIndex);
  const fd = objGet(path);
  if (fd === undefined) return;
  try {
    linkDetach(fd);
  } finally {
    closeSync(fd);
    rmSync(path, { force: true });
  }
}
