// Runs every golden case: what is planned for a machine, word for word.

import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { actual, readCase } from './case.ts';

// The cases stand beside the sources; the compiled test runs from dist/.
const CASES = join(import.meta.dirname, '../../../../test/unit/core/cases');

describe('golden cases', () => {
  for (const name of readdirSync(CASES).sort()) {
    it(name.replaceAll('-', ' '), () => {
      const golden = readCase(join(CASES, name));
      const found = actual(golden);
      for (const [key, value] of Object.entries(golden.expected)) {
        assert.deepEqual(found[key as keyof typeof found], value, key);
      }
      assert.ok(Object.keys(golden.expected).length > 0, 'a case that expects nothing proves nothing');
    });
  }
});
