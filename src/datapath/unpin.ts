// Deletes the pins: everything that is ours by name, and nothing else.

import { lstatSync, readdirSync, rmdirSync, unlinkSync } from 'node:fs';
import { SnoopyError } from '../base/errors.ts';
import { some } from '../base/text.ts';
import { linkPath, tcxDevices } from './attachment.ts';
import { nextPath } from './load.ts';
import { linksDirectory, MAP_NAMES, pinPath, replacedDirectory, replacedIds, replacedPath } from './pins.ts';

/**
 * Deletes every pin of ours, also those of a load that was killed, and the directory. It may contain the pin directory of
 * another network namespace, or objects of another owner: throws SnoopyError `pin_unusable` when anything is left.
 */
export function unpinAll(directory: string): void {
  for (const path of pathsOf(directory)) deleteAt(path);
  const left = readdirSync(directory).sort();
  if (left.length === 0) {
    rmdirSync(directory);
    return;
  }
  throw new SnoopyError({
    code: 'pin_unusable',
    object: directory,
    operation: `delete the pin directory "${directory}"`,
    cause: `it is not empty (left to another owner: ${some(left.map((name) => `"${name}"`))})`,
    fix: 'move that away; if it is the pin directory of another network namespace, run `snoopy remove` there first',
  });
}

/** Every path that a load or an attachment of this version or an older one creates, the content of directories first. */
function pathsOf(directory: string): string[] {
  // The layout record is the last one, as it is pinned last: it says whose the others are.
  const pins = (['program', ...MAP_NAMES] as const).map((name) => pinPath(directory, name));
  return [
    ...tcxDevices(directory).map((ifIndex) => linkPath(directory, ifIndex)),
    linksDirectory(directory),
    ...replacedIds(directory).map((id) => replacedPath(directory, id)),
    replacedDirectory(directory),
    ...pins.map(nextPath),
    ...pins,
  ];
}

/** Deletes what is at a path of ours: a directory only if it is empty. */
function deleteAt(path: string): void {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isDirectory()) unlinkSync(path);
  else if (readdirSync(path).length === 0) rmdirSync(path);
}
