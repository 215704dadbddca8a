// The maps of the program: their names, shapes and records.

import type { IfIndex } from '../base/address.ts';
import { writeU32 } from '../base/bytes.ts';
import type { MapInfo } from '../ffi/info.ts';
import { perCpuSum } from '../ffi/map.ts';
import { COUNTERS, MAPS } from '../generated/layouts.ts';
import { type Binding, bindingCodec } from './records/binding.ts';
import { type BindingKey, bindingKeyCodec } from './records/binding-key.ts';
import type { KeyCodec } from './records/codec.ts';
import type { CounterName } from './records/counters.ts';
import { type Hint, type HintKey, hintCodec, hintKeyCodec } from './records/hint.ts';
import { type Layout, layoutCodec } from './records/layout.ts';
import {
  ifIndexCodec,
  type PortPolicy,
  type PortState,
  portPolicyCodec,
  portStateCodec,
} from './records/port.ts';
import {
  type PrefixRule,
  type PrefixRuleKey,
  prefixKeyCodec,
  prefixRuleCodec,
} from './records/prefix-rule.ts';
import { type ProbeRecord, probeCodec } from './records/probe.ts';
import { type Rejection, rejectionDecoder } from './records/rejection.ts';
import { type SeenHint, type SeenHintKey, seenHintCodec, seenHintKeyCodec } from './records/seen-hint.ts';
import { type StaticRule, staticKeyCodec, staticRuleCodec } from './records/static-rule.ts';
import { decodeAll, type OpenMap, readEntries, Table } from './table.ts';

export type MapName = keyof typeof MAPS;

/** Name of a map in the object, and in the kernel. */
export function objectMapName(name: MapName): string {
  return `snoopy_${name}`;
}

/** The properties of a map that must match for the program to use it. */
export type MapShape = Omit<MapInfo, 'id'>;

const SHAPE_FIELDS = ['name', 'type', 'keySize', 'valueSize', 'flags', 'maxEntries'] as const;

export type ShapeField = (typeof SHAPE_FIELDS)[number];

/** The shape of a map of the object, with room for `maxEntries` (of a ring: bytes). */
export function shapeOf(name: MapName, maxEntries: number): MapShape {
  return { ...MAPS[name], name: objectMapName(name), maxEntries };
}

/** The fields in which a map differs from a shape; empty when it fits. */
export function mismatchesOf(map: MapShape, shape: MapShape): ShapeField[] {
  return SHAPE_FIELDS.filter((field) => map[field] !== shape[field]);
}

/** How many entries the memory of hints has room for. */
export const HINTS_ROOM = MAPS.hints.maxEntries;

/** The maps that are open. The ring is not among them: see openRing(). */
export interface Tables {
  readonly bindings: Table<BindingKey, Binding> | undefined;
  readonly ports: Table<IfIndex, PortPolicy> | undefined;
  readonly state: Table<IfIndex, PortState> | undefined;
  readonly prefixes: Table<PrefixRuleKey, PrefixRule> | undefined;
  readonly statics: Table<StaticRule, StaticRule> | undefined;
  readonly probes: Table<BindingKey, ProbeRecord> | undefined;
  /** Only the program adds entries to this one. */
  readonly seen: Table<SeenHintKey, SeenHint> | undefined;
  readonly hints: Table<HintKey, Hint> | undefined;
  readonly layout: Table<0, Layout> | undefined;
  /** The sums over all CPUs, counted since the program was first loaded. */
  readonly counters: { sum(name: CounterName): number } | undefined;
  /** User space only reads these. */
  readonly rejected: { values(): Rejection[] } | undefined;
}

export function tablesOf(maps: ReadonlyMap<MapName, OpenMap>): Tables {
  const open = <T>(name: MapName, make: (map: OpenMap) => T): T | undefined => {
    const map = maps.get(name);
    return map && make(map);
  };
  return {
    bindings: open('bindings', bindingTable),
    ports: open('ports', portTable),
    state: open('state', stateTable),
    prefixes: open(
      'prefixes',
      (map) => new Table(map, prefixKeyCodec, prefixRuleCodec, MAPS.prefixes.valueSize),
    ),
    statics: open(
      'statics',
      (map) => new Table(map, staticKeyCodec, staticRuleCodec, MAPS.statics.valueSize),
    ),
    probes: open('probes', (map) => new Table(map, bindingKeyCodec, probeCodec, MAPS.probes.valueSize)),
    seen: open('seen', (map) => new Table(map, seenHintKeyCodec, seenHintCodec, MAPS.seen.valueSize)),
    hints: open('hints', (map) => new Table(map, hintKeyCodec, hintCodec, MAPS.hints.valueSize)),
    layout: open('layout', layoutTable),
    counters: open('counters', ({ fd }) => ({ sum: (name) => perCpuSum(fd, COUNTERS.indexOf(name)) })),
    rejected: open('rejected', (map) => ({
      values: () => decodeAll(readEntries(map, MAPS.rejected.valueSize), rejectionDecoder),
    })),
  };
}

/** A map of bindings of any version: see older-versions.ts. */
export function bindingTable(map: OpenMap): Table<BindingKey, Binding> {
  return new Table(map, bindingKeyCodec, bindingCodec, MAPS.bindings.valueSize);
}

function portTable(map: OpenMap): Table<IfIndex, PortPolicy> {
  return new Table(map, ifIndexCodec, portPolicyCodec, MAPS.ports.valueSize);
}

export function stateTable(map: OpenMap): Table<IfIndex, PortState> {
  return new Table(map, ifIndexCodec, portStateCodec, MAPS.state.valueSize);
}

/** The index of the only entry of an array. */
const onlyIndexCodec: KeyCodec<0> = {
  decode: () => 0,
  encode: (index, bytes, at) => writeU32(bytes, at, index),
};

/** A layout record of any version. */
export function layoutTable(map: OpenMap): Table<0, Layout> {
  return new Table(map, onlyIndexCodec, layoutCodec, MAPS.layout.valueSize);
}
