// The configuration as written <-> as the program uses it: defaults filled in, units converted.

import { formatPrefix, parseIp, parseMac, parsePrefix } from '../base/address.ts';
import { formatDuration, formatSize, parseDuration, parseSize } from '../base/units.ts';
import type { BridgeEntry, Configuration, DesiredBridge, LearnKind, StaticEntry } from '../core/desired.ts';
import { isGlob } from '../core/glob.ts';
import { BRIDGE_DEFAULTS, FRR_DEFAULTS, METRICS_DEFAULTS, RUNTIME_DEFAULTS } from '../generated/defaults.ts';
import type {
  RawBridge,
  RawConfig,
  RawPartialSettings,
  RawProbe,
  RawSettings,
  RawWholeConfig,
} from './raw.ts';

const LEARN_KINDS: readonly LearnKind[] = ['arp-request', 'arp-reply', 'na', 'ns'];

/** A configuration that was checked before. A value that cannot be parsed is a defect. */
export function configurationOf(config: RawConfig): Configuration {
  const runtime = { ...RUNTIME_DEFAULTS, ...config.runtime };
  const defaults = merge(BRIDGE_DEFAULTS, config.defaults ?? {});
  return {
    runtime: {
      bpffs: runtime.bpffs,
      pinDir: runtime.pin_dir,
      attach: runtime.attach,
      ringBytes: checked(parseSize, runtime.ring_size),
      maxBindings: runtime.max_bindings,
      neighborProtocol: runtime.neighbor_protocol,
    },
    entries: (config.bridges ?? []).map((bridge) => entryOf(bridge, merge(defaults, bridge))),
    verify: { ...FRR_DEFAULTS, ...config.frr }.verify,
    textfile: { ...METRICS_DEFAULTS, ...config.metrics }.textfile,
  };
}

/** `over` merged over `under`: mappings key by key, while lists and single values are replaced as a whole. */
function merge(under: RawSettings, over: RawPartialSettings): RawSettings {
  return {
    ...under,
    ...over,
    ports: { ...under.ports, ...over.ports },
    limits: { ...under.limits, ...over.limits },
    duplicates: { ...under.duplicates, ...over.duplicates },
    probe: { ...under.probe, ...over.probe },
  };
}

function entryOf(bridge: RawBridge, settings: RawSettings): BridgeEntry {
  const { ports, limits, duplicates, probe, subnets } = settings;
  return {
    name: bridge.name,
    isGlob: isGlob(bridge.name),
    // No bridge has to match a glob, whatever `defaults` has.
    required: settings.required && !isGlob(bridge.name),
    ports: { include: ports.include, exclude: ports.exclude },
    learn: LEARN_KINDS.filter(
      (kind) => settings.learn.includes(kind) || (kind.startsWith('arp-') && settings.learn.includes('arp')),
    ),
    subnets: typeof subnets === 'string' ? subnets : subnets.map((text) => checked(parsePrefix, text)),
    linkLocal: settings.link_local,
    neighborState: settings.neighbor_state,
    maxAgeMs: settings.max_age === 'never' ? null : checked(parseDuration, settings.max_age),
    limits: {
      bindingsPerPort: limits.bindings_per_port,
      newBindingsPerSecond: limits.new_bindings_per_second,
    },
    duplicates: {
      moves: duplicates.moves,
      windowMs: checked(parseDuration, duplicates.window),
      holdMs: checked(parseDuration, duplicates.hold),
    },
    probe: {
      enabled: probeMode(probe.enabled),
      afterMs: checked(parseDuration, probe.after),
      source: probe.source === 'auto' ? 'auto' : checked(parseIp, probe.source),
    },
    announce: settings.announce,
    statics: (bridge.static ?? []).map(
      ({ ip, mac, vlan }): StaticEntry => ({
        ip: checked(parseIp, ip),
        macs: [...new Set([mac].flat().map((text) => checked(parseMac, text)))],
        vlan: vlan ?? 0,
      }),
    ),
  };
}

function probeMode(enabled: RawProbe['enabled']): DesiredBridge['probe']['enabled'] {
  if (typeof enabled === 'string') return enabled;
  return enabled ? 'auto' : 'never';
}

function checked<T>(parse: (text: string) => T | undefined, text: string): T {
  const value = parse(text);
  if (value === undefined) throw new RangeError(`"${text}" was checked and still cannot be read`);
  return value;
}

/** The configuration with every default written out. Parsing it gives the same configuration. */
export function writtenOut({ runtime, entries, verify, textfile }: Configuration): RawWholeConfig {
  return {
    version: 1,
    runtime: {
      bpffs: runtime.bpffs,
      pin_dir: runtime.pinDir,
      attach: runtime.attach,
      ring_size: formatSize(runtime.ringBytes),
      max_bindings: runtime.maxBindings,
      neighbor_protocol: runtime.neighborProtocol,
    },
    bridges: entries.map((bridge) => ({
      name: bridge.name,
      required: bridge.required,
      ports: bridge.ports,
      learn: bridge.learn,
      subnets: typeof bridge.subnets === 'string' ? bridge.subnets : bridge.subnets.map(formatPrefix),
      link_local: bridge.linkLocal,
      neighbor_state: bridge.neighborState,
      max_age: formatDuration(bridge.maxAgeMs),
      limits: {
        bindings_per_port: bridge.limits.bindingsPerPort,
        new_bindings_per_second: bridge.limits.newBindingsPerSecond,
      },
      duplicates: {
        moves: bridge.duplicates.moves,
        window: formatDuration(bridge.duplicates.windowMs),
        hold: formatDuration(bridge.duplicates.holdMs),
      },
      probe: {
        enabled: bridge.probe.enabled,
        after: formatDuration(bridge.probe.afterMs),
        source: bridge.probe.source,
      },
      announce: bridge.announce,
      static: bridge.statics.map(({ ip, macs, vlan }) => ({ ip, mac: macs, vlan })),
    })),
    frr: { verify },
    metrics: { textfile },
  };
}
