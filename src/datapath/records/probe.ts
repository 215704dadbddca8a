// struct snoopy_probe, map "probes": how often a silent host was probed.

import { getU32, setU32 } from '../../base/field.ts';
import { BINDING_KEY, PROBE } from '../../generated/layouts.ts';
import { type BindingKey, getKey } from './binding-key.ts';
import type { ValueCodec } from './codec.ts';
import { getMs, setMs } from './time.ts';

/** The probes of a silent host. */
export interface ProbeState {
  /** CLOCK_MONOTONIC in milliseconds. */
  readonly lastMs: number;
  /** Probes since the host was seen. */
  readonly count: number;
}

/** An entry of the map. */
export interface ProbeRecord extends BindingKey, ProbeState {}

export const probeCodec: ValueCodec<ProbeRecord> = {
  decode(values, at, keys, keyAt) {
    const { bridge, vlan, ip } = getKey(keys, keyAt, BINDING_KEY, 'probes');
    const lastMs = getMs(values, at, PROBE.lastNs);
    return { bridge, vlan, ip, lastMs, count: getU32(values, at, PROBE.count) };
  },
  encode(state, bytes, at) {
    setMs(bytes, at, PROBE.lastNs, state.lastMs);
    setU32(bytes, at, PROBE.count, state.count);
  },
};
