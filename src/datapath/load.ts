// Loading and pinning: what can be kept is kept, bindings are carried over, and a kill at any point is mended
// by the next run, because the layout record says "unfinished" from before the first pin to after the last.

import { renameSync, utimesSync } from 'node:fs';
import { mapInfo } from '../ffi/info.ts';
import { BPF_NOEXIST, mapEntries, mapUpdate, mapUpdateAll } from '../ffi/map.ts';
import { type LoadedObject, loadObject } from '../ffi/object.ts';
import { objPin } from '../ffi/pin.ts';
import { carryOver, keepReplaced, putIfNew } from './carry.ts';
import {
  clearName,
  type Expected,
  isDirectory,
  MAP_NAMES,
  type MapName,
  objectMapName,
  type PinnedMap,
  type Pins,
  pinPath,
} from './pins.ts';
import {
  type Binding,
  encodeBinding,
  encodeBindingKey,
  encodeLayout,
  SIZE,
  SNOOPY_ABI,
  unfinishedLayout,
} from './records.ts';

const PROGRAM = 'snoopy';
const FIRST = new Uint8Array(4);

/**
 * Loads `object` with the maps of `pins` that fit, carries the bindings over where their map is replaced, adds
 * those that are `adopted`, and pins all of it in `pins.directory` (which must exist). The pins given are stale
 * afterwards: close and open them again. Throws SnoopyError `load_failed` with the end of the verifier's log, or `syscall_failed`.
 */
export function load(object: Uint8Array, pins: Pins, expected: Expected, adopted: readonly Binding[]): void {
  const reuse = new Map([...pins.maps].map(([name, { fd }]) => [objectMapName(name), fd]));
  const kept = pins.maps.get('layout');
  if (kept !== undefined) mapUpdate(kept.fd, FIRST, encodeLayout(unfinishedLayout(expected.netns)));
  const loaded = loadObject(object, { program: PROGRAM, maxEntries: sizesOf(expected), reuse });
  try {
    const layout = fdOf(loaded, 'layout');
    mapUpdate(layout, FIRST, encodeLayout(unfinishedLayout(expected.netns)));
    const ports = pins.maps.get('ports');
    if (ports !== undefined && !pins.maps.has('state')) openBooks(ports, fdOf(loaded, 'state'));
    const bindings = fdOf(loaded, 'bindings');
    if (!pins.maps.has('bindings')) {
      keepReplaced(pins);
      carryOver(pins, bindings);
    }
    // Before the map is pinned, or a kill here would leave one that looks whole.
    for (const binding of adopted) putIfNew(bindings, encodeBindingKey(binding), encodeBinding(binding));
    for (const name of MAP_NAMES) {
      if (!pins.maps.has(name)) pinOver(fdOf(loaded, name), pinPath(pins.directory, name));
    }
    // Its time is that of the last run that succeeded: none has with these pins.
    if (kept === undefined) utimesSync(pinPath(pins.directory, 'layout'), 0, 0);
    pinOver(loaded.programFd, pinPath(pins.directory, 'program'));
    // What a load has left that was killed in between, and that this one did not come across.
    for (const name of [...MAP_NAMES, 'program'] as const) clearName(nextPath(pinPath(pins.directory, name)));
    mapUpdate(
      layout,
      FIRST,
      encodeLayout({ abi: SNOOPY_ABI, netns: expected.netns, digest: expected.digest }),
    );
  } finally {
    loaded.close();
  }
}

/** Loads the object and lets it go: throws what `load` would throw on this kernel, and changes nothing. */
export function tryLoad(object: Uint8Array, expected: Expected): void {
  loadObject(object, { program: PROGRAM, maxEntries: sizesOf(expected), reuse: new Map() }).close();
}

function sizesOf({ maxBindings, ringBytes, maxStatics }: Expected): ReadonlyMap<string, number> {
  return new Map([
    [objectMapName('bindings'), maxBindings],
    [objectMapName('probes'), maxBindings],
    [objectMapName('statics'), maxStatics],
    [objectMapName('changes'), ringBytes],
  ]);
}

function fdOf(loaded: LoadedObject, name: MapName): number {
  const fd = loaded.maps.get(objectMapName(name));
  if (fd === undefined) throw new Error(`the object has no map ${objectMapName(name)}`);
  return fd;
}

/** Zeroes for every port with a policy, as before its first attachment: a port without books has no room. */
function openBooks(ports: PinnedMap, state: number): void {
  const { keys, count } = mapEntries(ports.fd, ports.info);
  const values = new Uint8Array(count * SIZE.portState);
  mapUpdateAll(state, mapInfo(state), { keys, values, count }, BPF_NOEXIST);
}

/** Where a pin is made that is about to take its place. */
function nextPath(path: string): string {
  return `${path}_next`;
}

/** Pins in place of whatever is at `path`, in one step. bpffs allows no dot in a name. */
function pinOver(fd: number, path: string): void {
  const next = nextPath(path);
  clearName(next);
  objPin(fd, next);
  // Everything else gives way to a rename.
  if (isDirectory(path)) clearName(path);
  renameSync(next, path);
}
