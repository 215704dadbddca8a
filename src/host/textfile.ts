// The file for the textfile collector: replaced as a whole, so that no reader gets half of it.

import {
  closeSync,
  constants,
  fchmodSync,
  lstatSync,
  openSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname } from 'node:path';
import { causeOf, errnoOf, isAbsence, SnoopyError } from '../base/errors.ts';
import { describeWeakness, follow, type Users, type Weakness } from '../base/trust.ts';

/**
 * The name while it is written: the collector reads `*.prom` only, and the lock keeps other runs away, so that
 * one name will do, and what a killed run has left is taken away by the next.
 */
function temporary(path: string): string {
  return `${path}.tmp`;
}

/**
 * Replaces the file at `path` or throws SnoopyError `textfile_failed`. The directory may be that of another user,
 * such as the collector's, and what lies above it as well: links in there are not followed, and what is opened is new.
 */
export function replaceTextfile(path: string, text: string, users: Users): void {
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  try {
    inDirectoryOf(path, users, (file) => {
      const draft = temporary(file);
      try {
        rmSync(draft, { force: true });
        const fd = openSync(draft, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o644);
        try {
          // The collector runs as another user, whatever the umask of this run is.
          fchmodSync(fd, 0o644);
          writeFileSync(fd, text);
        } finally {
          closeSync(fd);
        }
        renameSync(draft, file);
      } catch (thrown) {
        takeAway(draft);
        throw thrown;
      }
    });
  } catch (thrown) {
    if (thrown instanceof SnoopyError) throw thrown;
    const errno = errnoOf(thrown);
    throw failed(path, causeOf(thrown), fixOf(errno), errno);
  }
}

function failed(path: string, cause: string, fix: string, errno?: string): SnoopyError {
  return new SnoopyError({
    code: 'textfile_failed',
    object: path,
    operation: `write the textfile "${path}"`,
    cause,
    fix: `${fix}, or set metrics.textfile to null`,
    errno,
  });
}

/** A unit with ProtectSystem=strict sees a read-only file system where others see none. */
function fixOf(errno: string | undefined): string {
  switch (errno) {
    case 'EROFS':
      return 'in a systemd unit, add its directory to ReadWritePaths= in a drop-in';
    case 'EACCES':
      return 'make its directory writable for the user of this run, or run with CAP_DAC_OVERRIDE';
    default:
      return 'check that its directory exists and is writable';
  }
}

function takeAway(draft: string): void {
  try {
    rmSync(draft, { force: true });
  } catch {
    // What kept it from being written keeps it from being removed.
  }
}

/** O_PATH of asm-generic/fcntl.h, which Node does not name: to go on from, not to read. */
const O_PATH = 0o10000000;

/**
 * Calls `work` with a path to the file that stays in its directory, whatever happens to the names on the way there.
 * Links count as long as nobody else could have made them.
 */
function inDirectoryOf<T>(path: string, users: Users, work: (file: string) => T): T {
  const { safe, rest, weakness } = follow(dirname(path), users);
  const flags = constants.O_DIRECTORY | constants.O_NOFOLLOW | O_PATH;
  let fd = openSync(safe, flags);
  try {
    for (const name of rest) {
      const next = openNext(fd, name, flags, weakness, path);
      closeSync(fd);
      fd = next;
    }
    return work(`/proc/self/fd/${fd}/${basename(path)}`);
  } finally {
    closeSync(fd);
  }
}

function openNext(fd: number, name: string, flags: number, weakness: Weakness | null, path: string): number {
  const next = `/proc/self/fd/${fd}/${name}`;
  const leadsAway = name === '..' || lstatSync(next).isSymbolicLink();
  if (leadsAway && weakness !== null)
    throw failed(path, `"${name}" leads elsewhere, and ${describeWeakness(weakness)}`, weakness.fix);
  return openSync(next, flags);
}

/** True where a run has left a textfile, or half of one. What else may be there instead is not ours to delete. */
export function hasTextfile(path: string, users: Users): boolean {
  try {
    return inDirectoryOf(path, users, (file) => [file, temporary(file)].some(isFile));
  } catch (thrown) {
    // What is below no directory is no file, and where nothing is written nothing was left.
    if (isAbsence(thrown) || thrown instanceof SnoopyError) return false;
    throw thrown;
  }
}

function isFile(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}

/** Deletes the textfile, and what a killed run has left of one. */
export function deleteTextfile(path: string, users: Users): void {
  inDirectoryOf(path, users, (file) => {
    for (const each of [file, temporary(file)].filter(isFile)) rmSync(each);
  });
}
