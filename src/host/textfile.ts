// The file for the textfile collector: replaced as a whole, so that no reader gets half of it.

import {
  closeSync,
  constants,
  fchmodSync,
  lstatSync,
  openSync,
  readlinkSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname } from 'node:path';
import { causeOf, errnoOf, isAbsence, SnoopyError } from '../base/errors.ts';
import { describeWeakness, follow, type Users, type Weakness } from '../base/trust.ts';

/**
 * The name while it is written. The collector only reads `*.prom`. One name is enough, as the lock excludes other runs;
 * and the next run replaces what a killed run has left.
 */
function temporary(path: string): string {
  return `${path}.tmp`;
}

/**
 * Replaces the file at the absolute `path` or throws SnoopyError `textfile_failed`. The directory and those above it may belong
 * to another user, such as the collector's: links in them are not followed, and only a new file is opened.
 */
export function replaceTextfile(path: string, text: string, users: Users): void {
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  try {
    inDirectoryOf(path, users, (file, weakness) => {
      const other = whatElse(file, weakness);
      if (other !== null) throw failed(path, `it is ${other}`, 'remove it if nothing needs it');
      const draft = temporary(file);
      try {
        rmSync(draft, { force: true });
        const fd = openSync(draft, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o644);
        try {
          // The collector runs as another user, so the umask of this run must not matter.
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

/**
 * What is at the path and must stay; null: it may be replaced. A device stays anywhere. In a directory of others all else that they
 * can make is replaced, but for a directory. Elsewhere a socket is in use, and so is what a link leads to: a device, a socket, or
 * what is open, as with /dev/stdout.
 */
function whatElse(path: string, weakness: Weakness | null): string | null {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return null;
  if (weakness !== null) return nameOf(found) === 'a device' ? 'a device' : null;
  if (!found.isSymbolicLink()) return nameOf(found);
  if (readlinkSync(path).startsWith('/proc/')) return 'a link to an open file';
  const target = statSync(path, { throwIfNoEntry: false });
  const name = target === undefined ? null : nameOf(target);
  return name === null ? null : `a link to ${name}`;
}

function nameOf(found: Stats): 'a device' | 'a socket' | null {
  if (found.isCharacterDevice() || found.isBlockDevice()) return 'a device';
  return found.isSocket() ? 'a socket' : null;
}

function failed(path: string, cause: string, fix: string, errno?: string): SnoopyError {
  return new SnoopyError({
    code: 'textfile_failed',
    object: path,
    operation: `write the textfile "${path}"`,
    cause,
    fix: `${fix}, or choose another path`,
    errno,
  });
}

/** EROFS: for a unit with ProtectSystem=strict most of the file system is read-only. */
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
    // It cannot be removed for the same reason that it could not be written.
  }
}

/** O_PATH of asm-generic/fcntl.h, which Node does not export: a descriptor to walk on from, not to read. */
const O_PATH = 0o10000000;

/**
 * Calls `work` with a path to the file through a descriptor of its directory, so that renamed parents do not matter, and with
 * what others may write to on the way. Links are followed only if no untrusted user could have made them.
 */
function inDirectoryOf<T>(
  path: string,
  users: Users,
  work: (file: string, weakness: Weakness | null) => T,
): T {
  const { safe, rest, weakness } = follow(dirname(path), users);
  const flags = constants.O_DIRECTORY | constants.O_NOFOLLOW | O_PATH;
  let fd = openSync(safe, flags);
  try {
    for (const name of rest) {
      const next = openNext(fd, name, flags, weakness, path);
      closeSync(fd);
      fd = next;
    }
    return work(`/proc/self/fd/${fd}/${basename(path)}`, weakness);
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

/** True when a run has left a textfile, or half of one. Anything else at its path is not ours to delete. */
export function hasTextfile(path: string, users: Users): boolean {
  try {
    return inDirectoryOf(path, users, (file) => [file, temporary(file)].some(isFile));
  } catch (thrown) {
    // Without its directory there is no file; and a run leaves none at a path to which it does not write.
    if (isAbsence(thrown) || thrown instanceof SnoopyError) return false;
    throw thrown;
  }
}

function isFile(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}

/** Deletes the textfile, and the unfinished one of a killed run. */
export function deleteTextfile(path: string, users: Users): void {
  inDirectoryOf(path, users, (file) => {
    for (const each of [file, temporary(file)].filter(isFile)) rmSync(each);
  });
}
