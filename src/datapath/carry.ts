// Bindings outlive the map they are in: read from all maps that have them, carried over to the newest.
//
// A load that replaces their map pins the old one under `replaced`, by its ID, before anything else. The programs that
// are still attached learn on into it, so it stays until the last of them has given way, however many runs that takes
// and wherever they are killed. What is found there, and how it goes on:
//
//   replaced   bindings    layout record      program   attached
//   -          old         old                old       old       nothing was done yet
//   old        old         old                old       old       loads, from "bindings"
//   old        new         old, or none       old       old       loads anew, from "bindings" and "replaced"
//   old        new         new, unfinished    either    old       loads anew, with the maps that there are
//   old        new         new                new       some new  attaches, then carries over what came late
//   old        new         new                new       new       carries over what came late, then unpins "replaced"
//   -          new         new                new       new       nothing to do
//
// "bindings" is pinned only when all that was known is in it, and a record of the old version stands until no other
// map of it is left, so that none of those is ever taken for a new one.

import { closeSync } from 'node:fs';
import { SnoopyError } from '../base/errors.ts';
import { mapInfo } from '../ffi/info.ts';
import { BPF_NOEXIST, type MapEntries, mapEntries, mapLookup, mapUpdate, mapUpdateAll } from '../ffi/map.ts';
import { objPin } from '../ffi/pin.ts';
import {
  clearName,
  ensureDirectory,
  openPinned,
  type PinnedMap,
  type Pins,
  replacedDirectory,
  replacedPath,
} from './pins.ts';
import { BINDING_TIMES, SIZE } from './records.ts';

const NOTHING: MapEntries = { keys: new Uint8Array(0), values: new Uint8Array(0), count: 0 };

/** All bindings, of whichever map, as this version has them. Of two for one address the later one is true. */
export function readBindings({ maps, outgrown }: Pins): MapEntries {
  const current = maps.get('bindings');
  const [first = NOTHING, ...others] = [...(current === undefined ? [] : [current]), ...outgrown].map(
    readFitted,
  );
  return others.reduce(merge, first);
}

/** The entries of a map of bindings of any version: new fields come at the end, and zero in them means "not known". */
function readFitted({ fd, info }: PinnedMap): MapEntries {
  const { keys, values, count } = mapEntries(fd, info);
  if (info.valueSize === SIZE.binding) return { keys, values, count };
  const fitted = new Uint8Array(count * SIZE.binding);
  const size = Math.min(info.valueSize, SIZE.binding);
  for (let i = 0; i < count; i++) {
    fitted.set(values.subarray(i * info.valueSize, i * info.valueSize + size), i * SIZE.binding);
  }
  return { keys, values: fitted, count };
}

function merge(entries: MapEntries, others: MapEntries): MapEntries {
  const chosen = new Map(keysOf(entries).map((key, i) => [key, valueAt(entries, i)]));
  for (const [i, key] of keysOf(others).entries()) {
    const value = valueAt(others, i);
    const known = chosen.get(key);
    if (known === undefined || isLater(value, known)) chosen.set(key, value);
  }
  return {
    keys: Buffer.from([...chosen.keys()].join(''), 'latin1'),
    values: Buffer.concat([...chosen.values()]),
    count: chosen.size,
  };
}

/** Seen later; or frozen since, for a claim that freezes does not count as seeing the host. */
function isLater(value: Uint8Array, than: Uint8Array): boolean {
  const [a, b] = [timesOf(value), timesOf(than)];
  return a.lastSeen === b.lastSeen ? a.frozenUntil > b.frozenUntil : a.lastSeen > b.lastSeen;
}

function timesOf(value: Uint8Array): { readonly lastSeen: bigint; readonly frozenUntil: bigint } {
  const data = new DataView(value.buffer, value.byteOffset, value.byteLength);
  return {
    lastSeen: data.getBigUint64(BINDING_TIMES.lastSeen, true),
    frozenUntil: data.getBigUint64(BINDING_TIMES.frozenUntil, true),
  };
}

function keysOf({ keys, count }: MapEntries): string[] {
  const text = Buffer.from(keys.buffer, keys.byteOffset, keys.byteLength);
  return Array.from({ length: count }, (_, i) =>
    text.toString('latin1', i * SIZE.bindingKey, (i + 1) * SIZE.bindingKey),
  );
}

function keyAt({ keys }: MapEntries, i: number): Uint8Array {
  return keys.subarray(i * SIZE.bindingKey, (i + 1) * SIZE.bindingKey);
}

function valueAt({ values }: MapEntries, i: number): Uint8Array {
  return values.subarray(i * SIZE.binding, (i + 1) * SIZE.binding);
}

/** Pins the maps that are about to be replaced, so that what the old program learns from now on is found. */
export function keepReplaced({ directory, outgrown }: Pins): void {
  if (outgrown.length === 0) return;
  ensureDirectory(replacedDirectory(directory));
  for (const { fd, info } of outgrown) {
    const path = replacedPath(directory, info.id);
    if (isPinnedAt(path, info.id)) continue;
    clearName(path);
    objPin(fd, path);
  }
}

function isPinnedAt(path: string, mapId: number): boolean {
  const fd = openPinned(path, 'map');
  if (fd === undefined || fd === 'foreign') return false;
  try {
    return mapInfo(fd).id === mapId;
  } finally {
    closeSync(fd);
  }
}

/** Copies as many bindings into a map that is still empty as there is room for, those that were seen last first. */
export function carryOver(pins: Pins, to: number): void {
  const entries = readBindings(pins);
  const info = mapInfo(to);
  if (entries.count <= info.maxEntries) {
    mapUpdateAll(to, info, entries);
    return;
  }
  const lastSeen = Array.from({ length: entries.count }, (_, i) => timesOf(valueAt(entries, i)).lastSeen);
  const latest = [...lastSeen.keys()].sort((a, b) => Number((lastSeen[b] ?? 0n) - (lastSeen[a] ?? 0n)));
  for (const i of latest.slice(0, info.maxEntries)) putIfNew(to, keyAt(entries, i), valueAt(entries, i));
}

/**
 * Carries over what the old program has learned since the first copy: new bindings as far as there is room, and
 * what it has seen later than the new one. An entry is looked at again just before it is written; a host that moves
 * between these two calls is put right by its next word.
 */
export function carryOverLate({ maps, outgrown }: Pins): void {
  const to = maps.get('bindings');
  if (to === undefined) return;
  for (const from of outgrown) {
    const entries = readFitted(from);
    for (let i = 0; i < entries.count; i++) {
      const [key, value] = [keyAt(entries, i), valueAt(entries, i)];
      const known = mapLookup(to.fd, key, SIZE.binding);
      if (known === undefined) putIfNew(to.fd, key, value);
      else if (isLater(value, known)) mapUpdate(to.fd, key, value);
    }
  }
}

/** Writes an entry unless there is one already, or no room for it. */
export function putIfNew(fd: number, key: Uint8Array, value: Uint8Array): void {
  try {
    mapUpdate(fd, key, value, BPF_NOEXIST);
  } catch (thrown) {
    const isHarmless =
      thrown instanceof SnoopyError && (thrown.errno === 'EEXIST' || thrown.errno === 'E2BIG');
    if (!isHarmless) throw thrown;
  }
}
