// The pins under bpffs: their names and shapes, and whether they are what this version would load.

import { closeSync, lstatSync, mkdirSync, readdirSync, rmdirSync, rmSync } from 'node:fs';
import { causeOf, errnoOf, SnoopyError } from '../base/errors.ts';
import { programInfo } from '../ffi/info.ts';
import { type ObjectKind, objectKind, objGet } from '../ffi/pin.ts';
import { MAPS, SNOOPY_ABI } from '../generated/layouts.ts';
import {
  bindingTable,
  layoutTable,
  type MapName,
  mismatchesOf,
  objectMapName,
  type ShapeField,
  shapeOf,
  type Tables,
  tablesOf,
} from './maps.ts';
import { holdsBindings, holdsLayout } from './older-versions.ts';
import type { Binding } from './records/binding.ts';
import type { BindingKey } from './records/binding-key.ts';
import { isComplete, type Layout } from './records/layout.ts';
import { openRing, type Ring } from './ring.ts';
import { type OpenMap, openMap, type Table } from './table.ts';

/**
 * Why the program must be loaded: nothing is pinned; a load did not finish; the pinned program is another one; its maps
 * have another layout; or they have other sizes than configured.
 */
export type LoadReason = 'absent' | 'incomplete' | 'program' | 'layout' | 'size';

/** All maps. The layout record is the last one, as it is pinned last. */
export const MAP_NAMES: readonly MapName[] = [
  'bindings',
  'ports',
  'state',
  'prefixes',
  'statics',
  'counters',
  'changes',
  'seen',
  'hints',
  'probes',
  'rejected',
  'layout',
];

/** What a load by this run would pin. */
export interface Expected {
  readonly digest: string;
  /** Inode of the network namespace. */
  readonly netns: number;
  readonly ringBytes: number;
  readonly maxBindings: number;
  /** Maximum number of keys of static entries. */
  readonly maxStatics: number;
}

/** The pins, with descriptors that stay open until `close()`. */
export interface Pins {
  readonly directory: string;
  readonly layout: Layout | null;
  readonly program: PinnedProgram | null;
  /** Only maps of the right shape and size. */
  readonly maps: ReadonlyMap<MapName, OpenMap>;
  /** The same maps as tables of records. */
  readonly tables: Tables;
  /** Maps of bindings of another size or version, and maps replaced by earlier loads: to be migrated. */
  readonly oldBindings: readonly Table<BindingKey, Binding>[];
  /** Null when everything is as this run would load it. */
  readonly loadReason: LoadReason | null;
  /** The `stampOf` their directory, from before they were opened. */
  readonly stamp: string | null;
  /**
   * The pinned ring, read from what was committed last; undefined when none is pinned. Mapped at the first call, until
   * `close()`. Throws SnoopyError `map_failed`.
   */
  ring(): Ring | undefined;
  close(): void;
}

export interface PinnedProgram {
  readonly fd: number;
  readonly id: number;
  /** IDs of the maps that the program uses. */
  readonly mapIds: readonly number[];
}

export function pinPath(directory: string, name: MapName | 'program'): string {
  return `${directory}/${name}`;
}

/** Directory of the pinned TCX links, one by ifindex. */
export function linksDirectory(directory: string): string {
  return `${directory}/links`;
}

/** Directory of replaced maps of bindings that a program still writes to, one by map ID. */
export function replacedDirectory(directory: string): string {
  return `${directory}/replaced`;
}

export function replacedPath(directory: string, mapId: number): string {
  return `${replacedDirectory(directory)}/${mapId}`;
}

/** Maximum number of entries of a map; for the ring, its size in bytes. */
function sizeOf(name: MapName, expected: Expected): number {
  switch (name) {
    case 'bindings':
    case 'probes':
      return expected.maxBindings;
    case 'statics':
      return expected.maxStatics;
    case 'changes':
      return expected.ringBytes;
    default:
      return MAPS[name].maxEntries;
  }
}

/** Sizes by the names of the maps in the object. */
export function sizesOf(expected: Expected): ReadonlyMap<string, number> {
  return new Map(MAP_NAMES.map((name) => [objectMapName(name), sizeOf(name, expected)]));
}

/**
 * Opens the pin at a name of ours; undefined when there is nothing. `other`: something else is there, such as a
 * directory, a symlink (which is not followed) or another kind of object. It is neither read nor written, and the next
 * pin replaces it.
 */
export function openPinned(path: string, kind: ObjectKind): number | 'other' | undefined {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return undefined;
  if (!stat.isFile()) return 'other';
  const fd = objGet(path);
  if (fd === undefined || objectKind(fd) === kind) return fd;
  closeSync(fd);
  return 'other';
}

/** Also false for a symlink to a directory. */
export function isDirectory(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

/** Creates a directory of ours, in place of anything else. */
export function ensureDirectory(path: string): void {
  if (isDirectory(path)) return;
  clearName(path);
  mkdirSync(path, { mode: 0o700 });
}

/** Deletes anything at a name of ours. Throws SnoopyError `pin_unusable` for a directory that is not empty. */
export function clearName(path: string): void {
  if (!isDirectory(path)) {
    rmSync(path, { force: true });
    return;
  }
  try {
    rmdirSync(path);
  } catch (thrown) {
    throw new SnoopyError({
      code: 'pin_unusable',
      object: path,
      operation: `pin "${path}"`,
      cause: `a directory is in its place and cannot be deleted (${causeOf(thrown)})`,
      fix: 'move it away',
      errno: errnoOf(thrown),
    });
  }
}

/** What is pinned at the name of a map. */
type Pin =
  | { readonly kind: 'absent' }
  | { readonly kind: 'other' }
  | { readonly kind: 'map'; readonly map: OpenMap; readonly mismatches: readonly ShapeField[] };

/** Changes when a pin is created, replaced or deleted, and when another file system is mounted there. Null: no directory. */
export function stampOf(directory: string): string | null {
  const stat = lstatSync(directory, { bigint: true, throwIfNoEntry: false });
  return stat === undefined ? null : `${stat.dev} ${stat.ino} ${stat.mtimeNs}`;
}

/**
 * Opens the pins and compares them with what would be loaded. Throws SnoopyError `unsupported` for the pins of a newer
 * version, and `pin_unusable` for those of another network namespace.
 */
export function openPins(directory: string, expected: Expected): Pins {
  const stamp = stampOf(directory);
  const fds: number[] = [];
  let ring: Ring | undefined;
  const close = (): void => {
    ring?.close();
    ring = undefined;
    for (const fd of fds.splice(0)) closeSync(fd);
  };
  try {
    const pins = new Map(MAP_NAMES.map((name) => [name, openPin(directory, name, expected, fds)]));
    const layout = readLayout(pins.get('layout'));
    if (layout !== null) refuseForeign(directory, layout, expected);
    const isThisVersion = layout === null || layout.abi === SNOOPY_ABI;
    const maps = isThisVersion ? fittingMaps(pins) : new Map<MapName, OpenMap>();
    const known = [...pins.values()].flatMap((pin) => (pin.kind === 'map' ? [pin.map.info.id] : []));
    const old = [
      ...(maps.has('bindings') ? [] : bindingsOf(pins)),
      ...openReplaced(directory, fds).filter(({ info }) => !known.includes(info.id)),
    ];
    const program = openProgram(directory, fds);
    const isAbsent = program === null && [...pins.values()].every(({ kind }) => kind === 'absent');
    const loadReason = isAbsent
      ? 'absent'
      : ((isThisVersion ? whyUnfit(pins, old, program) : 'layout') ??
        whyStale(layout, program, maps, expected));
    const oldBindings = old.map(bindingTable);
    return {
      directory,
      layout,
      program,
      maps,
      tables: tablesOf(maps),
      oldBindings,
      loadReason,
      stamp,
      ring: () => {
        const map = maps.get('changes');
        if (map === undefined) return undefined;
        ring ??= openRing(map.fd, map.info.maxEntries);
        ring.rewind();
        return ring;
      },
      close,
    };
  } catch (thrown) {
    close();
    throw thrown;
  }
}

function openPin(directory: string, name: MapName, expected: Expected, fds: number[]): Pin {
  const fd = openPinned(pinPath(directory, name), 'map');
  if (fd === undefined) return { kind: 'absent' };
  if (fd === 'other') return { kind: 'other' };
  fds.push(fd);
  const map = openMap(fd);
  return { kind: 'map', map, mismatches: mismatchesOf(map.info, shapeOf(name, sizeOf(name, expected))) };
}

function fittingMaps(pins: ReadonlyMap<MapName, Pin>): Map<MapName, OpenMap> {
  const maps = new Map<MapName, OpenMap>();
  for (const [name, pin] of pins) {
    if (pin.kind === 'map' && pin.mismatches.length === 0) maps.set(name, pin.map);
  }
  return maps;
}

/** The map at the name "bindings", if it has bindings of any version. */
function bindingsOf(pins: ReadonlyMap<MapName, Pin>): OpenMap[] {
  const pin = pins.get('bindings');
  return pin?.kind === 'map' && holdsBindings(pin.map.info) ? [pin.map] : [];
}

function readLayout(pin: Pin | undefined): Layout | null {
  if (pin?.kind !== 'map' || !holdsLayout(pin.map.info)) return null;
  return layoutTable(pin.map).get(0) ?? null;
}

/** Why the maps cannot be kept: the most serious reason. Null when all of them fit. */
function whyUnfit(
  pins: ReadonlyMap<MapName, Pin>,
  oldBindings: readonly OpenMap[],
  program: PinnedProgram | null,
): LoadReason | null {
  const reasons = new Set([...pins.values()].map(whyPinUnfit));
  if (reasons.has('layout')) return 'layout';
  // A map that the program does not fill may lack bindings. Then its size is not the main reason.
  const isFilled = oldBindings.every(({ info }) => program?.mapIds.includes(info.id));
  if (reasons.has('size')) return isFilled ? 'size' : 'incomplete';
  return reasons.has('incomplete') ? 'incomplete' : null;
}

function whyPinUnfit(pin: Pin): LoadReason | null {
  switch (pin.kind) {
    case 'absent':
      return 'incomplete';
    case 'other':
      return 'layout';
    case 'map':
      if (pin.mismatches.length === 0) return null;
      return pin.mismatches.every((field) => field === 'maxEntries') ? 'size' : 'layout';
    default:
      return pin satisfies never;
  }
}

/** The maps of bindings in `replaced`. */
function openReplaced(directory: string, fds: number[]): OpenMap[] {
  return replacedIds(directory).flatMap((id) => {
    const fd = openPinned(replacedPath(directory, id), 'map');
    if (fd === undefined || fd === 'other') return [];
    fds.push(fd);
    const map = openMap(fd);
    return holdsBindings(map.info) ? [map] : [];
  });
}

/** IDs of the maps in `replaced`, which are their names; anything else belongs to another owner. */
export function replacedIds(directory: string): number[] {
  const path = replacedDirectory(directory);
  const names = isDirectory(path) ? readdirSync(path) : [];
  return names.filter((name) => /^[1-9]\d*$/.test(name)).map(Number);
}

/** True when there may be fewer bindings than there were: no map has them, or a load did not finish. */
export function losesBindings(pins: Pins): boolean {
  const { layout, loadReason } = pins;
  if (!keepsBindings(pins)) return true;
  return layout === null || !isComplete(layout) || loadReason === 'incomplete';
}

/** True when any map of bindings is pinned. */
export function keepsBindings({ tables, oldBindings }: Pick<Pins, 'tables' | 'oldBindings'>): boolean {
  return tables.bindings !== undefined || oldBindings.length > 0;
}

function refuseForeign(directory: string, layout: Layout, expected: Expected): void {
  const context = { object: directory, operation: `use the pins in "${directory}"` };
  if (layout.abi > SNOOPY_ABI) {
    throw new SnoopyError({
      ...context,
      code: 'unsupported',
      cause: `they were made by a newer snoopy (layout ${layout.abi}, this one knows ${SNOOPY_ABI})`,
      fix: 'upgrade snoopy, or run `snoopy remove` with the newer one first',
    });
  }
  // Zero as network namespace: the very first load was killed before it wrote the record.
  if (layout.netns !== expected.netns && layout.netns !== 0) {
    throw new SnoopyError({
      ...context,
      code: 'pin_unusable',
      cause: 'they belong to another network namespace',
      fix: 'set another runtime.pin_dir for this one, or delete the directory if that namespace no longer exists',
    });
  }
}

function openProgram(directory: string, fds: number[]): PinnedProgram | null {
  const path = pinPath(directory, 'program');
  const fd = openPinned(path, 'program');
  if (fd === undefined || fd === 'other') return null;
  fds.push(fd);
  const { id, mapIds } = programInfo(fd);
  return { fd, id, mapIds };
}

function whyStale(
  layout: Layout | null,
  program: PinnedProgram | null,
  maps: ReadonlyMap<MapName, OpenMap>,
  expected: Expected,
): LoadReason | null {
  if (layout === null || program === null || !isComplete(layout)) return 'incomplete';
  for (const [name, { info }] of maps) {
    if (!isForUserSpace(name) && !program.mapIds.includes(info.id)) return 'incomplete';
  }
  return layout.digest === expected.digest ? null : 'program';
}

/** True for a map that the program does not use. */
function isForUserSpace(name: MapName): boolean {
  return name === 'hints' || name === 'layout' || name === 'probes';
}
