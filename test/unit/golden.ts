// Files with the text that a test expects. `UPDATE_GOLDEN=1` writes them again.

import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** The project's root, relative to dist/test/unit/. */
export const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

/** True when the files are to be written from the current output. */
export const UPDATE_GOLDEN = process.env['UPDATE_GOLDEN'] === '1';

/** Asserts that `text` equals the file at `path`, which is relative to the project's root. */
export function assertGolden(path: string, actual: string): void {
  const file = `${ROOT}${path}`;
  if (UPDATE_GOLDEN) writeFileSync(file, actual);
  assert.ok(existsSync(file), `${path} is missing: run with UPDATE_GOLDEN=1, then read the new file`);
  assert.equal(actual, readFileSync(file, 'utf8'), `differs from ${path}`);
}
