// The file for the textfile collector: replaced as a whole, so that nobody reads half of it.

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
import { isAbsence, SnoopyError } from '../base/errors.ts';

/**
 * The name while it is written: the collector reads `*.prom` only, and the lock keeps other runs away, so that
 * one name will do, and what a killed run has left is taken away by the next.
 */
function temporary(path: string): string {
  return `${path}.tmp`;
}

/** Replaces the file at `path` or throws SnoopyError `textfile_failed`. Follows no symbolic link. */
export function replaceTextfile(path: string, text: string): void {
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  const draft = temporary(path);
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
    renameSync(draft, path);
  } catch (thrown) {
    const errno = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : String(thrown);
    try {
      rmSync(draft, { force: true });
    } catch {
      // What kept it from being written keeps it from being removed.
    }
    throw new SnoopyError(
      'textfile_failed',
      path,
      `Cannot write the textfile "${path}": ${errno}; ${remedyOf(errno)}, or set metrics.textfile to null`,
      errno,
    );
  }
}

/** A unit with ProtectSystem=strict sees a read-only file system where others see none. */
function remedyOf(errno: string): string {
  if (errno !== 'EROFS') return 'see that its directory is there and writable';
  return 'in a unit of systemd, name its directory under ReadWritePaths= in a drop-in';
}

/** True where a run has left a textfile, or half of one. What else may be there instead is not ours to delete. */
export function hasTextfile(path: string): boolean {
  return [path, temporary(path)].some(isFile);
}

/** What is below something that is no directory is no file either. */
function isFile(path: string): boolean {
  try {
    return lstatSync(path).isFile();
  } catch (thrown) {
    if (isAbsence(thrown)) return false;
    throw thrown;
  }
}

/** Deletes the textfile, and what a killed run has left of one. */
export function deleteTextfile(path: string): void {
  for (const file of [path, temporary(path)].filter(isFile)) rmSync(file);
}
