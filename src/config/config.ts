// YAML -> Configuration: every problem at once, each with file, line, column, key and what is allowed.

import { closeSync, constants, fstatSync, openSync, readSync, type Stats } from 'node:fs';
import { resolve } from 'node:path';
import { causeOf, errnoOf, SnoopyError } from '../base/errors.ts';
import { describeWeakness, follow, type Users, type Weakness, weaknessOf } from '../base/trust.ts';
import type { Configuration } from '../core/desired.ts';
import { sleep } from '../ffi/libc.ts';
import { semanticFindings } from './checks.ts';
import { configurationOf } from './desired.ts';
import { invisibleFindings } from './invisible.ts';
import { ConfigError, type ConfigProblem, type Finding, problemsOf } from './problem.ts';
import { isRawConfig, schemaFindings } from './schema-findings.ts';
import { MAX_BYTES, parseYaml, plainOf } from './yaml.ts';

/** Where the packages have the configuration. */
export const DEFAULT_CONFIG = '/etc/snoopy/snoopy.yaml';

/** The configuration in a text, or all its problems. `file` is the name of the text in messages. */
export function parseConfig(
  text: string,
  file: string,
): { readonly configuration: Configuration } | { readonly problems: readonly ConfigProblem[] } {
  const plain = text.startsWith('\uFEFF') ? text.slice(1) : text;
  const { root, findings } = parseYaml(plain);
  const all: Finding[] = [...invisibleFindings(plain), ...findings];
  if (root !== undefined) {
    for (const finding of [...schemaFindings(root), ...semanticFindings(root)]) all.push(finding);
    const value = plainOf(root.node);
    if (all.length === 0 && isRawConfig(value)) return { configuration: configurationOf(value) };
  }
  return { problems: problemsOf(all, plain, file) };
}

/**
 * Reads a configuration file for a run. Throws a SnoopyError `config_untrusted` when users other than `users` may write
 * to it, `config_unreadable` when it cannot be read as text, and a ConfigError with every problem when it is not valid.
 */
export function loadConfig(path: string, users: Users): Configuration {
  return configurationIn(
    readText(path, users, (weakness) => {
      throw new SnoopyError({
        code: 'config_untrusted',
        object: path,
        operation: `trust the configuration "${path}"`,
        cause: describeWeakness(weakness),
        fix: weakness.fix,
      });
    }),
    path,
  );
}

/** Reads a configuration file only to show it. `weakness` is why a run would not trust it; null: it would. */
export function inspectConfig(
  path: string,
  users: Users,
): { readonly configuration: Configuration; readonly weakness: Weakness | null } {
  let weakness: Weakness | null = null;
  const text = readText(path, users, (found) => {
    weakness = found;
  });
  return { configuration: configurationIn(text, path), weakness };
}

function configurationIn(text: string, path: string): Configuration {
  const result = parseConfig(text, path);
  if ('problems' in result) throw new ConfigError(path, result.problems);
  return result.configuration;
}

function readText(path: string, users: Users, refuse: (weakness: Weakness) => void): string {
  let bytes: Uint8Array;
  try {
    bytes = readBytes(path, (stats) => {
      const weakness = weaknessOfOpen(stats, path, users);
      if (weakness !== null) refuse(weakness);
    });
  } catch (thrown) {
    if (thrown instanceof SnoopyError) throw thrown;
    const errno = errnoOf(thrown);
    throw unreadable(path, causeOf(thrown), fixOf(errno), errno);
  }
  if (bytes.length > MAX_BYTES) {
    const wrong = 'is longer than 1MiB';
    throw new ConfigError(path, problemsOf([{ path: [], at: 0, wrong, allowed: 'at most 1MiB' }], '', path));
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw unreadable(path, 'it is not UTF-8 text', 'save it as UTF-8');
  }
}

/** The weakness of the open file, even if another file has its name by now; then that of the path to it. */
function weaknessOfOpen(stats: Stats, path: string, users: Users): Weakness | null {
  // Not resolve(path): it removes "..", which after a link leads to another directory.
  const absolute = path.startsWith('/') ? path : `${resolve('.')}/${path}`;
  return weaknessOf(path, stats, users) ?? follow(absolute, users).weakness;
}

/** How long a pipe may be silent, and how often it is read. */
const PIPE_TIMEOUT_MS = 5_000;
const PIPE_INTERVAL_MS = 20;

/**
 * All of a file or of a pipe, at most one byte more than is allowed: a pipe may never end, or never send a byte. `look`
 * gets the stats of the open file before anything is read from it.
 */
function readBytes(path: string, look: (stats: Stats) => void): Uint8Array {
  // On a pipe without a writer, open and read would otherwise block.
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stats = fstatSync(fd);
    if (stats.isDirectory()) throw unreadable(path, 'EISDIR', fixOf('EISDIR'), 'EISDIR');
    if (!stats.isFile() && !stats.isFIFO()) throw unreadable(path, 'it is a device', NAME_FILE);
    look(stats);
    const bytes = Buffer.allocUnsafe(MAX_BYTES + 1);
    let length = 0;
    for (let silentMs = 0; length < bytes.length; ) {
      const count = readSome(fd, bytes, length);
      // Before its first writer a pipe also reads as if at its end.
      if (count === 0 && (length > 0 || !stats.isFIFO())) break;
      length += count ?? 0;
      if (count) {
        silentMs = 0;
        continue;
      }
      if (silentMs >= PIPE_TIMEOUT_MS) {
        throw unreadable(path, `nothing was written to it for ${PIPE_TIMEOUT_MS / 1000} s`, NAME_FILE);
      }
      sleep(PIPE_INTERVAL_MS);
      silentMs += PIPE_INTERVAL_MS;
    }
    return bytes.subarray(0, length);
  } finally {
    closeSync(fd);
  }
}

/** How many bytes were read; 0 at the end, undefined while a pipe has no data. */
function readSome(fd: number, bytes: Uint8Array, from: number): number | undefined {
  try {
    return readSync(fd, bytes, from, bytes.length - from, null);
  } catch (thrown) {
    if (errnoOf(thrown) === 'EAGAIN') return undefined;
    throw thrown;
  }
}

function unreadable(path: string, cause: string, fix: string, errno?: string): SnoopyError {
  const operation = `read the configuration "${path}"`;
  return new SnoopyError({ code: 'config_unreadable', object: path, operation, cause, fix, errno });
}

const NAME_FILE = 'name a file with --config';

function fixOf(errno: string | undefined): string {
  switch (errno) {
    case 'ENOENT':
      return 'create it (`snoopy init --write` does), or name another with --config';
    case 'EACCES':
    case 'EPERM':
      return 'run as a user that can read it, or change its mode';
    case 'EISDIR':
      return 'name a file, not a directory, with --config';
    default:
      return 'name a file that can be read with --config';
  }
}
