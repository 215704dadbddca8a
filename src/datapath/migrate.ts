// Bindings outlive their map: they are read from all maps of bindings, and migrated to the newest.
//
// A load that replaces their map first pins the old one under `replaced`, by its ID. Programs that are still attached
// keep learning into the old map, so it stays until the last of them is replaced, however many runs that takes and
// wherever they are killed. What a run finds, and what it does:
//
//   replaced   bindings    layout record      program   attached
//   -          old         old                old       old       nothing is done yet
//   old        old         old                old       old       loads, from "bindings"
//   old        new         old, or none       old       old       loads again, from "bindings" and "replaced"
//   old        new         new, unfinished    either    old       loads again, with the maps that exist
//   old        new         new                new       some new  attaches, then migrates late bindings
//   old        new         new                new       new       migrates late bindings, then unpins "replaced"
//   -          new         new                new       new       nothing to do
//
// "bindings" is pinned only when it has all known bindings. The layout record of the old version remains until no other
// map of that version is left, so that an old map is never mistaken for a new one.
//
// Bindings are migrated as bytes, so that times keep their nanoseconds, and windows of moves their start.

import { closeSync } from 'node:fs';
import { readU64 } from '../base/bytes.ts';
import { errnoOf } from '../base/errors.ts';
import { mapInfo } from '../ffi/info.ts';
import { BPF_NOEXIST, type MapEntries, mapLookup, mapUpdate, mapUpdateAll } from '../ffi/map.ts';
import { objPin } from '../ffi/pin.ts';
import { BINDING, BINDING_KEY } from '../generated/layouts.ts';
import {
  clearName,
  ensureDirectory,
  openPinned,
  type Pins,
  replacedDirectory,
  replacedPath,
} from './pins.ts';
import { type Binding, bindingCodec } from './records/binding.ts';
import type { BindingKey } from './records/binding-key.ts';
import { decodeAll, type OpenMap, readEntries, type Table } from './table.ts';

const NOTHING: MapEntries = { keys: new Uint8Array(0), values: new Uint8Array(0), count: 0 };

/** The bindings of all maps. If two are for one address, the later one counts. */
export function readBindings(pins: Pins): Binding[] {
  return decodeAll(readAll(pins), bindingCodec);
}

/** The binding of one address. If two are for it, the later one counts. */
export function readBinding({ tables, oldBindings }: Pins, key: BindingKey): Binding | undefined {
  const all = tables.bindings === undefined ? oldBindings : [tables.bindings, ...oldBindings];
  const found = all.flatMap((table) => table.valuesOf([key]));
  return found.sort((a, b) => b.lastSeenMs - a.lastSeenMs || b.frozenUntilMs - a.frozenUntilMs)[0];
}

/** The same bindings as bytes, in the layout of this version. */
function readAll({ tables, oldBindings }: Pins): MapEntries {
  const all = tables.bindings === undefined ? oldBindings : [tables.bindings, ...oldBindings];
  const [first = NOTHING, ...others] = all.map(({ map }) => readFitted(map));
  return others.reduce(merge, first);
}

/** The entries of a map of bindings of any version. */
function readFitted(map: OpenMap): MapEntries {
  return readEntries(map, BINDING.size);
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

/**
 * True for one that was seen later or frozen later: a claim that freezes a binding does not update its last-seen time.
 */
function isLater(value: Uint8Array, than: Uint8Array): boolean {
  const [a, b] = [timesOf(value), timesOf(than)];
  return a.lastSeen === b.lastSeen ? a.frozenUntil > b.frozenUntil : a.lastSeen > b.lastSeen;
}

function timesOf(value: Uint8Array): { readonly lastSeen: bigint; readonly frozenUntil: bigint } {
  return {
    lastSeen: readU64(value, BINDING.lastSeenNs),
    frozenUntil: readU64(value, BINDING.frozenUntilNs),
  };
}

function keysOf({ keys, count }: MapEntries): string[] {
  const text = Buffer.from(keys.buffer, keys.byteOffset, keys.byteLength);
  return Array.from({ length: count }, (_, i) =>
    text.toString('latin1', i * BINDING_KEY.size, (i + 1) * BINDING_KEY.size),
  );
}

function keyAt({ keys }: MapEntries, i: number): Uint8Array {
  return keys.subarray(i * BINDING_KEY.size, (i + 1) * BINDING_KEY.size);
}

function valueAt({ values }: MapEntries, i: number): Uint8Array {
  return values.subarray(i * BINDING.size, (i + 1) * BINDING.size);
}

/** Pins the maps that are about to be replaced: the old program keeps learning into them. */
export function pinReplaced({ directory, oldBindings }: Pins): void {
  if (oldBindings.length === 0) return;
  ensureDirectory(replacedDirectory(directory));
  for (const {
    map: { fd, info },
  } of oldBindings) {
    const path = replacedPath(directory, info.id);
    if (isPinnedAt(path, info.id)) continue;
    clearName(path);
    objPin(fd, path);
  }
}

function isPinnedAt(path: string, mapId: number): boolean {
  const fd = openPinned(path, 'map');
  if (fd === undefined || fd === 'other') return false;
  try {
    return mapInfo(fd).id === mapId;
  } finally {
    closeSync(fd);
  }
}

/** Copies bindings into an empty map, the most recently seen first, as far as there is room. */
export function migrateBindings(pins: Pins, { map: { fd, info } }: Table<BindingKey, Binding>): void {
  const entries = readAll(pins);
  if (entries.count <= info.maxEntries) {
    mapUpdateAll(fd, info, entries);
    return;
  }
  const lastSeen = Array.from({ length: entries.count }, (_, i) => timesOf(valueAt(entries, i)).lastSeen);
  const latest = [...lastSeen.keys()].sort((a, b) => Number((lastSeen[b] ?? 0n) - (lastSeen[a] ?? 0n)));
  for (const i of latest.slice(0, info.maxEntries)) putIfNew(fd, keyAt(entries, i), valueAt(entries, i));
}

/**
 * Migrates what the old program has learned since the first copy: new bindings as far as there is room, and bindings
 * that it has seen more recently than the new program. An entry is read again just before it is written. If a host
 * moves between these two calls, its next message corrects the binding.
 */
export function migrateLateBindings({ tables, oldBindings }: Pins): void {
  const to = tables.bindings?.map.fd;
  if (to === undefined) return;
  for (const { map } of oldBindings) {
    const entries = readFitted(map);
    for (let i = 0; i < entries.count; i++) {
      const [key, value] = [keyAt(entries, i), valueAt(entries, i)];
      const known = mapLookup(to, key, BINDING.size);
      if (known === undefined) putIfNew(to, key, value);
      else if (isLater(value, known)) mapUpdate(to, key, value);
    }
  }
}

/** Adds bindings for new addresses, as far as there is room. */
export function addBindings(table: Table<BindingKey, Binding>, bindings: readonly Binding[]): void {
  for (const binding of bindings) {
    try {
      table.set(binding, binding, 'new');
    } catch (thrown) {
      if (!isFull(thrown)) throw thrown;
    }
  }
}

/** Writes an entry, unless it exists already or there is no room. */
function putIfNew(fd: number, key: Uint8Array, value: Uint8Array): void {
  try {
    mapUpdate(fd, key, value, BPF_NOEXIST);
  } catch (thrown) {
    if (!isFull(thrown) && errnoOf(thrown) !== 'EEXIST') throw thrown;
  }
}

function isFull(thrown: unknown): boolean {
  return errnoOf(thrown) === 'E2BIG';
}
