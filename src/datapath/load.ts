// Loading and pinning: what can be kept is kept, bindings are carried over, and a kill at any point is mended
// by the next run, because the layout record says "unfinished" from before the first pin to after the last.

import { lstatSync, renameSync, utimesSync } from 'node:fs';
import { SnoopyError } from '../base/errors.ts';
import {
  BPF_NOEXIST,
  type LoadedObject,
  loadObject,
  type MapEntries,
  type MapInfo,
  mapEntries,
  mapInfo,
  mapUpdate,
  mapUpdateAll,
  objPin,
} from '../ffi/libbpf.ts';
import {
  clearName,
  type Expected,
  type LoadReason,
  MAP_NAMES,
  type MapName,
  objectMapName,
  type PinnedMap,
  type Pins,
  pinPath,
} from './pins.ts';
import {
  type Binding,
  decodeBindings,
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
    if (pins.outgrown !== null) carryOver(pins.outgrown, fdOf(loaded, 'bindings'));
    for (const name of MAP_NAMES) {
      if (!pins.maps.has(name)) pinOver(fdOf(loaded, name), pinPath(pins.directory, name));
    }
    // Its time is that of the last run that succeeded: none has with these pins.
    if (kept === undefined) utimesSync(pinPath(pins.directory, 'layout'), 0, 0);
    // Before the load counts as finished, or a kill here would leave an empty map that looks whole.
    const bindings = fdOf(loaded, 'bindings');
    for (const binding of adopted) putIfNew(bindings, encodeBindingKey(binding), encodeBinding(binding));
    pinOver(loaded.programFd, pinPath(pins.directory, 'program'));
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

function sizesOf({ maxBindings, ringBytes }: Expected): ReadonlyMap<string, number> {
  return new Map([
    [objectMapName('bindings'), maxBindings],
    [objectMapName('probes'), maxBindings],
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

/**
 * Copies the bindings of a replaced map that were created between the first copy and the last attachment, when
 * the old program was still at work. Those that are known by now stay as they are. For after the attachment.
 */
export function carryOverLate(from: PinnedMap, to: PinnedMap): void {
  const known = new Set(keysOf(mapEntries(to.fd, to.info), to.info));
  const entries = mapEntries(from.fd, from.info);
  const { keySize, valueSize } = from.info;
  for (const [i, key] of keysOf(entries, from.info).entries()) {
    if (known.has(key)) continue;
    const value = entries.values.subarray(i * valueSize, (i + 1) * valueSize);
    putIfNew(to.fd, entries.keys.subarray(i * keySize, (i + 1) * keySize), value);
  }
}

/** Writes an entry unless there is one already, or no room for it. */
function putIfNew(fd: number, key: Uint8Array, value: Uint8Array): void {
  try {
    mapUpdate(fd, key, value, BPF_NOEXIST);
  } catch (thrown) {
    const isHarmless =
      thrown instanceof SnoopyError && (thrown.errno === 'EEXIST' || thrown.errno === 'E2BIG');
    if (!isHarmless) throw thrown;
  }
}

/** True when a load for this reason may begin with fewer bindings than there were. */
export function losesBindings(reason: LoadReason): boolean {
  return reason !== 'program' && reason !== 'size';
}

function keysOf({ keys, count }: MapEntries, { keySize }: MapInfo): string[] {
  const text = Buffer.from(keys.buffer, keys.byteOffset, keys.byteLength);
  return Array.from({ length: count }, (_, i) => text.toString('latin1', i * keySize, (i + 1) * keySize));
}

/** Copies as many bindings as there is room for, those that were seen last first. */
function carryOver(from: PinnedMap, to: number): void {
  const entries = mapEntries(from.fd, from.info);
  const { keySize, valueSize } = from.info;
  const info = mapInfo(to);
  const count = Math.min(entries.count, info.maxEntries);
  if (count === entries.count) {
    mapUpdateAll(to, info, entries, BPF_NOEXIST);
    return;
  }
  const bindings = decodeBindings(entries.keys, entries.values, entries.count);
  const latest = [...bindings.keys()].sort(
    (a, b) => (bindings[b]?.lastSeenMs ?? 0) - (bindings[a]?.lastSeenMs ?? 0),
  );
  for (const i of latest.slice(0, count)) {
    const key = entries.keys.subarray(i * keySize, (i + 1) * keySize);
    putIfNew(to, key, entries.values.subarray(i * valueSize, (i + 1) * valueSize));
  }
}

/** Pins in place of whatever is at `path`, in one step. bpffs allows no dot in a name. */
function pinOver(fd: number, path: string): void {
  const next = `${path}_next`;
  clearName(next);
  objPin(fd, next);
  // Everything else gives way to a rename.
  if (lstatSync(path, { throwIfNoEntry: false })?.isDirectory()) clearName(path);
  renameSync(next, path);
}
