// The end of bindings and the ports' binding counts: what user space writes to the maps beside the plan.

import type { IfIndex } from '../base/address.ts';
import { SnoopyError } from '../base/errors.ts';
import type { PinnedMap, Pins } from '../datapath/pins.ts';
import {
  type Binding,
  encodeBinding,
  encodeBindingKey,
  encodeIfIndex,
  encodePortPolicy,
  isHeardSince,
  type PortPolicy,
} from '../datapath/records.ts';
import { BPF_EXIST, mapDelete, mapLookup, mapUpdate } from '../ffi/libbpf.ts';

/**
 * Deletes bindings that have ended, and returns which; the host is learned anew when it speaks. Also from maps that
 * were replaced and are still carried over, or they would come back. One that was heard after it was read is left: who
 * decided that it has ended did not know, and may not hear of it again. But for those whose end `isFinal`: the program
 * notes each word of a host that it knows, and one that speaks all the time would keep for ever what it may not have.
 */
export function forgetBindings(
  pins: Pins,
  bindings: readonly Binding[],
  isFinal: (binding: Binding) => boolean,
): Binding[] {
  const current = pins.maps.get('bindings');
  if (current === undefined) return [];
  const maps = [current, ...pins.outgrown];
  const probes = pins.maps.get('probes');
  const forgotten: Binding[] = [];
  for (const binding of bindings) {
    const key = encodeBindingKey(binding);
    const isHeard = ({ fd, info }: PinnedMap): boolean => {
      const value = mapLookup(fd, key, info.valueSize);
      return value !== undefined && isHeardSince(value, binding);
    };
    if (!isFinal(binding) && maps.some(isHeard)) continue;
    for (const { fd } of maps) mapDelete(fd, key);
    if (probes !== undefined) mapDelete(probes.fd, key);
    forgotten.push(binding);
  }
  return forgotten;
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
