// Error codes: each has been provoked for real (test/kernel/errors.test.ts), and reads like the others.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { ERROR_CODES, exitCodeOf, problemOf, remedyFor, SnoopyError } from '../../src/base/errors.ts';
import { ROOT } from './golden.ts';

const lines = readFileSync(`${ROOT}test/kernel/errors.txt`, 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => {
    const [code = '', exit = '', ...message] = line.split('  ');
    return { code, exit: Number(exit), message: message.join('  ') };
  });

describe('test/kernel/errors.txt', () => {
  test('shows every code once, and no other', () => {
    assert.deepEqual(
      lines.map(({ code }) => code),
      [...ERROR_CODES].sort(),
    );
  });

  test('has the exit code of each', () => {
    for (const { code, exit } of lines) {
      const known = ERROR_CODES.find((each) => each === code);
      assert.ok(known);
      assert.equal(exit, exitCodeOf(known), code);
    }
  });

  test('every message says what could not be done, with what, and ends with a remedy', () => {
    for (const { code, message } of lines) {
      if (code === 'internal') assert.match(message, /^Internal error, please report it: /);
      // Of a command line commander says what is wrong; of a configuration its own place comes first.
      else if (code === 'usage')
        assert.match(message, /^unknown option '--dif' .*; see snoopy reconcile --help$/);
      else if (code === 'config_invalid') assert.match(message, /^\S+:\d+:\d+: \S.*; allowed: /);
      else
        assert.match(
          message,
          /^(Cannot |Refused |Not permitted: |Process |Bridge |What is pinned |")[^;]+; [a-z`]/,
          code,
        );
      assert.doesNotMatch(message, /undefined|\[object|[.;]$/, code);
    }
  });
});

test('a failed system call has a remedy, whatever it failed with', () => {
  for (const errno of ['EPERM', 'ENOSPC', 'EROFS', 'EMFILE', 'EIO', 'EINVAL', 'ENOMEM', 'EWHATEVER']) {
    const thrown = Object.assign(new Error('x'), { code: errno, syscall: 'mkdir', path: '/x' });
    const { code, object, message } = problemOf(thrown, 'snoopy');
    assert.deepEqual([code, object], ['syscall_failed', '/x']);
    assert.equal(message, `Cannot mkdir "/x": ${errno}; ${remedyFor(errno)}`);
  }
});

test('what is malformed is to be reported, other errors are told as they are', () => {
  assert.match(
    problemOf(new SnoopyError('malformed', 'x', 'Cannot decode x'), 'y').message,
    /^Cannot decode x; please report it/,
  );
  assert.equal(problemOf(new SnoopyError('locked', 'x', 'Held; wait'), 'y').message, 'Held; wait');
});
