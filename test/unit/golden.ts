// Files that hold what a test expects; `UPDATE_GOLDEN=1` writes them anew.

import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** The project's root, seen from dist/test/unit/. */
export const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

/** True when the files are to be written anew from what the code does now. */
export const UPDATE_GOLDEN = process.env['UPDATE_GOLDEN'] === '1';

/** Asserts that a text is what the file at `path`, from the project's root, holds. */
export function assertGolden(path: string, actual: string): void {
  const file = `${ROOT}${path}`;
  if (UPDATE_GOLDEN) writeFileSync(file, actual);
  assert.ok(existsSync(file), `${path} is missing: run with UPDATE_GOLDEN=1, then read what was written`);
  assert.equal(actual, readFileSync(file, 'utf8'), `differs from ${path}`);
}
