// struct snoopy_binding, map "bindings": which host has an address.

import { decodeMac, type IfIndex, type Mac } from '../../base/address.ts';
import { readU16, readU32 } from '../../base/bytes.ts';
import { getIfIndex, getMac, getU8, getU16, setMac, setU8, setU32 } from '../../base/field.ts';
import { BINDING, BINDING_KEY, SNOOPY_BINDING_ROUTER } from '../../generated/layouts.ts';
import { type BindingKey, getIp } from './binding-key.ts';
import type { ValueCodec } from './codec.ts';
import { getMs, setMs } from './time.ts';

/** struct snoopy_binding with its key. Times are milliseconds of CLOCK_MONOTONIC. */
export interface Binding extends BindingKey {
  readonly mac: Mac;
  readonly router: boolean;
  /** The port of the last message. */
  readonly port: IfIndex;
  /** Changes of the MAC within the current window (RFC 9161, section 3.7). */
  readonly moves: number;
  readonly firstSeenMs: number;
  readonly lastSeenMs: number;
  /** Start of the window in which moves are counted; 0: no move yet. */
  readonly windowMs: number;
  /** 0: not frozen. */
  readonly frozenUntilMs: number;
  /** The owner when that window began; null when unknown. */
  readonly owner: { readonly mac: Mac; readonly port: IfIndex } | null;
}

export const bindingCodec: ValueCodec<Binding> = {
  // Field by field: V8 turns an object that is spread from its key into a slow dictionary first.
  decode: (values, at, keys, keyAt) => ({
    bridge: getIfIndex(keys, keyAt, BINDING_KEY.bridge),
    vlan: getU16(keys, keyAt, BINDING_KEY.vlan),
    ip: getIp(keys, keyAt, BINDING_KEY, 'bindings'),
    mac: getMac(values, at, BINDING.mac),
    router: (getU8(values, at, BINDING.flags) & SNOOPY_BINDING_ROUTER) !== 0,
    moves: getU8(values, at, BINDING.moves),
    port: getIfIndex(values, at, BINDING.port),
    firstSeenMs: getMs(values, at, BINDING.firstSeenNs),
    lastSeenMs: getMs(values, at, BINDING.lastSeenNs),
    windowMs: getMs(values, at, BINDING.windowNs),
    frozenUntilMs: getMs(values, at, BINDING.frozenUntilNs),
    owner: decodeOwner(values, at),
  }),
  encode(binding, bytes, at) {
    setMac(bytes, at, BINDING.mac, binding.mac);
    setU8(bytes, at, BINDING.flags, binding.router ? SNOOPY_BINDING_ROUTER : 0);
    setU32(bytes, at, BINDING.port, binding.port);
    setMs(bytes, at, BINDING.firstSeenNs, binding.firstSeenMs);
    setMs(bytes, at, BINDING.lastSeenNs, binding.lastSeenMs);
    setU8(bytes, at, BINDING.moves, binding.moves);
    setMs(bytes, at, BINDING.windowNs, binding.windowMs);
    setMs(bytes, at, BINDING.frozenUntilNs, binding.frozenUntilMs);
    if (binding.owner === null) return;
    setMac(bytes, at, BINDING.ownerMac, binding.owner.mac);
    setU32(bytes, at, BINDING.ownerPort, binding.owner.port);
  },
};

function decodeOwner(values: Uint8Array, at: number): Binding['owner'] {
  const owner = at + BINDING.ownerMac;
  if (readU32(values, owner) === 0 && readU16(values, owner + 4) === 0) return null;
  return { mac: decodeMac(values, owner), port: getIfIndex(values, at, BINDING.ownerPort) };
}

/**
 * True when a binding was seen or frozen after it was read; `now` is its current entry, if there is one. A claim that
 * freezes a binding does not update its last-seen time.
 */
export function isSeenSince(now: Binding | undefined, read: Binding): boolean {
  if (now === undefined) return false;
  return now.lastSeenMs > read.lastSeenMs || now.frozenUntilMs > read.frozenUntilMs;
}
