// struct snoopy_rejection, map "rejected": the last message about an address that was rejected, or ignored.

import { type IfIndex, type Mac, NO_MAC } from '../../base/address.ts';
import { malformed } from '../../base/errors.ts';
import { getIfIndex, getMac, getU32, getU64 } from '../../base/field.ts';
import { BINDING_KEY, COUNTERS, REJECTION } from '../../generated/layouts.ts';
import { type BindingKey, getKey } from './binding-key.ts';
import type { ValueDecoder } from './codec.ts';
import { isReason, type RejectionReason } from './counters.ts';
import { getMs } from './time.ts';

export interface Rejection extends BindingKey {
  readonly reason: RejectionReason;
  /** The port on which it was received. */
  readonly port: IfIndex;
  /** Its Ethernet source. */
  readonly source: Mac;
  /** The MAC that the message claims the address for; null when the program did not read that far. */
  readonly claimed: Mac | null;
  /** Rejected messages since `firstMs`, for any reason. */
  readonly count: number;
  /** CLOCK_MONOTONIC in milliseconds. */
  readonly firstMs: number;
  readonly lastMs: number;
}

export const rejectionDecoder: ValueDecoder<Rejection> = {
  decode(values, at, keys, keyAt) {
    const { bridge, vlan, ip } = getKey(keys, keyAt, BINDING_KEY, 'rejections');
    const claimed = getMac(values, at, REJECTION.claimed);
    return {
      bridge,
      vlan,
      ip,
      reason: decodeReason(getU32(values, at, REJECTION.reason)),
      port: getIfIndex(values, at, REJECTION.port),
      source: getMac(values, at, REJECTION.source),
      claimed: claimed === NO_MAC ? null : claimed,
      count: getU64(values, at, REJECTION.count),
      firstMs: getMs(values, at, REJECTION.firstNs),
      lastMs: getMs(values, at, REJECTION.lastNs),
    };
  },
};

function decodeReason(index: number): RejectionReason {
  const name = COUNTERS[index];
  if (name !== undefined && isReason(name)) return name;
  throw malformed('rejections', 'decode a record of rejections', `there is no reason ${index}`);
}
