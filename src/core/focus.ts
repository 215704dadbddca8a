// A narrow pass: the addresses that it looks at, and the topology as far as it decides about them. Pure.

import { groupBy } from '../base/group.ts';
import { type BindingKey, bindingId } from '../datapath/records/binding-key.ts';
import type { HintKey } from '../datapath/records/hint.ts';
import type { SeenHint } from '../datapath/records/seen-hint.ts';
import { effectiveVlan, type Topology } from './topology.ts';

/** What a narrow pass looks up. */
export interface Focus {
  /** By bindingId. */
  readonly addresses: ReadonlyMap<string, BindingKey>;
  /** The hints of the memory that are about them. */
  readonly hints: readonly HintKey[];
  /** The hints of the program that are about them. */
  readonly seenHints: readonly SeenHint[];
}

/** The bridges of these addresses, with their static entries alone: a pass decides about each entry that it has. */
export function narrowTopology(topology: Topology, { addresses }: Focus): Topology {
  const named = groupBy([...addresses.values()], ({ bridge }) => bridge);
  return {
    ...topology,
    bridges: topology.bridges
      .filter(({ ifIndex }) => named.has(ifIndex))
      .map((bridge) => {
        const statics = bridge.desired.statics.filter(({ vlan, ip }) =>
          addresses.has(bindingId({ bridge: bridge.ifIndex, vlan: effectiveVlan(bridge, vlan), ip })),
        );
        return { ...bridge, desired: { ...bridge.desired, statics } };
      }),
  };
}
