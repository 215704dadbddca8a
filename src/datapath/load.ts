// Loading and pinning: what can be kept is kept, bindings are carried over, and a kill at any point is mended
// by the next run, because the layout record says "unfinished" from before the first pin to after the last.

import { renameSync, rmSync } from 'node:fs';
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
  type Expected,
  MAP_NAMES,
  type MapName,
  objectMapName,
  type PinnedMap,
  type Pins,
  pinPath,
} from './pins.ts';
import { encodeLayout, SIZE, SNOOPY_ABI, unfinishedLayout } from './records.ts';

const PROGRAM = 'snoopy';
const FIRST = new Uint8Array(4);

/**
 * Loads `object` with the maps of `pins` that fit, carries the bindings over where their map is replaced, and
 * pins all of it in `pins.directory` (which must exist). The pins given are stale afterwards: close and open
 * them again. Throws SnoopyError `load_failed` with the end of the verifier's log, or `syscall_failed`.
 */
export function load(object: Uint8Array, pins: Pins, expected: Expected): void {
  const reuse = new Map([...pins.maps].map(([name, { fd }]) => [objectMapName(name), fd]));
  const kept = pins.maps.get('layout');
  if (kept !== undefined) mapUpdate(kept.fd, FIRST, encodeLayout(unfinishedLayout(expected.netns)));
  const loaded = loadObject(object, {
    program: PROGRAM,
    maxEntries: new Map([
      [objectMapName('bindings'), expected.maxBindings],
      [objectMapName('probes'), expected.maxBindings],
      [objectMapName('changes'), expected.ringBytes],
    ]),
    reuse,
  });
  try {
    const layout = fdOf(loaded, 'layout');
    mapUpdate(layout, FIRST, encodeLayout(unfinishedLayout(expected.netns)));
    const ports = pins.maps.get('ports');
    if (ports !== undefined && !pins.maps.has('state')) openBooks(ports, fdOf(loaded, 'state'));
    if (pins.outgrown !== null) carryOver(pins.outgrown, fdOf(loaded, 'bindings'));
    for (const name of MAP_NAMES) {
      if (!pins.maps.has(name)) pinOver(fdOf(loaded, name), pinPath(pins.directory, name));
    }
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
    try {
      mapUpdate(to.fd, entries.keys.subarray(i * keySize, (i + 1) * keySize), value, BPF_NOEXIST);
    } catch (thrown) {
      if (!(thrown instanceof SnoopyError)) throw thrown;
      if (thrown.errno === 'E2BIG') return;
      if (thrown.errno !== 'EEXIST') throw thrown;
    }
  }
}

function keysOf({ keys, count }: MapEntries, { keySize }: MapInfo): string[] {
  const text = Buffer.from(keys.buffer, keys.byteOffset, keys.byteLength);
  return Array.from({ length: count }, (_, i) => text.toString('latin1', i * keySize, (i + 1) * keySize));
}

/** Copies as many bindings as there is room for; those the program has learned meanwhile are newer. */
function carryOver(from: { readonly fd: number; readonly info: MapInfo }, to: number): void {
  const entries = mapEntries(from.fd, from.info);
  const info = mapInfo(to);
  const count = Math.min(entries.count, info.maxEntries);
  mapUpdateAll(to, info, { ...entries, count }, BPF_NOEXIST);
}

/** Pins in place of whatever is at `path`, in one step. bpffs allows no dot in a name. */
function pinOver(fd: number, path: string): void {
  const next = `${path}_next`;
  rmSync(next, { force: true });
  objPin(fd, next);
  renameSync(next, path);
}
