// Who else may write to a path: root neither trusts a file nor follows a link that others can replace.

import { lstatSync, readlinkSync, type Stats } from 'node:fs';
import { dirname } from 'node:path';

/** The users whose files are trusted: root, the user of this run, and the one who started it by sudo. */
export type Users = ReadonlySet<number>;

/** Something that others may write to: what it is, who may, and the command that ends it. */
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

/** What is weak about a file or directory itself; null: nothing. With an ACL the group's bit is that of all its entries. */
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
  // The mode of a link says nothing. A sticky directory is safe for what trusted users own in it.
  if (stats.isSymbolicLink() || (stats.isDirectory() && (mode & STICKY) !== 0)) return null;
  if ((mode & OTHERS_WRITE) !== 0) return { path, writer: 'everybody', fix: `chmod go-w ${path}` };
  if ((mode & GROUP_WRITE) !== 0)
    return { path, writer: `group ${gid} or users in its ACL`, fix: `chmod g-w ${path}` };
  return null;
}

/** How far a path can be followed before it comes to something that others may write to. */
export interface Way {
  /** Without links: as far as no other user can lead it elsewhere. */
  readonly safe: string;
  /** The names that are left: behind the first weakness, or behind the first name that is not there. */
  readonly rest: readonly string[];
  /** The first thing that others may write to, which is the last of `safe`; a link is not followed. */
  readonly weakness: Weakness | null;
}

/** As many as the kernel follows (MAXSYMLINKS). */
const MAX_LINKS = 40;
/** Links that are none: what is open, whatever its name. Who starts a command chooses what it has open. */
const DESCRIPTORS = /^\/proc\/\d+\/(task\/\d+\/)?fd$/;

/**
 * Follows an absolute path from the root on. As long as all of it is trusted, no other user can replace what was looked
 * at, so what is found still holds when it is used. Throws what lstat(2) throws, but for ENOENT.
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
