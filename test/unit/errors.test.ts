// Error codes: test/kernel/errors.test.ts provokes each one, and all of them have the same form.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import {
  causeOf,
  ERROR_CODES,
  errnoOf,
  exitCodeOf,
  fixFor,
  formatCause,
  formatProblem,
  isAbsence,
  malformed,
  type Problem,
  problemOf,
  SnoopyError,
} from '../../src/base/errors.ts';
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

  test('every message says what could not be done, with what, why, and ends with a fix', () => {
    for (const { code, message } of lines) {
      if (code === 'internal') assert.match(message, /^Internal error: [^;]+; please report it:$/);
      // commander words the errors of a command line. Errors of a configuration begin with their place.
      else if (code === 'usage')
        assert.match(message, /^unknown option '--dif' .*; see snoopy reconcile --help$/);
      else if (code === 'config_invalid') assert.match(message, /^\S+:\d+:\d+: \S.*; allowed: /);
      else assert.match(message, /^Cannot [a-z][^;]+: [^;]+; [a-z`]/, code);
      assert.doesNotMatch(message, /undefined|\[object|[.;]$/, code);
    }
  });
});

const HELD: Problem = {
  code: 'locked',
  object: '/x',
  operation: 'lock "/x"',
  cause: 'EAGAIN (held)',
  fix: 'wait',
  errno: 'EAGAIN',
};

test('the text is made of the parts', () => {
  assert.equal(formatProblem(HELD), 'Cannot lock "/x": EAGAIN (held); wait');
  assert.equal(formatCause(HELD), 'Cannot lock "/x": EAGAIN (held)');
  assert.equal(formatProblem({ ...HELD, operation: null, cause: 'x is unknown' }), 'x is unknown; wait');
  assert.equal(
    formatProblem({ ...HELD, details: 'line 1\nline 2' }),
    'Cannot lock "/x": EAGAIN (held); wait:\nline 1\nline 2',
  );
});

test('a problem that is thrown comes back as it was', () => {
  const error = new SnoopyError(HELD);
  assert.equal(problemOf(error, 'y'), HELD);
  assert.deepEqual([error.message, error.code, error.errno], [formatProblem(HELD), 'locked', 'EAGAIN']);
});

function failedCall(errno: string): Error {
  return Object.assign(new Error('x'), { code: errno, syscall: 'mkdir', path: '/x' });
}

test('a failed system call has a fix, whatever its errno', () => {
  for (const errno of ['EPERM', 'ENOSPC', 'EROFS', 'EMFILE', 'EIO', 'EINVAL', 'ENOMEM', 'EWHATEVER']) {
    const problem = problemOf(failedCall(errno), 'snoopy');
    assert.deepEqual([problem.code, problem.object, problem.errno], ['syscall_failed', '/x', errno]);
    assert.equal(formatProblem(problem), `Cannot mkdir "/x": ${errno}; ${fixFor(errno)}`);
  }
});

test('any other error is a defect, with its stack for the report', () => {
  const defect = new TypeError('a defect');
  const { code, details } = problemOf(defect, 'snoopy');
  assert.deepEqual([code, details], ['internal', defect.stack]);
  assert.equal(formatProblem(problemOf('thrown', 'snoopy')), 'Internal error: thrown; please report it');
});

test('bytes that cannot be decoded are to be reported', () => {
  const { code, fix } = malformed('x', 'decode x', 'it is short').problem;
  assert.equal(code, 'malformed');
  assert.match(fix, /^please report it/);
});

test('the errno of an error of ours, of node:fs, and of none', () => {
  const missing = failedCall('ENOENT');
  const other = Object.assign(new Error('no module'), { code: 'MODULE_NOT_FOUND' });
  assert.deepEqual([new SnoopyError(HELD), missing, other, 'x'].map(errnoOf), [
    'EAGAIN',
    'ENOENT',
    undefined,
    undefined,
  ]);
  assert.deepEqual([missing, other, 'x'].map(causeOf), ['ENOENT', 'no module', 'x']);
  assert.deepEqual([missing, failedCall('EACCES'), other].map(isAbsence), [true, false, false]);
});
