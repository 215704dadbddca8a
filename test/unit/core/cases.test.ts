// Runs every golden case: the plan for a machine, compared word for word.

import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { UPDATE_GOLDEN } from '../golden.ts';
import { actual, asARunSees, readCase, writeExpected } from './case.ts';

// The cases are beside the sources. The compiled test runs from dist/.
const CASES = fileURLToPath(new URL('../../../../test/unit/core/cases', import.meta.url));

describe('golden cases', () => {
  for (const name of readdirSync(CASES).sort()) {
    it(name.replaceAll('-', ' '), () => {
      const folder = join(CASES, name);
      const before = readCase(folder);
      if (UPDATE_GOLDEN) writeExpected(folder, before, actual(before));
      const golden = readCase(folder);
      const found = actual(asARunSees(golden));
      for (const [key, value] of Object.entries(golden.expected)) {
        assert.deepEqual(found[key as keyof typeof found], value, key);
      }
      assert.ok(Object.keys(golden.expected).length > 0, 'a case without expectations proves nothing');
    });
  }
});

it('UPDATE_GOLDEN writes the sections that a case has already, in a new case those that are not empty', () => {
  const folder = mkdtempSync(join(tmpdir(), 'case-'));
  const expected = join(folder, 'expected.yaml');
  try {
    // The default scene with one more host.
    writeFileSync(
      join(folder, 'observed.yaml'),
      'fdb: [02:00:00:00:00:0a tap1]\nbindings: [{bridge: br0, ip: 10.0.0.10, mac: "02:00:00:00:00:0a", port: tap1}]\n',
    );
    const update = (): string => {
      const golden = readCase(folder);
      writeExpected(folder, golden, actual(golden));
      return readFileSync(expected, 'utf8');
    };
    assert.match(update(), /^changes:\n {2}- add 10\.0\.0\.10 .*\nverdicts:\n {2}- 10\.0\.0\.10 .*\n$/);
    writeFileSync(expected, 'verdicts: []\nsteps: []\n');
    assert.match(update(), /^verdicts:\n {2}- 10\.0\.0\.10 .*\nsteps: \[\]\n$/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
