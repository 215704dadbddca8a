// Loading and pinning: maps that fit are kept, and bindings are migrated. A run may be killed at any point, and the
// next one completes its work: the layout record is marked unfinished from before the first pin to after the last.

import { renameSync, utimesSync } from 'node:fs';
import { libbpfVersion } from '../ffi/libbpf.ts';
import { type LoadedObject, loadObject } from '../ffi/object.ts';
import { objPin } from '../ffi/pin.ts';
import { SNOOPY_ABI } from '../generated/layouts.ts';
import { PROGRAM } from './attachment.ts';
import { bindingTable, layoutTable, type MapName, objectMapName, stateTable } from './maps.ts';
import { addBindings, migrateBindings, pinReplaced } from './migrate.ts';
import { clearName, type Expected, isDirectory, MAP_NAMES, type Pins, pinPath, sizesOf } from './pins.ts';
import type { Binding } from './records/binding.ts';
import { unfinishedLayout } from './records/layout.ts';
import { NO_COUNTS } from './records/port.ts';
import { openMap } from './table.ts';

/**
 * Loads `object` with the maps of `pins` that fit, migrates the bindings when their map is replaced, adds the
 * `recovered` bindings, and pins everything in `pins.directory`, which must exist. `pins` is stale afterwards: close it
 * and open it again. Throws SnoopyError `load_failed` with the end of the verifier's log, or `syscall_failed`.
 */
export function load(
  object: Uint8Array,
  pins: Pins,
  expected: Expected,
  recovered: readonly Binding[],
): void {
  const { maps, tables } = pins;
  const reuse = new Map([...maps].map(([name, { fd }]) => [objectMapName(name), fd]));
  tables.layout?.set(0, unfinishedLayout(expected.netns));
  const loaded = loadObject(object, { program: PROGRAM, maxEntries: sizesOf(expected), reuse });
  try {
    const layout = layoutTable(openMap(fdOf(loaded, 'layout')));
    layout.set(0, unfinishedLayout(expected.netns));
    if (tables.state === undefined) {
      // Every port needs an entry: the program creates no binding on a port without one.
      const ports = tables.ports?.entries() ?? [];
      const counts = stateTable(openMap(fdOf(loaded, 'state')));
      counts.setAll(ports.map(([ifIndex]) => [ifIndex, NO_COUNTS]));
    }
    const bindings = bindingTable(openMap(fdOf(loaded, 'bindings')));
    if (tables.bindings === undefined) {
      pinReplaced(pins);
      migrateBindings(pins, bindings);
    }
    // Before the map is pinned: otherwise a kill here would leave a map that only looks complete.
    addBindings(bindings, recovered);
    for (const name of MAP_NAMES) {
      if (!maps.has(name)) pinOver(fdOf(loaded, name), pinPath(pins.directory, name));
    }
    // Its modification time is that of the last successful run, and there was none with these pins.
    if (tables.layout === undefined) utimesSync(pinPath(pins.directory, 'layout'), 0, 0);
    pinOver(loaded.programFd, pinPath(pins.directory, 'program'));
    // Left by a killed load, and not replaced by this one.
    for (const name of [...MAP_NAMES, 'program'] as const) clearName(nextPath(pinPath(pins.directory, name)));
    layout.set(0, { abi: SNOOPY_ABI, netns: expected.netns, digest: expected.digest });
  } finally {
    loaded.close();
  }
}

/** Loads the object and closes it: throws what `load` would throw on this kernel, and changes nothing. */
export function tryLoad(object: Uint8Array, expected: Expected): void {
  loadObject(object, { program: PROGRAM, maxEntries: sizesOf(expected), reuse: new Map() }).close();
}

/** Version of the library that loads the object, such as `1.1`. Throws SnoopyError `unsupported` when there is none. */
export function loaderVersion(): string {
  return libbpfVersion();
}

function fdOf(loaded: LoadedObject, name: MapName): number {
  const fd = loaded.maps.get(objectMapName(name));
  if (fd === undefined) throw new Error(`the object has no map ${objectMapName(name)}`);
  return fd;
}

/** The path of a new pin before it is renamed to its final place. */
export function nextPath(path: string): string {
  return `${path}_next`;
}

/** Pins at `path` atomically, whatever is there. bpffs allows no dot in a name. */
function pinOver(fd: number, path: string): void {
  const next = nextPath(path);
  clearName(next);
  objPin(fd, next);
  // A rename replaces anything but a directory.
  if (isDirectory(path)) clearName(path);
  renameSync(next, path);
}
