// The end and the adoption of bindings, and the ports' ledger: what user space writes to the maps beside the plan.

import type { IfIndex } from '../base/address.ts';
import { SnoopyError } from '../base/errors.ts';
import type { Pins } from '../datapath/pins.ts';
import {
  type Binding,
  type BindingKey,
  encodeBinding,
  encodeBindingKey,
  encodeIfIndex,
  encodePortPolicy,
  type PortPolicy,
} from '../datapath/records.ts';
import { BPF_EXIST, BPF_NOEXIST, mapDelete, mapUpdate } from '../ffi/libbpf.ts';

/** Deletes bindings that have ended; the host is learned anew when it speaks. */
export function forgetBindings(pins: Pins, keys: readonly BindingKey[]): void {
  for (const name of ['bindings', 'probes'] as const) {
    const map = pins.maps.get(name);
    if (map === undefined) continue;
    for (const key of keys) mapDelete(map.fd, encodeBindingKey(key));
  }
}

/** Writes bindings as they shall be from now on; one that was deleted meanwhile stays deleted. */
export function rewriteBindings(pins: Pins, bindings: readonly Binding[]): void {
  writeBindings(pins, bindings, BPF_EXIST, 'ENOENT');
}

/** Writes bindings that the program has not learned itself meanwhile. */
export function adopt(pins: Pins, bindings: readonly Binding[]): void {
  writeBindings(pins, bindings, BPF_NOEXIST, 'EEXIST');
}

function writeBindings(pins: Pins, bindings: readonly Binding[], flags: number, harmless: string): void {
  const map = pins.maps.get('bindings');
  if (map === undefined) return;
  for (const binding of bindings) {
    try {
      mapUpdate(map.fd, encodeBindingKey(binding), encodeBinding(binding), flags);
    } catch (thrown) {
      if (!(thrown instanceof SnoopyError && thrown.errno === harmless)) throw thrown;
    }
  }
}

/** Writes policies whose `released` was corrected. */
export function writePolicies(pins: Pins, policies: ReadonlyMap<IfIndex, PortPolicy>): void {
  const map = pins.maps.get('ports');
  if (map === undefined) return;
  for (const [ifIndex, policy] of policies)
    mapUpdate(map.fd, encodeIfIndex(ifIndex), encodePortPolicy(policy));
}
