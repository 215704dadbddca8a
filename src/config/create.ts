// Creates the configuration file, which must not exist yet.

import {
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  mkdirSync,
  openSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, resolve } from 'node:path';
import { causeOf, errnoOf, fixFor, SnoopyError } from '../base/errors.ts';
import { describeWeakness, follow, type Users } from '../base/trust.ts';

/**
 * Creates the file, and the directories above it that are missing. Throws a SnoopyError `config_unwritable` when it
 * exists or cannot be created, and `config_untrusted` when a run would not trust it there.
 */
export function createConfig(path: string, text: string, users: Users): void {
  const absolute = path.startsWith('/') ? path : `${resolve('.')}/${path}`;
  const operation = `create the configuration "${path}"`;
  try {
    const { weakness } = follow(dirname(absolute), users);
    if (weakness !== null) {
      const cause = describeWeakness(weakness);
      throw new SnoopyError({ code: 'config_untrusted', object: path, operation, cause, fix: weakness.fix });
    }
    makeDirectories(dirname(absolute));
    writeNew(absolute, text);
  } catch (thrown) {
    if (thrown instanceof SnoopyError) throw thrown;
    const errno = errnoOf(thrown);
    const [cause, fix] =
      errno === 'EEXIST'
        ? ['it exists, and is left as it is', 'edit it, or replace it with what `snoopy init` prints']
        : [causeOf(thrown), fixFor(errno ?? '')];
    throw new SnoopyError({ code: 'config_unwritable', object: path, operation, cause, fix, errno });
  }
}

/** Makes the directory and those above it that are missing, for all to read, whatever the umask. */
function makeDirectories(path: string): void {
  const first = mkdirSync(path, { recursive: true });
  if (first === undefined) return;
  for (let made = path; made.length >= first.length; made = dirname(made)) chmodSync(made, 0o755);
}

/** Writes a file that is new, or throws the error of the system call and leaves none. */
function writeNew(path: string, text: string): void {
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  const fd = openSync(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o644);
  try {
    // `validate` needs no root, so that the umask must not matter.
    fchmodSync(fd, 0o644);
    writeFileSync(fd, text);
  } catch (thrown) {
    unlinkSync(path);
    throw thrown;
  } finally {
    closeSync(fd);
  }
}
