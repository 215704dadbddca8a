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

/**
 * Deletes bindings that have ended; the host is learned anew when it speaks. Also from maps that were replaced and
 * are still carried over, or they would come back.
 */
export function forgetBindings(pins: Pins, keys: readonly BindingKey[]): void {
  const bindings = pins.maps.get('bindings');
  const replaced = bindings === undefined ? [] : [bindings, ...pins.outgrown];
  for (const map of [...replaced, pins.maps.get('probes')]) {
    if (map === undefined) continue;
    for (const key of keys) mapDelete(map.fd, encodeBindingKey(key));
  }
}

/** Writes bindings as they shall be from now on; one that was deleted meanwhile stays deleted. */
export function rewriteBindings(pins: Pins, bindings: readonly Binding[]): void {
  const current = pins.maps.get('bindings');
  if (current === undefined) return;
  for (const binding of bindings) {
    // From a map that was replaced it would come back as it was.
    for (const { fd } of pins.outgrown) mapDelete(fd, encodeBindingKey(binding));
    try {
      mapUpdate(current.fd, encodeBindingKey(binding), encodeBinding(binding), BPF_EXIST);
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
