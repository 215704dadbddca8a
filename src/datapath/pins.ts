// What is pinned under bpffs: names, shapes, and whether it is what this version would load.

import { closeSync } from 'node:fs';
import { SnoopyError } from '../base/errors.ts';
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
import { COUNTERS, decodeLayout, isComplete, type Layout, SIZE, SNOOPY_ABI } from './records.ts';

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
  /** Old bindings whose shape is right and whose size is not: to be carried over. */
  readonly outgrown: PinnedMap | null;
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

function sizeOf(name: MapName, expected: Expected): number | null {
  switch (name) {
    case 'bindings':
    case 'probes':
      return expected.maxBindings;
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
    let outgrown: PinnedMap | null = null;
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
      const info = mapInfo(fd);
      const size = sizeOf(name, expected);
      if (!hasShape(info, SHAPES[name])) {
        worst = 'layout';
      } else if (size !== null && info.maxEntries !== size) {
        if (name === 'bindings') outgrown = { fd, info };
        if (worst !== 'layout') worst = 'size';
      } else {
        maps.set(name, { fd, info });
      }
    }
    const layout = readLayout(maps.get('layout'));
    if (layout !== null) refuseForeign(directory, layout, expected);
    if (layout !== null && layout.abi !== SNOOPY_ABI) {
      worst = 'layout';
      maps.clear();
      outgrown = null;
    }
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

function readLayout(map: PinnedMap | undefined): Layout | null {
  const bytes = map && mapLookup(map.fd, new Uint8Array(4), SIZE.layout);
  return bytes === undefined ? null : decodeLayout(bytes);
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
