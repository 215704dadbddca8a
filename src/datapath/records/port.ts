// struct snoopy_port and snoopy_port_state, maps "ports" and "state": how a port is learned from, and its counts.

import type { IfIndex } from '../../base/address.ts';
import { readU32, readU64, requireBytes, writeU32 } from '../../base/bytes.ts';
import {
  getIfIndex,
  getU8,
  getU16,
  getU32,
  getU64,
  setU8,
  setU16,
  setU32,
  setU64,
} from '../../base/field.ts';
import {
  PORT,
  PORT_STATE,
  SNOOPY_PORT_LINK_LOCAL,
  SNOOPY_PORT_OWNS_QDISC,
  SNOOPY_PORT_VLAN_AWARE,
} from '../../generated/layouts.ts';
import type { KeyCodec, ValueCodec } from './codec.ts';
import { getMs, setMs } from './time.ts';

/** How a port is learned from. */
export interface PortPolicy {
  readonly bridge: IfIndex;
  /** 0: none. */
  readonly pvid: number;
  /** SNOOPY_LEARN_* bits. */
  readonly learn: number;
  readonly linkLocal: boolean;
  /** True when snoopy created the qdisc of the port, and so may delete it. */
  readonly ownsQdisc: boolean;
  readonly maxBindings: number;
  readonly newIntervalNs: number;
  readonly newBurst: number;
  readonly duplicateMoves: number;
  readonly duplicateWindowMs: number;
  readonly duplicateHoldMs: number;
  /** Bindings of this port that user space has deleted so far (modulo 2^64, signed). */
  readonly released: number;
  /** `PortState.limited` when a run last reported it. */
  readonly reported: number;
  /** The VLANs of the port, one bit each; null on a bridge that is not VLAN-aware. */
  readonly vlans: Uint8Array | null;
}

/** What the program counts for a port. */
export interface PortState {
  readonly gained: number;
  readonly lost: number;
  readonly limited: number;
}

/** An ifindex: the key of the maps "ports" and "state". */
export const ifIndexCodec: KeyCodec<IfIndex> = {
  decode: (bytes, at) => readU32(bytes, at) as IfIndex,
  encode: (ifIndex, bytes, at) => writeU32(bytes, at, ifIndex),
};

/** sizeof(snoopy_port.vlans): a bit for each VLAN ID. */
const VLAN_BYTES = 4096 / 8;

/** A set of VLAN IDs in the form of snoopy_port.vlans: on a little-endian machine, bit v % 8 of byte v / 8. */
export function encodeVlans(ranges: readonly { readonly start: number; readonly end: number }[]): Uint8Array {
  const bits = new Uint8Array(VLAN_BYTES);
  for (const { start, end } of ranges) {
    for (let vlan = start; vlan <= end; vlan++) bits[vlan >> 3] = (bits[vlan >> 3] ?? 0) | (1 << (vlan & 7));
  }
  return bits;
}

export const portPolicyCodec: ValueCodec<PortPolicy> = {
  decode(values, at) {
    requireBytes(values, at, PORT.size);
    const flags = getU8(values, at, PORT.flags);
    const vlans = at + PORT.vlans;
    return {
      bridge: getIfIndex(values, at, PORT.bridge),
      pvid: getU16(values, at, PORT.pvid),
      learn: getU8(values, at, PORT.learn),
      linkLocal: (flags & SNOOPY_PORT_LINK_LOCAL) !== 0,
      ownsQdisc: (flags & SNOOPY_PORT_OWNS_QDISC) !== 0,
      maxBindings: getU32(values, at, PORT.maxBindings),
      newIntervalNs: getU32(values, at, PORT.newIntervalNs),
      newBurst: getU32(values, at, PORT.newBurst),
      duplicateMoves: getU32(values, at, PORT.duplicateMoves),
      duplicateWindowMs: getMs(values, at, PORT.duplicateWindowNs),
      duplicateHoldMs: getMs(values, at, PORT.duplicateHoldNs),
      released: Number(BigInt.asIntN(64, readU64(values, at + PORT.released))),
      reported: getU64(values, at, PORT.reported),
      vlans: (flags & SNOOPY_PORT_VLAN_AWARE) === 0 ? null : values.slice(vlans, vlans + VLAN_BYTES),
    };
  },
  encode(policy, bytes, at) {
    setU32(bytes, at, PORT.bridge, policy.bridge);
    setU16(bytes, at, PORT.pvid, policy.pvid);
    setU8(bytes, at, PORT.learn, policy.learn);
    const flags =
      (policy.linkLocal ? SNOOPY_PORT_LINK_LOCAL : 0) |
      (policy.ownsQdisc ? SNOOPY_PORT_OWNS_QDISC : 0) |
      (policy.vlans === null ? 0 : SNOOPY_PORT_VLAN_AWARE);
    setU8(bytes, at, PORT.flags, flags);
    setU32(bytes, at, PORT.maxBindings, policy.maxBindings);
    setU32(bytes, at, PORT.newIntervalNs, policy.newIntervalNs);
    setU32(bytes, at, PORT.newBurst, policy.newBurst);
    setU32(bytes, at, PORT.duplicateMoves, policy.duplicateMoves);
    setMs(bytes, at, PORT.duplicateWindowNs, policy.duplicateWindowMs);
    setMs(bytes, at, PORT.duplicateHoldNs, policy.duplicateHoldMs);
    setU64(bytes, at, PORT.released, BigInt(policy.released));
    setU64(bytes, at, PORT.reported, BigInt(policy.reported));
    if (policy.vlans !== null) bytes.set(policy.vlans, at + PORT.vlans);
  },
};

/** The counts of a port before its first attachment. */
export const NO_COUNTS: PortState = { gained: 0, lost: 0, limited: 0 };

/** `encode` writes the rate limit of new bindings as that of a port without any. */
export const portStateCodec: ValueCodec<PortState> = {
  decode: (values, at) => ({
    gained: getU64(values, at, PORT_STATE.gained),
    lost: getU64(values, at, PORT_STATE.lost),
    limited: getU64(values, at, PORT_STATE.limited),
  }),
  encode(state, bytes, at) {
    setU64(bytes, at, PORT_STATE.gained, BigInt(state.gained));
    setU64(bytes, at, PORT_STATE.lost, BigInt(state.lost));
    setU64(bytes, at, PORT_STATE.limited, BigInt(state.limited));
  },
};
