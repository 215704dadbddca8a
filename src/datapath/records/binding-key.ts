// struct snoopy_binding_key: an IP address in a VLAN of a bridge.

import {
  AF_INET,
  AF_INET6,
  decodeIp,
  familyOf,
  type IfIndex,
  type IpAddress,
  writeIp,
} from '../../base/address.ts';
import { malformed } from '../../base/errors.ts';
import { type Field, getIfIndex, getU16, setU16, setU32 } from '../../base/field.ts';
import { BINDING_KEY } from '../../generated/layouts.ts';
import type { KeyCodec } from './codec.ts';

/** An address and the domain that it is in: a bridge and a VLAN of it. */
export interface BindingKey {
  readonly bridge: IfIndex;
  /** 0: untagged on a port without a PVID. */
  readonly vlan: number;
  readonly ip: IpAddress;
}

/** A key as text, for maps and sets. */
export function bindingId({ bridge, vlan, ip }: BindingKey): string {
  return `${bridge} ${vlan} ${ip}`;
}

/** The fields at the start of several key structures. */
interface KeyFields {
  readonly bridge: Field<'u32'>;
  readonly vlan: Field<'u16'>;
  readonly family: Field<'u16'>;
  readonly ip: Field<'u8[16]'>;
}

/** The address of a structure. Throws SnoopyError `malformed` for a wrong family; `what` names the record in it. */
export function getIp(bytes: Uint8Array, at: number, fields: KeyFields, what: string): IpAddress {
  const family = getU16(bytes, at, fields.family);
  if (family === AF_INET || family === AF_INET6) return decodeIp(bytes, at + fields.ip, family);
  throw malformed(what, `decode a record of ${what}`, `its address family is ${family}, not 2 or 10`);
}

/** Reads the fields of a key. Throws SnoopyError `malformed` for a wrong family; `what` names the record in it. */
export function getKey(bytes: Uint8Array, at: number, fields: KeyFields, what: string): BindingKey {
  return {
    bridge: getIfIndex(bytes, at, fields.bridge),
    vlan: getU16(bytes, at, fields.vlan),
    ip: getIp(bytes, at, fields, what),
  };
}

/** Writes the fields of a key into bytes that are zero. */
export function setKey(bytes: Uint8Array, at: number, fields: KeyFields, key: BindingKey): void {
  setU32(bytes, at, fields.bridge, key.bridge);
  setU16(bytes, at, fields.vlan, key.vlan);
  setU16(bytes, at, fields.family, familyOf(key.ip));
  writeIp(key.ip, bytes, at + fields.ip);
}

/** struct snoopy_binding_key: the key of the maps "bindings", "probes" and "rejected". */
export const bindingKeyCodec: KeyCodec<BindingKey> = {
  decode: (bytes, at) => getKey(bytes, at, BINDING_KEY, 'bindings'),
  encode: (key, bytes, at) => setKey(bytes, at, BINDING_KEY, key),
};
