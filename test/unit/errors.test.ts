// Error codes: test/kernel/errors.test.ts provokes each one, and all of them have the same form.

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
  test('has every code once, and no other', () => {
    assert.deepEqual(
      lines.map(({ code }) => code),
      [...ERROR_CODES].sort(),
    );
  });

  test('has the exit code of each error', () => {
    for (const { code, exit } of lines) {
      const known = ERROR_CODES.find((each) => each === code);
      assert.ok(known);
      assert.equal(exit, exitCodeOf(known), code);
    }
  });

  test('has messages that name operation and object, and end with a fix', () => {
    for (const { code, message } of lines) {
      if (code === 'internal') assert.match(message, /^Internal error, please report it: /);
      // commander words the errors of a command line. Errors of a configuration begin with their place.
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

test('a failed system call has a fix, whatever its errno', () => {
  for (const errno of ['EPERM', 'ENOSPC', 'EROFS', 'EMFILE', 'EIO', 'EINVAL', 'ENOMEM', 'EWHATEVER']) {
    const thrown = Object.assign(new Error('x'), { code: errno, syscall: 'mkdir', path: '/x' });
    const { code, object, message } = problemOf(thrown, 'snoopy');
    assert.deepEqual([code, object], ['syscall_failed', '/x']);
    assert.equal(message, `Cannot mkdir "/x": ${errno}; ${remedyFor(errno)}`);
  }
});

test('an error about malformed bytes asks for a bug report, other errors keep their text', () => {
  assert.match(
    problemOf(new SnoopyError('malformed', 'x', 'Cannot decode x'), 'y').message,
    /^Cannot decode x; please report it/,
  );
  assert.equal(problemOf(new SnoopyError('locked', 'x', 'Held; wait'), 'y').message, 'Held; wait');
});
