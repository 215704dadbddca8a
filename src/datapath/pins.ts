// What is pinned under bpffs: names, shapes, and whether it is what this version would load.

import { closeSync, readdirSync } from 'node:fs';
import { isAbsence, SnoopyError } from '../base/errors.ts';
import {
  BPF_MAP_TYPE_ARRAY,
  BPF_MAP_TYPE_HASH,
  BPF_MAP_TYPE_LPM_TRIE,
  BPF_MAP_TYPE_PERCPU_ARRAY,
  BPF_MAP_TYPE_RINGBUF,
  type MapInfo,
  mapInfo,
  mapLookup,
  objGet,
  programInfo,
} from '../ffi/libbpf.ts';
import {
  COUNTERS,
  decodeLayout,
  FIRST_BINDING_SIZE,
  isComplete,
  type Layout,
  SIZE,
  SNOOPY_ABI,
} from './records.ts';

/**
 * Why the program must be loaded: nothing is pinned; a load did not finish; what is pinned is another
 * program; its maps have another layout; or other sizes than configured.
 */
export type LoadReason = 'absent' | 'incomplete' | 'program' | 'layout' | 'size';

export type MapName =
  | 'bindings'
  | 'ports'
  | 'state'
  | 'prefixes'
  | 'statics'
  | 'counters'
  | 'changes'
  | 'probes'
  | 'layout';

/** Shape of a map, as bpf/snoopy.h and snoopy.bpf.c have it. */
interface MapShape {
  readonly type: number;
  readonly keySize: number;
  readonly valueSize: number;
}

const SHAPES: Readonly<Record<MapName, MapShape>> = {
  bindings: { type: BPF_MAP_TYPE_HASH, keySize: SIZE.bindingKey, valueSize: SIZE.binding },
  ports: { type: BPF_MAP_TYPE_HASH, keySize: SIZE.ifIndex, valueSize: SIZE.port },
  state: { type: BPF_MAP_TYPE_HASH, keySize: SIZE.ifIndex, valueSize: SIZE.portState },
  prefixes: { type: BPF_MAP_TYPE_LPM_TRIE, keySize: SIZE.prefixKey, valueSize: 1 },
  statics: { type: BPF_MAP_TYPE_HASH, keySize: SIZE.staticKey, valueSize: 1 },
  counters: { type: BPF_MAP_TYPE_PERCPU_ARRAY, keySize: 4, valueSize: SIZE.counter },
  changes: { type: BPF_MAP_TYPE_RINGBUF, keySize: 0, valueSize: 0 },
  probes: { type: BPF_MAP_TYPE_HASH, keySize: SIZE.bindingKey, valueSize: SIZE.probe },
  layout: { type: BPF_MAP_TYPE_ARRAY, keySize: 4, valueSize: SIZE.layout },
};

/** All maps; the layout record comes last, as it is pinned last. */
export const MAP_NAMES = Object.keys(SHAPES) as readonly MapName[];

/** Name of a map in the object. */
export function objectMapName(name: MapName): string {
  return `snoopy_${name}`;
}

/** What this run would load. */
export interface Expected {
  readonly digest: string;
  /** Inode of the network namespace. */
  readonly netns: number;
  readonly ringBytes: number;
  readonly maxBindings: number;
  /** Room for the keys of static entries. */
  readonly maxStatics: number;
}

export interface PinnedMap {
  readonly fd: number;
  readonly info: MapInfo;
}

/** Descriptors of what is pinned; they are the holder's until `close()`. */
export interface Pins {
  readonly directory: string;
  readonly layout: Layout | null;
  readonly program: { readonly fd: number; readonly id: number } | null;
  /** Only maps of the right shape and size. */
  readonly maps: ReadonlyMap<MapName, PinnedMap>;
  /** Maps of bindings of another size or of another version, and those replaced before: to be carried over. */
  readonly outgrown: readonly PinnedMap[];
  /** Null when all of it is what this run would load. */
  readonly loadReason: LoadReason | null;
  close(): void;
}

export function pinPath(directory: string, name: MapName | 'program'): string {
  return `${directory}/${name}`;
}

/** Directory of the pinned TCX links, one by ifindex. */
export function linksDirectory(directory: string): string {
  return `${directory}/links`;
}

/** Directory of the maps of bindings that were replaced while a program still wrote to them, one by map ID. */
export function replacedDirectory(directory: string): string {
  return `${directory}/replaced`;
}

export function replacedPath(directory: string, mapId: number): string {
  return `${replacedDirectory(directory)}/${mapId}`;
}

function sizeOf(name: MapName, expected: Expected): number | null {
  switch (name) {
    case 'bindings':
    case 'probes':
      return expected.maxBindings;
    case 'statics':
      return expected.maxStatics;
    case 'changes':
      return expected.ringBytes;
    case 'counters':
      return COUNTERS.length;
    default:
      return null;
  }
}

/**
 * Opens what is pinned and compares it with what would be loaded. Throws SnoopyError `unsupported` for the
 * pins of a newer version, `pin_unusable` for those of another network namespace.
 */
export function openPins(directory: string, expected: Expected): Pins {
  const fds: number[] = [];
  const maps = new Map<MapName, PinnedMap>();
  const close = (): void => {
    for (const fd of fds.splice(0)) closeSync(fd);
  };
  try {
    const outgrown: PinnedMap[] = [];
    let record: PinnedMap | undefined;
    let found = false;
    let worst: LoadReason | null = null;
    for (const name of MAP_NAMES) {
      const fd = objGet(pinPath(directory, name));
      if (fd === undefined) {
        worst ??= 'incomplete';
        continue;
      }
      fds.push(fd);
      found = true;
      const map = { fd, info: mapInfo(fd) };
      const size = sizeOf(name, expected);
      if (name === 'layout' && isRecord(map.info)) record = map;
      if (!hasShape(map.info, SHAPES[name])) {
        worst = 'layout';
      } else if (size !== null && map.info.maxEntries !== size) {
        if (worst !== 'layout') worst = 'size';
      } else {
        maps.set(name, map);
        continue;
      }
      if (name === 'bindings' && hasBindings(map.info)) outgrown.push(map);
    }
    const layout = readLayout(record);
    if (layout !== null) refuseForeign(directory, layout, expected);
    if (layout !== null && layout.abi !== SNOOPY_ABI) {
      worst = 'layout';
      const bindings = maps.get('bindings');
      if (bindings !== undefined) outgrown.push(bindings);
      maps.clear();
    }
    outgrown.push(...openReplaced(directory, fds, [...maps.values(), ...outgrown]));
    const program = openProgram(directory, fds);
    found ||= program !== null;
    const loadReason = found ? (worst ?? whyStale(layout, program, maps, expected)) : 'absent';
    return { directory, layout, program, maps, outgrown, loadReason, close };
  } catch (thrown) {
    close();
    throw thrown;
  }
}

function hasShape(info: MapInfo, shape: MapShape): boolean {
  return info.type === shape.type && info.keySize === shape.keySize && info.valueSize === shape.valueSize;
}

/** True for bindings of any version: the key and the first fields are those of all. */
function hasBindings(info: MapInfo): boolean {
  const { type, keySize } = SHAPES.bindings;
  return info.type === type && info.keySize === keySize && info.valueSize >= FIRST_BINDING_SIZE;
}

/** True for a layout record of any version: a later one may be longer, and begins with the same fields. */
function isRecord(info: MapInfo): boolean {
  const { type, keySize, valueSize } = SHAPES.layout;
  return info.type === type && info.keySize === keySize && info.valueSize >= valueSize;
}

function readLayout(map: PinnedMap | undefined): Layout | null {
  const bytes = map && mapLookup(map.fd, new Uint8Array(4), map.info.valueSize);
  return bytes === undefined ? null : decodeLayout(bytes);
}

/** The maps of bindings in `replaced`, but for those that are `known` already. */
function openReplaced(directory: string, fds: number[], known: readonly PinnedMap[]): PinnedMap[] {
  const ids = new Set(known.map(({ info }) => info.id));
  const maps: PinnedMap[] = [];
  for (const id of replacedIds(directory)) {
    const fd = ids.has(id) ? undefined : objGet(replacedPath(directory, id));
    if (fd === undefined) continue;
    fds.push(fd);
    const info = mapInfo(fd);
    if (hasBindings(info)) maps.push({ fd, info });
  }
  return maps;
}

/** Names are map IDs; what else lies there is not ours. */
function replacedIds(directory: string): number[] {
  try {
    return readdirSync(replacedDirectory(directory))
      .filter((name) => /^[1-9]\d*$/.test(name))
      .map(Number);
  } catch (thrown) {
    if (isAbsence(thrown)) return [];
    throw thrown;
  }
}

/** True when there may be fewer bindings than there were: no map has them, or a load did not finish. */
export function losesBindings({ maps, outgrown, layout }: Pins): boolean {
  return !keepsBindings({ maps, outgrown }) || layout === null || !isComplete(layout);
}

/** True when a map of bindings is pinned, whichever. */
export function keepsBindings({ maps, outgrown }: Pick<Pins, 'maps' | 'outgrown'>): boolean {
  return maps.has('bindings') || outgrown.length > 0;
}

function refuseForeign(directory: string, layout: Layout, expected: Expected): void {
  if (layout.abi > SNOOPY_ABI) {
    throw new SnoopyError(
      'unsupported',
      directory,
      `What is pinned in "${directory}" was made by a newer snoopy (layout ${layout.abi}, this one knows ${SNOOPY_ABI}); upgrade snoopy, or run "snoopy remove" with the newer one first`,
    );
  }
  // A network namespace of zero: the very first load was killed before it wrote the record.
  if (layout.netns !== expected.netns && layout.netns !== 0) {
    throw new SnoopyError(
      'pin_unusable',
      directory,
      `What is pinned in "${directory}" belongs to another network namespace; give this one its own runtime.pin_dir, or, if that namespace is gone, delete the directory`,
    );
  }
}

function openProgram(
  directory: string,
  fds: number[],
): (Pins['program'] & { mapIds?: readonly number[] }) | null {
  const path = pinPath(directory, 'program');
  const fd = objGet(path);
  if (fd === undefined) return null;
  fds.push(fd);
  const { id, mapIds } = programInfo(fd);
  return { fd, id, mapIds };
}

function whyStale(
  layout: Layout | null,
  program: { readonly mapIds?: readonly number[] } | null,
  maps: ReadonlyMap<MapName, PinnedMap>,
  expected: Expected,
): LoadReason | null {
  if (layout === null || program === null || !isComplete(layout)) return 'incomplete';
  for (const [name, { info }] of maps) {
    // The program does not hold the maps that it does not read.
    if (name !== 'layout' && name !== 'probes' && !program.mapIds?.includes(info.id)) return 'incomplete';
  }
  return layout.digest === expected.digest ? null : 'program';
}
