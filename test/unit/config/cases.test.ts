// Configurations as files, each with what it becomes (.desired) or every problem in it (.problems).

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { formatProblem } from '../../../src/base/errors.ts';
import { parseConfig } from '../../../src/config/config.ts';
import { assertGolden, ROOT } from '../golden.ts';

const CASES = 'test/unit/config/cases';

for (const file of readdirSync(`${ROOT}${CASES}`).filter((name) => name.endsWith('.config'))) {
  test(`configuration ${file}`, () => {
    const text = readFileSync(`${ROOT}${CASES}/${file}`, 'utf8');
    const result = parseConfig(text, file);
    const name = file.replace(/\.config$/, '');
    if ('configuration' in result) {
      assertGolden(`${CASES}/${name}.desired`, `${JSON.stringify(result.configuration, null, 2)}\n`);
    } else {
      assertGolden(
        `${CASES}/${name}.problems`,
        result.problems.map((problem) => `${formatProblem(problem)}\n`).join(''),
      );
    }
  });
}

test('a problem has its parts as fields beside the message', () => {
  const result = parseConfig('version: 1\nbridges:\n  - name: vmbr0\n    prots: {}\n', 'snoopy.yaml');
  assert.deepEqual(result, {
    problems: [
      {
        code: 'config_invalid',
        object: 'bridges[0].prots',
        operation: null,
        cause: 'snoopy.yaml:4:5: bridges[0].prots: is an unknown key, did you mean `ports`?',
        fix:
          'allowed: name, required, ports, learn, subnets, link_local, neighbor_state, max_age, limits, ' +
          'duplicates, probe, announce and static',
        file: 'snoopy.yaml',
        line: 4,
        column: 5,
        key: 'bridges[0].prots',
        wrong: 'is an unknown key, did you mean `ports`?',
        allowed:
          'name, required, ports, learn, subnets, link_local, neighbor_state, max_age, limits, duplicates, probe, announce and static',
      },
    ],
  });
});

test('a text over 1 MiB is rejected before it is parsed', () => {
  const result = parseConfig(`version: 1\n#${'x'.repeat(1 << 20)}`, 'f');
  assert.ok('problems' in result);
  assert.match(
    result.problems.map(formatProblem).join('\n'),
    /^f:1:1: document: is \d+ bytes long; allowed: at most 1MiB$/,
  );
});

test("the validator's own texts never reach a user", () => {
  for (const file of readdirSync(`${ROOT}${CASES}`).filter((name) => name.endsWith('.config'))) {
    const result = parseConfig(readFileSync(`${ROOT}${CASES}/${file}`, 'utf8'), file);
    if ('configuration' in result) continue;
    for (const message of result.problems.map(formatProblem)) {
      assert.doesNotMatch(message, /must NOT|must be|must match|#\/|instancePath|undefined|\[object/, file);
      assert.match(message, /^[^:]+:\d+:\d+: [^:]+: .+; allowed: .+$/, file);
    }
  }
});
