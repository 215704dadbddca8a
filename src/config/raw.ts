// The configuration as written: what the schema allows, key by key.

import type { AttachMode, LearnKind, NeighborState } from '../core/desired.ts';

export interface RawConfig {
  readonly version: 1;
  readonly runtime?: Partial<RawRuntime>;
  readonly defaults?: RawPartialSettings;
  readonly bridges?: readonly RawBridge[];
  readonly frr?: Partial<RawFrr>;
  readonly metrics?: Partial<RawMetrics>;
}

export interface RawRuntime {
  readonly bpffs: string;
  readonly pin_dir: string;
  readonly attach: AttachMode;
  readonly ring_size: string;
  readonly max_bindings: number;
  readonly neighbor_protocol: number;
}

export interface RawFrr {
  readonly verify: 'auto' | 'never';
}

export interface RawMetrics {
  readonly textfile: string | null;
}

export interface RawPorts {
  readonly include: readonly string[];
  readonly exclude: readonly string[];
}

export interface RawLimits {
  readonly bindings_per_port: number;
  readonly new_bindings_per_second: number;
}

export interface RawDuplicates {
  readonly moves: number;
  readonly window: string;
  readonly hold: string;
}

export interface RawProbe {
  readonly enabled: 'auto' | 'own' | 'never' | boolean;
  readonly after: string;
  readonly source: string;
}

/** The keys that are allowed under `defaults` and in every bridge. */
export interface RawSettings {
  readonly required: boolean;
  readonly ports: RawPorts;
  readonly learn: readonly ('arp' | LearnKind)[];
  readonly subnets: 'auto' | 'any' | readonly string[];
  readonly link_local: boolean;
  readonly neighbor_state: NeighborState | 'auto';
  readonly max_age: string;
  readonly limits: RawLimits;
  readonly duplicates: RawDuplicates;
  readonly probe: RawProbe;
  readonly announce: 'auto' | 'never';
}

export interface RawPartialSettings
  extends Partial<Omit<RawSettings, 'ports' | 'limits' | 'duplicates' | 'probe'>> {
  readonly ports?: Partial<RawPorts>;
  readonly limits?: Partial<RawLimits>;
  readonly duplicates?: Partial<RawDuplicates>;
  readonly probe?: Partial<RawProbe>;
}

export interface RawStatic {
  readonly ip: string;
  readonly mac: string | readonly string[];
  readonly vlan?: number;
}

export interface RawBridge extends RawPartialSettings {
  readonly name: string;
  readonly static?: readonly RawStatic[];
}

/** A bridge with all defaults filled in. */
export interface RawWholeBridge extends RawSettings {
  readonly name: string;
  readonly static: readonly Required<RawStatic>[];
}

/** A configuration with all defaults filled in. */
export interface RawWholeConfig {
  readonly version: 1;
  readonly runtime: RawRuntime;
  readonly bridges: readonly RawWholeBridge[];
  readonly frr: RawFrr;
  readonly metrics: RawMetrics;
}
