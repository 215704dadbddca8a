// Whether untrusted users may write to a path: root neither trusts a file nor follows a link that they can replace.

import { lstatSync, readlinkSync, type Stats } from 'node:fs';
import { dirname } from 'node:path';

/** The users whose files are trusted: root, the user of this run, and the one who started it by sudo. */
export type Users = ReadonlySet<number>;

/** A path that others may write to, which users these are, and the command that takes the permission away. */
export interface Weakness {
  readonly path: string;
  /** Such as `user 1000`. */
  readonly writer: string;
  readonly fix: string;
}

const GROUP_WRITE = 0o020;
const OTHERS_WRITE = 0o002;
/** S_ISVTX of a directory: only the owner of an entry may rename or delete it. */
const STICKY = 0o1000;

/** The weakness of a file or directory itself; null: none. With an ACL the group bit stands for all its entries. */
export function weaknessOf(
  path: string,
  stats: Pick<Stats, 'uid' | 'gid' | 'mode' | 'isDirectory' | 'isSymbolicLink'>,
  users: Users,
): Weakness | null {
  const { uid, gid, mode } = stats;
  if (!users.has(uid))
    return {
      path,
      writer: `user ${uid}`,
      fix: `${stats.isSymbolicLink() ? 'chown -h' : 'chown'} root ${path}`,
    };
  // The mode of a link means nothing. In a sticky directory the entries of trusted users are safe.
  if (stats.isSymbolicLink() || (stats.isDirectory() && (mode & STICKY) !== 0)) return null;
  if ((mode & OTHERS_WRITE) !== 0) return { path, writer: 'all users', fix: `chmod go-w ${path}` };
  if ((mode & GROUP_WRITE) !== 0)
    return { path, writer: `group ${gid} or users in its ACL`, fix: `chmod g-w ${path}` };
  return null;
}

/** How far a path can be followed before it reaches something that others may write to. */
export interface Way {
  /** The first part of the path, with its links resolved: no other user can make it lead elsewhere. */
  readonly safe: string;
  /** The names that were not followed: a missing one, a weak link, or what comes after a weak directory. */
  readonly rest: readonly string[];
  /** The first thing that others may write to: the end of `safe`, or the link that comes next. */
  readonly weakness: Weakness | null;
}

/** As many as the kernel follows (MAXSYMLINKS). */
const MAX_LINKS = 40;
/** The links in here are open files, not names. The user that starts a command chooses what it has open. */
const DESCRIPTORS = /^\/proc\/\d+\/(task\/\d+\/)?fd$/;

/**
 * Follows an absolute path from the root on. As long as every part is trusted, no other user can replace a part after
 * it was checked, so the result still holds when it is used. Throws the errors of lstat(2), except ENOENT.
 */
export function follow(path: string, users: Users): Way {
  const left = namesOf(path);
  let safe = '/';
  let links = 0;
  let weakness = weaknessOf(safe, lstatSync(safe), users);
  while (weakness === null) {
    const name = left[0];
    if (name === undefined || DESCRIPTORS.test(safe)) break;
    if (name === '..') {
      left.shift();
      safe = dirname(safe);
      continue;
    }
    const next = safe === '/' ? `/${name}` : `${safe}/${name}`;
    const stats = lstatSync(next, { throwIfNoEntry: false });
    if (stats === undefined) break;
    weakness = weaknessOf(next, stats, users);
    if (stats.isSymbolicLink()) {
      if (weakness !== null || links++ === MAX_LINKS) break;
      const target = readlinkSync(next);
      left.splice(0, 1, ...namesOf(target));
      if (target.startsWith('/')) safe = '/';
    } else {
      left.shift();
      safe = next;
    }
  }
  return { safe, rest: left, weakness };
}

function namesOf(path: string): string[] {
  return path.split('/').filter((name) => name !== '' && name !== '.');
}

/** Such as `"/srv/snoopy.yaml" may be written by user 1000`. */
export function describeWeakness({ path, writer }: Weakness): string {
  return `"${path}" may be written by ${writer}`;
}
