// What is pinned under bpffs: names, shapes, and whether it is what this version would load.

import { closeSync, lstatSync, mkdirSync, readdirSync, rmdirSync, rmSync } from 'node:fs';
import { SnoopyError } from '../base/errors.ts';
import { type MapInfo, mapInfo, programInfo } from '../ffi/info.ts';
import { mapLookup } from '../ffi/map.ts';
import { type ObjectKind, objectKind, objGet } from '../ffi/pin.ts';
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
  | 'rejected'
  | 'layout';

/** Shape of a map, as bpf/snoopy.h and snoopy.bpf.c have it. */
interface MapShape {
  readonly type: number;
  readonly keySize: number;
  readonly valueSize: number;
  /** BPF_F_* */
  readonly flags: number;
  /** Entries that there is room for; null: as configured. */
  readonly size: number | null;
}

// enum bpf_map_type
const BPF_MAP_TYPE_HASH = 1;
const BPF_MAP_TYPE_ARRAY = 2;
const BPF_MAP_TYPE_PERCPU_ARRAY = 6;
const BPF_MAP_TYPE_LRU_HASH = 9;
const BPF_MAP_TYPE_LPM_TRIE = 11;
const BPF_MAP_TYPE_RINGBUF = 27;

const BPF_F_NO_PREALLOC = 1 << 0;

function shape(
  type: number,
  keySize: number,
  valueSize: number,
  size: number | null,
  flags: number = 0,
): MapShape {
  return { type, keySize, valueSize, flags, size };
}

const SHAPES: Readonly<Record<MapName, MapShape>> = {
  bindings: shape(BPF_MAP_TYPE_HASH, SIZE.bindingKey, SIZE.binding, null),
  ports: shape(BPF_MAP_TYPE_HASH, SIZE.ifIndex, SIZE.port, 8192, BPF_F_NO_PREALLOC),
  state: shape(BPF_MAP_TYPE_HASH, SIZE.ifIndex, SIZE.portState, 8192, BPF_F_NO_PREALLOC),
  prefixes: shape(BPF_MAP_TYPE_LPM_TRIE, SIZE.prefixKey, 1, 2 ** 17, BPF_F_NO_PREALLOC),
  statics: shape(BPF_MAP_TYPE_HASH, SIZE.staticKey, 1, null, BPF_F_NO_PREALLOC),
  counters: shape(BPF_MAP_TYPE_PERCPU_ARRAY, 4, SIZE.counter, COUNTERS.length),
  changes: shape(BPF_MAP_TYPE_RINGBUF, 0, 0, null),
  probes: shape(BPF_MAP_TYPE_HASH, SIZE.bindingKey, SIZE.probe, null, BPF_F_NO_PREALLOC),
  rejected: shape(BPF_MAP_TYPE_LRU_HASH, SIZE.bindingKey, SIZE.rejection, 4096),
  layout: shape(BPF_MAP_TYPE_ARRAY, 4, SIZE.layout, 1),
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

function sizeOf(name: MapName, expected: Expected): number {
  const { size } = SHAPES[name];
  if (size !== null) return size;
  switch (name) {
    case 'changes':
      return expected.ringBytes;
    case 'statics':
      return expected.maxStatics;
    default:
      return expected.maxBindings;
  }
}

/**
 * Opens what is pinned at a name of ours; undefined when there is nothing. `foreign`: something else stands there,
 * a directory, a symlink (which is not followed), another kind of object. The name is ours, what it stands for is
 * not: it is neither read nor written, and gives way to what is pinned there next.
 */
export function openPinned(path: string, kind: ObjectKind): number | 'foreign' | undefined {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return undefined;
  if (!stat.isFile()) return 'foreign';
  const fd = objGet(path);
  if (fd === undefined || objectKind(fd) === kind) return fd;
  closeSync(fd);
  return 'foreign';
}

/** False for a symlink, too. */
export function isDirectory(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

/** Makes a directory of ours in place of whatever else stands there. */
export function ensureDirectory(path: string): void {
  if (isDirectory(path)) return;
  clearName(path);
  mkdirSync(path, { mode: 0o700 });
}

/** Takes away what stands at a name of ours. A directory that has something in it is left to its owner. */
export function clearName(path: string): void {
  if (!isDirectory(path)) {
    rmSync(path, { force: true });
    return;
  }
  try {
    rmdirSync(path);
  } catch (thrown) {
    const errno = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : 'EIO';
    const message = `Cannot pin "${path}": there is a directory, and to delete it ends with ${errno}; move it away`;
    throw new SnoopyError('pin_unusable', path, message, errno);
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
      const fd = openPinned(pinPath(directory, name), 'map');
      if (fd === undefined) {
        worst ??= 'incomplete';
        continue;
      }
      found = true;
      if (fd === 'foreign') {
        worst = 'layout';
        continue;
      }
      fds.push(fd);
      const map = { fd, info: mapInfo(fd) };
      if (name === 'layout' && isRecord(map.info)) record = map;
      if (!isOurs(map.info, name)) {
        worst = 'layout';
      } else if (map.info.maxEntries !== sizeOf(name, expected)) {
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
    // Not what the program fills: whoever takes its size for the reason would believe that there are no bindings.
    if (worst === 'size' && outgrown.some(({ info }) => !program?.mapIds?.includes(info.id)))
      worst = 'incomplete';
    const loadReason = found ? (worst ?? whyStale(layout, program, maps, expected)) : 'absent';
    return { directory, layout, program, maps, outgrown, loadReason, close };
  } catch (thrown) {
    close();
    throw thrown;
  }
}

/** True for a map such as we load. One of another name is somebody else's, though it has the same shape. */
function isOurs(info: MapInfo, name: MapName): boolean {
  const { type, keySize, valueSize, flags } = SHAPES[name];
  return (
    info.name === objectMapName(name) &&
    info.type === type &&
    info.keySize === keySize &&
    info.valueSize === valueSize &&
    info.flags === flags
  );
}

/** True for bindings of any version: the key and the first fields are those of all. */
function hasBindings(info: MapInfo): boolean {
  return isOurs({ ...info, valueSize: SIZE.binding }, 'bindings') && info.valueSize >= FIRST_BINDING_SIZE;
}

/** True for a layout record of any version: a later one may be longer, and begins with the same fields. */
function isRecord(info: MapInfo): boolean {
  return isOurs({ ...info, valueSize: SIZE.layout }, 'layout') && info.valueSize >= SIZE.layout;
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
    const fd = ids.has(id) ? undefined : openPinned(replacedPath(directory, id), 'map');
    if (fd === undefined || fd === 'foreign') continue;
    fds.push(fd);
    const info = mapInfo(fd);
    if (hasBindings(info)) maps.push({ fd, info });
  }
  return maps;
}

/** Names are map IDs; what else lies there is not ours. */
export function replacedIds(directory: string): number[] {
  const path = replacedDirectory(directory);
  const names = isDirectory(path) ? readdirSync(path) : [];
  return names.filter((name) => /^[1-9]\d*$/.test(name)).map(Number);
}

/** True when there may be fewer bindings than there were: no map has them, or a load did not finish. */
export function losesBindings({ maps, outgrown, layout, loadReason }: Pins): boolean {
  if (!keepsBindings({ maps, outgrown })) return true;
  return layout === null || !isComplete(layout) || loadReason === 'incomplete';
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
  const fd = openPinned(path, 'program');
  if (fd === undefined || fd === 'foreign') return null;
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
