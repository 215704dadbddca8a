// Traffic control: the clsact and ingress qdiscs, and cls_bpf filters in direct-action mode (linux/pkt_cls.h).

import { AF_UNSPEC, type IfIndex } from '../base/address.ts';
import {
  formatHex,
  readBe16,
  readI32,
  readU16,
  readU32,
  writeBe16,
  writeU8,
  writeU16,
  writeU32,
} from '../base/bytes.ts';
import { EINVAL, ENODEV, ENOENT } from '../ffi/libc.ts';
import {
  Attributes,
  type Message,
  NLM_F_CREATE,
  NLM_F_ECHO,
  NLM_F_EXCL,
  PayloadWriter,
  type Request,
} from './message.ts';
import { failureError, lookUpAll, type NetlinkSocket, type Result } from './socket.ts';

export const RTM_NEWQDISC = 36;
export const RTM_DELQDISC = 37;
const RTM_GETQDISC = 38;
export const RTM_NEWTFILTER = 44;
export const RTM_DELTFILTER = 45;
const RTM_GETTFILTER = 46;

/** sizeof(struct tcmsg): u8 family, u8 and u16 padding, s32 ifindex, u32 handle, u32 parent, u32 info. */
const TCMSG_SIZE = 20;
const TCA_KIND = 1;
const TCA_OPTIONS = 2;
const TCA_CHAIN = 11;
const TCA_INGRESS_BLOCK = 13;
// In TCA_OPTIONS of a bpf filter.
const TCA_BPF_FD = 6;
const TCA_BPF_NAME = 7;
const TCA_BPF_FLAGS = 8;
const TCA_BPF_TAG = 10;
const TCA_BPF_ID = 11;
const TCA_BPF_FLAG_ACT_DIRECT = 1 << 0;

// linux/pkt_sched.h: TC_H_CLSACT, which equals TC_H_INGRESS, and its two classes TC_H_MIN_INGRESS and TC_H_MIN_EGRESS.
const TC_H_CLSACT = 0xfffffff1;
const CLSACT_HANDLE = 0xffff0000;
const CLSACT_INGRESS = 0xfffffff2;
const CLSACT_EGRESS = 0xfffffff3;

/** Ethertype "every frame", the protocol of the filters written here. */
const ETH_P_ALL = 0x0003;

export type Direction = 'ingress' | 'egress';

export interface Qdisc {
  readonly ifIndex: IfIndex;
  /** Such as `clsact`, `ingress`, `fq_codel`. */
  readonly kind: string;
  readonly handle: number;
  readonly parent: number;
  /** True when other devices share the filters of its ingress: they are those of a block, and not of the device. */
  readonly sharesIngress: boolean;
}

export interface Filter {
  readonly ifIndex: IfIndex;
  readonly direction: Direction;
  readonly pref: number;
  readonly handle: number;
  /** Such as `bpf`, `flower`. */
  readonly kind: string;
  /** Ethertype. */
  readonly protocol: number;
  readonly chain: number;
  /** Of kind `bpf`, in eBPF. */
  readonly bpf: FilterProgram | undefined;
}

export interface FilterProgram {
  readonly id: number;
  /** Hex, as in ProgramInfo. */
  readonly tag: string;
  readonly name: string;
  readonly directAction: boolean;
}

/** The place of an existing or a new filter. */
export interface FilterPlace {
  readonly ifIndex: IfIndex;
  readonly direction: Direction;
  readonly pref: number;
  readonly handle: number;
}

function parentOf(direction: Direction): number {
  return direction === 'ingress' ? CLSACT_INGRESS : CLSACT_EGRESS;
}

/** A payload that begins with struct tcmsg. */
function tcWriter(ifIndex: number, handle: number, parent: number, size: number): PayloadWriter {
  const writer = new PayloadWriter(TCMSG_SIZE + size);
  const header = writer.structure(TCMSG_SIZE);
  writeU8(header, 0, AF_UNSPEC);
  writeU32(header, 4, ifIndex);
  writeU32(header, 8, handle);
  writeU32(header, 12, parent);
  return writer;
}

/** undefined for other messages. */
export function decodeQdisc(message: Message): Qdisc | undefined {
  if (message.type !== RTM_NEWQDISC && message.type !== RTM_DELQDISC) return undefined;
  const { payload } = message;
  const attributes = new Attributes(payload, TCMSG_SIZE);
  return {
    ifIndex: readI32(payload, 4) as IfIndex,
    kind: attributes.text(TCA_KIND) ?? '',
    handle: readU32(payload, 8),
    parent: readU32(payload, 12),
    sharesIngress: attributes.has(TCA_INGRESS_BLOCK),
  };
}

function qdiscDump(): Request {
  return { type: RTM_GETQDISC, flags: 0, payload: tcWriter(0, 0, 0, 0).finish() };
}

/** The qdiscs of all devices. */
export function dumpQdiscs(socket: NetlinkSocket): Qdisc[] {
  return socket.dump(qdiscDump(), 'qdiscs', decodeQdisc);
}

/**
 * The clsact or ingress qdiscs of these devices, without those that have none or do not exist. Older kernels notify everybody
 * who listens of what they answer, as if a qdisc were new (qdisc_notify).
 */
export function lookUpQdiscs(socket: NetlinkSocket, devices: readonly IfIndex[]): Qdisc[] {
  const requests = devices.map((ifIndex) => {
    const payload = tcWriter(ifIndex, 0, TC_H_CLSACT, 0).finish();
    return { type: RTM_GETQDISC, flags: NLM_F_ECHO, payload, answered: true };
  });
  return lookUpAll(socket, requests, 'qdiscs', decodeQdisc, ['ENOENT', 'ENODEV']);
}

/** A clsact or ingress qdisc; a device has at most one of the two. EEXIST when it has one. */
export function createQdisc(ifIndex: IfIndex, kind: 'clsact' | 'ingress'): Request {
  const writer = tcWriter(ifIndex, CLSACT_HANDLE, TC_H_CLSACT, 12);
  writer.text(TCA_KIND, kind);
  return { type: RTM_NEWQDISC, flags: NLM_F_CREATE | NLM_F_EXCL, payload: writer.finish() };
}

/** Deletes the clsact or ingress qdisc with all its filters. */
export function deleteQdisc(ifIndex: IfIndex): Request {
  return { type: RTM_DELQDISC, flags: 0, payload: tcWriter(ifIndex, CLSACT_HANDLE, TC_H_CLSACT, 0).finish() };
}

/**
 * The side of a filter's parent; undefined for a qdisc of another kind. A filter of an ingress qdisc may name the qdisc itself,
 * and the kernel lists all filters of a qdisc with the parent of the one that was added last (tcf_block.classid).
 */
function directionOf(parent: number): Direction | undefined {
  switch (parent) {
    case CLSACT_HANDLE:
    case CLSACT_INGRESS:
      return 'ingress';
    case CLSACT_EGRESS:
      return 'egress';
    default:
      return undefined;
  }
}

/** undefined for the entry of a whole pref (handle 0), and for parents of other qdiscs. */
export function decodeFilter(message: Message): Filter | undefined {
  if (message.type !== RTM_NEWTFILTER && message.type !== RTM_DELTFILTER) return undefined;
  const { payload } = message;
  const handle = readU32(payload, 8);
  const direction = directionOf(readU32(payload, 12));
  const attributes = new Attributes(payload, TCMSG_SIZE);
  if (handle === 0 || direction === undefined) return undefined;
  const kind = attributes.text(TCA_KIND) ?? '';
  const options = kind === 'bpf' ? attributes.nested(TCA_OPTIONS) : undefined;
  return {
    ifIndex: readI32(payload, 4) as IfIndex,
    direction,
    ...decodeInfo(payload),
    handle,
    kind,
    chain: attributes.u32(TCA_CHAIN) ?? 0,
    bpf: options === undefined ? undefined : decodeProgram(options),
  };
}

/** tcm_info: TC_H_MAKE(pref << 16, protocol in network order). */
function decodeInfo(payload: Uint8Array): { pref: number; protocol: number } {
  const info = readU32(payload, 16);
  const protocol = new Uint8Array(2);
  writeU16(protocol, 0, info & 0xffff);
  return { pref: info >>> 16, protocol: readBe16(protocol, 0) };
}

/** Writes pref and protocol to tcm_info of a payload. */
function encodeInfo(payload: Uint8Array, pref: number): void {
  const protocol = new Uint8Array(2);
  writeBe16(protocol, 0, ETH_P_ALL);
  writeU32(payload, 16, ((pref << 16) | readU16(protocol, 0)) >>> 0);
}

/** undefined for a classic BPF filter, which has no program. */
function decodeProgram(options: Attributes): FilterProgram | undefined {
  const id = options.u32(TCA_BPF_ID);
  if (id === undefined) return undefined;
  return {
    id,
    tag: formatHex(options.bytes(TCA_BPF_TAG) ?? new Uint8Array()),
    name: options.text(TCA_BPF_NAME) ?? '',
    directAction: ((options.u32(TCA_BPF_FLAGS) ?? 0) & TCA_BPF_FLAG_ACT_DIRECT) !== 0,
  };
}

function filterDump(ifIndex: IfIndex, direction: Direction): Request {
  return { type: RTM_GETTFILTER, flags: 0, payload: tcWriter(ifIndex, 0, parentOf(direction), 0).finish() };
}

/** The filters of one direction of a device, of all chains, in the order in which they run; none without such a qdisc. */
export function dumpFilters(socket: NetlinkSocket, ifIndex: IfIndex, direction: Direction): Filter[] {
  return socket.dump(filterDump(ifIndex, direction), 'filters', decodeFilter);
}

/** A request about a bpf filter at `place`; `addOptions` writes TCA_OPTIONS. */
function filterRequest(
  type: number,
  flags: number,
  place: FilterPlace,
  addOptions?: (writer: PayloadWriter) => void,
): Request {
  const writer = tcWriter(place.ifIndex, place.handle, parentOf(place.direction), 64);
  writer.text(TCA_KIND, 'bpf');
  if (addOptions !== undefined) writer.nest(TCA_OPTIONS, () => addOptions(writer));
  const payload = writer.finish();
  encodeInfo(payload, place.pref);
  return { type, flags, payload };
}

/** One cls_bpf filter; for batch(), hundreds at a time. Read the answer with filterOf. */
export function getFilter(place: FilterPlace): Request {
  return { ...filterRequest(RTM_GETTFILTER, 0, place), answered: true };
}

/** The filter of an answer to getFilter; undefined when there is none, no clsact, or no device. */
export function filterOf(result: Result): Filter | undefined {
  if (!result.ok) {
    // The kernel returns EINVAL without a clsact qdisc, and ENODEV without the device.
    if (result.errno === ENOENT || result.errno === EINVAL || result.errno === ENODEV) return undefined;
    throw failureError(result, { operation: 'read a filter', object: 'filter' });
  }
  for (const reply of result.replies) {
    const filter = decodeFilter(reply);
    if (filter !== undefined) return filter;
  }
  return undefined;
}

/** A direct-action cls_bpf filter for all frames. `create`: EEXIST when it exists. */
export function putFilter(
  place: FilterPlace,
  program: { readonly fd: number; readonly name: string },
  mode: 'create' | 'replace',
): Request {
  const flags = NLM_F_CREATE | (mode === 'create' ? NLM_F_EXCL : 0);
  return filterRequest(RTM_NEWTFILTER, flags, place, (writer) => {
    writer.u32(TCA_BPF_FD, program.fd);
    writer.text(TCA_BPF_NAME, program.name);
    writer.u32(TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT);
  });
}

/** ENOENT when there is none. */
export function deleteFilter(place: FilterPlace): Request {
  return filterRequest(RTM_DELTFILTER, 0, place);
}

/** The number of filters of both sides of a device, of any owner. */
export function countFilters(socket: NetlinkSocket, ifIndex: IfIndex): number {
  return (['ingress', 'egress'] as const).reduce(
    (sum, side) => sum + dumpFilters(socket, ifIndex, side).length,
    0,
  );
}
