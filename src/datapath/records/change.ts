// struct snoopy_change: a record of the ring "changes".

import type { IfIndex, Mac } from '../../base/address.ts';
import { malformed } from '../../base/errors.ts';
import { getIfIndex, getMac, getU32 } from '../../base/field.ts';
import {
  BINDING_KEY,
  CHANGE,
  SNOOPY_CHANGE_DUPLICATE,
  SNOOPY_CHANGE_HINT,
  SNOOPY_CHANGE_MOVE,
  SNOOPY_CHANGE_NEW,
} from '../../generated/layouts.ts';
import { type BindingKey, getKey } from './binding-key.ts';

export interface Change extends BindingKey {
  readonly kind: 'new' | 'move' | 'duplicate' | 'hint';
  readonly port: IfIndex;
  /** 0 for a new binding and for a hint. */
  readonly oldPort: IfIndex | 0;
  readonly mac: Mac;
  readonly oldMac: Mac;
}

/** Bytes of a record. */
export const CHANGE_BYTES = CHANGE.size;

const DECODE = 'decode a record of the ring';

/** The record at `at`. Throws SnoopyError `malformed` when it is not one of ours. */
export function decodeChange(bytes: Uint8Array, at: number): Change {
  if (bytes.length - at < CHANGE.size) {
    throw malformed('changes', DECODE, `it has ${bytes.length - at} bytes, not ${CHANGE.size}`);
  }
  const { bridge, vlan, ip } = getKey(bytes, at + CHANGE.key, BINDING_KEY, 'changes');
  return {
    kind: decodeKind(getU32(bytes, at, CHANGE.kind)),
    port: getIfIndex(bytes, at, CHANGE.port),
    oldPort: getIfIndex(bytes, at, CHANGE.oldPort),
    mac: getMac(bytes, at, CHANGE.mac),
    oldMac: getMac(bytes, at, CHANGE.oldMac),
    bridge,
    vlan,
    ip,
  };
}

/** True for the record of a new binding or of a hint, which has nothing that its map does not have. */
export function isInMap(bytes: Uint8Array, at: number): boolean {
  const kind = getU32(bytes, at, CHANGE.kind);
  return kind === SNOOPY_CHANGE_NEW || kind === SNOOPY_CHANGE_HINT;
}

function decodeKind(kind: number): Change['kind'] {
  switch (kind) {
    case SNOOPY_CHANGE_NEW:
      return 'new';
    case SNOOPY_CHANGE_MOVE:
      return 'move';
    case SNOOPY_CHANGE_DUPLICATE:
      return 'duplicate';
    case SNOOPY_CHANGE_HINT:
      return 'hint';
    default:
      throw malformed('changes', DECODE, `its kind is ${kind}, not 1 to 4`);
  }
}
