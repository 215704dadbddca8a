// The end of bindings and the ports' ledger: what user space writes to the maps beside the plan.

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
import { BPF_EXIST, mapDelete, mapUpdate } from '../ffi/libbpf.ts';

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
  const map = pins.maps.get('bindings');
  if (map === undefined) return;
  for (const binding of bindings) {
    try {
      mapUpdate(map.fd, encodeBindingKey(binding), encodeBinding(binding), BPF_EXIST);
    } catch (thrown) {
      if (!(thrown instanceof SnoopyError && thrown.errno === 'ENOENT')) throw thrown;
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
