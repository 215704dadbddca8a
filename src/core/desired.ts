// The configuration with every default filled in and every unit converted, and the desired state of a node.

import type { IpAddress, Mac, Prefix } from '../base/address.ts';

/** `auto`: TCX where the kernel has it, else a filter, on a qdisc that other programs may take away. */
export type AttachMode = 'auto' | 'tcx' | 'clsact';
/** A state in which neighbors are written. */
export type NeighborState = 'noarp' | 'stale' | 'reachable';
export type LearnKind = 'arp-request' | 'arp-reply' | 'na' | 'ns';

/** What is desired of one node. */
export interface Desired {
  readonly runtime: Runtime;
  readonly bridges: readonly DesiredBridge[];
  /** Whether runs verify that zebra has what was written. */
  readonly verify: 'auto' | 'never';
  /** Path of the Prometheus textfile, or null. */
  readonly textfile: string | null;
}

/** The configuration, which may be that of many nodes. What it desires of one of them: core/entries.ts. */
export interface Configuration extends Omit<Desired, 'bridges'> {
  /** In the order of the file. */
  readonly entries: readonly BridgeEntry[];
}

/** The settings of one bridge, or of every bridge whose name matches a glob: then `name` is the glob. */
export interface BridgeEntry extends DesiredBridge {
  readonly isGlob: boolean;
}

export interface Runtime {
  /** Mount point of bpffs. */
  readonly bpffs: string;
  /** Directory below it with everything that snoopy pins. */
  readonly pinDir: string;
  readonly attach: AttachMode;
  readonly ringBytes: number;
  readonly maxBindings: number;
  /** NDA_PROTOCOL of our own neighbors. */
  readonly neighborProtocol: number;
}

export interface DesiredBridge {
  readonly name: string;
  /** False: a missing bridge is no failure. */
  readonly required: boolean;
  /** Shell globs over port names. */
  readonly ports: { readonly include: readonly string[]; readonly exclude: readonly string[] };
  readonly learn: readonly LearnKind[];
  readonly subnets: 'auto' | 'any' | readonly Prefix[];
  readonly linkLocal: boolean;
  /** `auto`: see core/neighbors/entry-state.ts. */
  readonly neighborState: NeighborState | 'auto';
  /** Null: never. */
  readonly maxAgeMs: number | null;
  readonly limits: { readonly bindingsPerPort: number; readonly newBindingsPerSecond: number };
  readonly duplicates: { readonly moves: number; readonly windowMs: number; readonly holdMs: number };
  readonly probe: {
    readonly enabled: 'auto' | 'own' | 'never';
    readonly afterMs: number;
    readonly source: 'auto' | IpAddress;
  };
  /** Whether addresses that moved to another MAC at another node are announced to the hosts here. */
  readonly announce: 'auto' | 'never';
  readonly statics: readonly StaticEntry[];
}

/** How many keys the static entries have in the data path: one for each address, and one for each of its MACs. */
export function staticKeys(bridges: readonly Pick<DesiredBridge, 'statics'>[]): number {
  return bridges.reduce(
    (sum, { statics }) => sum + statics.reduce((keys, { macs }) => keys + 1 + macs.length, 0),
    0,
  );
}

/** A provisioned address and the MACs that may have it (RFC 9161, section 3.2). */
export interface StaticEntry {
  readonly ip: IpAddress;
  readonly macs: readonly Mac[];
  /** 0: untagged. */
  readonly vlan: number;
}
