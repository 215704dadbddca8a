// How the program is attached: by a pinned TCX link, or as a cls_bpf filter at a fixed place in a clsact or ingress qdisc.

import { closeSync, readdirSync } from 'node:fs';
import type { IfIndex } from '../base/address.ts';
import { BPF_LINK_TYPE_TCX, type LinkInfo, linkInfo, programName } from '../ffi/info.ts';
import {
  BPF_F_BEFORE,
  BPF_TCX_INGRESS,
  findLinks,
  hasTcx,
  linkDetach,
  linkUpdate,
  tcxAttach,
  tcxPrograms,
} from '../ffi/link.ts';
import { objPin } from '../ffi/pin.ts';
import type { FilterPlace } from '../netlink/tc.ts';
import { clearName, ensureDirectory, isDirectory, linksDirectory, openPinned } from './pins.ts';

/**
 * TCA_BPF_NAME of our filters: it distinguishes them from a filter of another owner at the same place. The second name
 * records that snoopy also created the qdisc, of whichever kind; it remains when the pins are lost.
 */
const FILTER_NAME = 'snoopy';
const OWNER_FILTER_NAME = 'snoopy:clsact';

/** Name of our program in the kernel: that of its function. */
export const PROGRAM = 'snoopy';

export function filterName(ownsQdisc: boolean): string {
  return ownsQdisc ? OWNER_FILTER_NAME : FILTER_NAME;
}

/** True for our own filter. */
export function isOurFilter(name: string): boolean {
  return name === FILTER_NAME || name === OWNER_FILTER_NAME;
}

/** True for our own filter on a qdisc that snoopy created. */
export function recordsOwner(name: string): boolean {
  return name === OWNER_FILTER_NAME;
}

/** A low pref runs early: a filter that ends the chain hides the frames from all later ones. */
const FILTER_PREF = 10;
const FILTER_HANDLE = 0x73;

/** Place of our filter on a port. */
export function filterPlace(ifIndex: IfIndex): FilterPlace {
  return { ifIndex, direction: 'ingress', pref: FILTER_PREF, handle: FILTER_HANDLE };
}

export function linkPath(directory: string, ifIndex: IfIndex): string {
  return `${linksDirectory(directory)}/${ifIndex}`;
}

/** A pinned link. `dead`: it was detached, its device was removed, or it is not a TCX link of that device. */
type PinnedLink =
  | { readonly kind: 'none' }
  | { readonly kind: 'dead' }
  | { readonly kind: 'attached'; readonly fd: number; readonly programId: number };

/** Opens the pinned link of a port. The caller closes the descriptor of an attached one. */
function openLink(directory: string, ifIndex: IfIndex): PinnedLink {
  const fd = openPinned(linkPath(directory, ifIndex), 'link');
  if (fd === undefined) return { kind: 'none' };
  if (fd === 'other') return { kind: 'dead' };
  const info = linkInfo(fd);
  if (isTcxIngress(info) && info.ifIndex === ifIndex)
    return { kind: 'attached', fd, programId: info.programId };
  closeSync(fd);
  return { kind: 'dead' };
}

/** A TCX program of ours whose link is not pinned where this run looks: its pins are hidden, or in another directory. */
export interface Stray {
  readonly ifIndex: IfIndex;
  readonly programId: number;
}

/** The strays on these devices. `own` is the program of the pinned link of each. */
export function findStrays(devices: Iterable<IfIndex>, own: ReadonlyMap<IfIndex, number>): Stray[] {
  const names = new Map<number, string | undefined>();
  const strays: Stray[] = [];
  for (const ifIndex of devices) {
    for (const programId of ingressPrograms(ifIndex)) {
      if (programId === own.get(ifIndex)) continue;
      if (!names.has(programId)) names.set(programId, programName(programId));
      if (names.get(programId) === PROGRAM) strays.push({ ifIndex, programId });
    }
  }
  return strays;
}

/** Detaches strays. The kernel finds a link only by its ID, so all links are searched, once. */
export function detachStrays(strays: readonly Stray[]): void {
  const idOf = ({ ifIndex, programId }: Pick<LinkInfo, 'ifIndex' | 'programId'>): string =>
    `${ifIndex} ${programId}`;
  const wanted = new Set(strays.map(idOf));
  const links = findLinks((link) => isTcxIngress(link) && wanted.has(idOf(link)));
  try {
    for (const { fd, ifIndex } of links) linkDetach(fd, ifIndex);
  } finally {
    for (const { fd } of links) closeSync(fd);
  }
}

function isTcxIngress({ type, attachType }: LinkInfo): boolean {
  return type === BPF_LINK_TYPE_TCX && attachType === BPF_TCX_INGRESS;
}

/** The devices with a pinned link. */
export function tcxDevices(directory: string): IfIndex[] {
  // Names are interface numbers; anything else belongs to another owner.
  const names = isDirectory(linksDirectory(directory)) ? readdirSync(linksDirectory(directory)) : [];
  return names.filter((entry) => /^[1-9]\d*$/.test(entry)).map((name) => Number(name) as IfIndex);
}

/** Program IDs of the pinned links of these devices; 0 for a dead link, which must be unpinned. */
export function tcxLinks(directory: string, devices: readonly IfIndex[]): Map<IfIndex, number> {
  const links = new Map<IfIndex, number>();
  for (const ifIndex of devices) {
    const link = openLink(directory, ifIndex);
    if (link.kind === 'none') continue;
    links.set(ifIndex, link.kind === 'attached' ? link.programId : 0);
    if (link.kind === 'attached') closeSync(link.fd);
  }
  return links;
}

/** Whether the kernel has TCX: it answers a query of any device. Null when it is not known. */
export function kernelHasTcx(ifIndex: IfIndex | undefined): boolean | null {
  return ifIndex === undefined ? null : hasTcx(ifIndex, BPF_TCX_INGRESS);
}

/** IDs of all programs attached to a device by TCX, in the order they run; none when the kernel has no TCX. */
export function ingressPrograms(ifIndex: IfIndex): readonly number[] {
  return tcxPrograms(ifIndex, BPF_TCX_INGRESS);
}

/**
 * Attaches the program by TCX ahead of all others, or replaces the program of the pinned link.
 * Throws SnoopyError `attach_failed`, or `unsupported` on kernels before 6.6.
 */
export function attachTcx(directory: string, programFd: number, ifIndex: IfIndex): void {
  const path = linkPath(directory, ifIndex);
  ensureDirectory(linksDirectory(directory));
  const pinned = openLink(directory, ifIndex);
  if (pinned.kind === 'attached') {
    try {
      linkUpdate(pinned.fd, programFd, ifIndex);
      return;
    } finally {
      closeSync(pinned.fd);
    }
  }
  // A dead link takes no other program.
  clearName(path);
  const fd = tcxAttach(programFd, ifIndex, BPF_TCX_INGRESS, BPF_F_BEFORE);
  try {
    objPin(fd, path);
  } finally {
    closeSync(fd);
  }
}

/** Detaches the program and unpins the link; the device may have been removed. */
export function detachTcx(directory: string, ifIndex: IfIndex): void {
  const pinned = openLink(directory, ifIndex);
  try {
    if (pinned.kind === 'attached') linkDetach(pinned.fd, ifIndex);
  } finally {
    if (pinned.kind === 'attached') closeSync(pinned.fd);
    if (pinned.kind !== 'none') clearName(linkPath(directory, ifIndex));
  }
}
