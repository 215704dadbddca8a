// YAML -> Desired: every problem at once, each with file, line, column, key and what is allowed.

import { readFileSync } from 'node:fs';
import { SnoopyError } from '../base/errors.ts';
import type { Desired } from '../core/desired.ts';
import { semanticFindings } from './checks.ts';
import { desiredOf } from './desired.ts';
import { ConfigError, type ConfigProblem, type Finding, problemsOf } from './problem.ts';
import { isRawConfig, schemaFindings } from './schema-findings.ts';
import { parseYaml, plainOf } from './yaml.ts';

/** What a text asks for, or all that is wrong with it. `file` is how messages call it. */
export function parseConfig(
  text: string,
  file: string,
): { readonly desired: Desired } | { readonly problems: readonly ConfigProblem[] } {
  const plain = text.startsWith('\uFEFF') ? text.slice(1) : text;
  const { root, findings } = parseYaml(plain);
  const all: Finding[] = [...findings];
  if (root !== undefined) {
    all.push(...schemaFindings(root), ...semanticFindings(root));
    const value = plainOf(root.node);
    if (all.length === 0 && isRawConfig(value)) return { desired: desiredOf(value) };
  }
  return { problems: problemsOf(all, plain, file) };
}

/**
 * Reads a configuration file. Throws a SnoopyError `config_unreadable` when there is no text to read, and a
 * ConfigError with every problem when it is not valid.
 */
export function loadConfig(path: string): Desired {
  const result = parseConfig(readText(path), path);
  if ('problems' in result) throw new ConfigError(path, result.problems);
  return result.desired;
}

function readText(path: string): string {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch (thrown) {
    const errno = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : 'unknown error';
    throw unreadable(path, `${errno}; ${remedy(errno)}`, errno);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw unreadable(path, 'it is not UTF-8 text; save it as UTF-8');
  }
}

function unreadable(path: string, why: string, errno?: string): SnoopyError {
  const message = `Cannot read the configuration "${path}": ${why}`;
  return new SnoopyError('config_unreadable', path, message, errno);
}

function remedy(errno: string): string {
  switch (errno) {
    case 'ENOENT':
      return 'create it (`snoopy schema` describes what it may hold) or name another with --config';
    case 'EACCES':
    case 'EPERM':
      return 'run as a user who may read it, or change its mode';
    case 'EISDIR':
      return 'name a file, not a directory, with --config';
    default:
      return 'name a file that can be read with --config';
  }
}
