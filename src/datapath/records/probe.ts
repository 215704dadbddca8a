// struct snoopy_probe, map "probes": how often a silent host was probed, and the last owner check that it lost.

import type { Mac } from '../../base/address.ts';
import { getMac, getU32, setMac, setU32 } from '../../base/field.ts';
import { BINDING_KEY, PROBE } from '../../generated/layouts.ts';
import { type BindingKey, getKey } from './binding-key.ts';
import type { ValueCodec } from './codec.ts';
import { getMs, setMs } from './time.ts';

/** The probes of a silent host. Times are milliseconds of CLOCK_MONOTONIC. */
export interface ProbeState {
  readonly lastMs: number;
  /** Probes since the host was seen. */
  readonly count: number;
  /** The last owner check that an owner lost: the MAC that got the address, and when; null: none. */
  readonly decided: { readonly mac: Mac; readonly atMs: number } | null;
}

/** An entry of the map. */
export interface ProbeRecord extends BindingKey, ProbeState {}

export const probeCodec: ValueCodec<ProbeRecord> = {
  decode(values, at, keys, keyAt) {
    const { bridge, vlan, ip } = getKey(keys, keyAt, BINDING_KEY, 'probes');
    const lastMs = getMs(values, at, PROBE.lastNs);
    const atMs = getMs(values, at, PROBE.decidedNs);
    const decided = atMs === 0 ? null : { mac: getMac(values, at, PROBE.winner), atMs };
    return { bridge, vlan, ip, lastMs, count: getU32(values, at, PROBE.count), decided };
  },
  encode({ lastMs, count, decided }, bytes, at) {
    setMs(bytes, at, PROBE.lastNs, lastMs);
    setU32(bytes, at, PROBE.count, count);
    if (decided === null) return;
    setMac(bytes, at, PROBE.winner, decided.mac);
    setMs(bytes, at, PROBE.decidedNs, decided.atMs);
  },
};
