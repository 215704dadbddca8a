// Problems of a configuration: the place, the key, what is wrong and what is allowed.

import { formatProblem, type Problem, SnoopyError } from '../base/errors.ts';

/** The path from the document's root to a value. */
export type Path = readonly (string | number)[];

/** A problem at an offset of the text. */
export interface Finding {
  readonly path: Path;
  readonly at: number;
  readonly wrong: string;
  readonly allowed: string;
}

/** A problem with its place. Its message is `FILE:LINE:COLUMN: key: what is wrong; allowed: what is allowed`. */
export interface ConfigProblem extends Problem {
  readonly code: 'config_invalid';
  readonly file: string;
  /** From 1. */
  readonly line: number;
  /** From 1, in characters. */
  readonly column: number;
  readonly key: string;
  readonly wrong: string;
  readonly allowed: string;
}

/** A configuration that is not valid, with all its problems. */
export class ConfigError extends SnoopyError {
  readonly problems: readonly ConfigProblem[];

  constructor(file: string, problems: readonly ConfigProblem[]) {
    super({
      code: 'config_invalid',
      object: file,
      operation: `use the configuration "${file}"`,
      cause: `it has ${problems.length} ${problems.length === 1 ? 'problem' : 'problems'}`,
      fix: 'correct it',
      details: problems.map(formatProblem).join('\n'),
    });
    this.problems = problems;
  }
}

/** A longer list helps no one, and a text of 1 MiB may have half a million problems. */
const MAX_PROBLEMS = 100;
/** The most findings of one kind of check: enough to know that there are more problems than are reported. */
export const MAX_FINDINGS = MAX_PROBLEMS + 1;

/** The first findings, in the order of the text and at most one for each value, as problems of `file`. */
export function problemsOf(findings: readonly Finding[], text: string, file: string): ConfigProblem[] {
  const lines = lineStarts(text);
  const seen = new Set<string>();
  const problems: ConfigProblem[] = [];
  const add = (key: string, { at, wrong, allowed }: Omit<Finding, 'path'>): void => {
    const { line, column } = positionOf(at, text, lines);
    problems.push({
      code: 'config_invalid',
      object: key,
      operation: null,
      cause: `${file}:${line}:${column}: ${key}: ${wrong}`,
      fix: `allowed: ${allowed}`,
      ...{ file, line, column, key, wrong, allowed },
    });
  };
  for (const finding of [...findings].sort((a, b) => a.at - b.at)) {
    const key = formatPath(finding.path);
    const id = `${finding.at} ${key}`;
    if (seen.has(id)) continue;
    seen.add(id);
    if (problems.length === MAX_PROBLEMS) {
      const wrong = `has more problems than these ${MAX_PROBLEMS}`;
      add('document', { at: finding.at, wrong, allowed: 'none' });
      break;
    }
    add(key, finding);
  }
  return problems;
}

/** A path as text: `bridges[0].ports.include[1]`, with long keys cut short; `document` for the root. */
function formatPath(path: Path): string {
  let text = '';
  for (const part of path) {
    if (typeof part === 'number') text += `[${part}]`;
    else text += `${text === '' ? '' : '.'}${/^[\w-]{1,40}$/.test(part) ? part : quote(part)}`;
  }
  return text === '' ? 'document' : text;
}

/** A text in quotes, cut short and without control characters, fit for one line of a message. */
export function quote(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}...` : text);
}

/** The offsets at which lines begin. */
export function lineStarts(text: string): readonly number[] {
  const starts = [0];
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    if (char === '\n' || (char === '\r' && text[at + 1] !== '\n')) starts.push(at + 1);
  }
  return starts;
}

function positionOf(at: number, text: string, starts: readonly number[]): { line: number; column: number } {
  const line = lineAt(at, starts);
  // Editors count characters, not the halves of surrogate pairs.
  return { line, column: [...text.slice(starts[line - 1] ?? 0, at)].length + 1 };
}

/** The line of an offset, from 1. */
export function lineAt(at: number, starts: readonly number[]): number {
  let low = 0;
  let high = starts.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((starts[middle] ?? 0) <= at) low = middle;
    else high = middle - 1;
  }
  return low + 1;
}
