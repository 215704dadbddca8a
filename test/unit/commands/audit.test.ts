import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { runAudit } from '../../../src/commands/audit.ts';

const dir = mkdtempSync(join(tmpdir(), 'snoopy-audit-'));
after(() => rmSync(dir, { recursive: true }));

test('a textfile that cannot be written is an error of the report, which is not lost', () => {
  writeFileSync(join(dir, 'n1.json'), '');
  const textfile = join(dir, 'missing', 'audit.prom');
  const options = { paths: [dir], since: null, settleMs: 5_000, textfile };
  const environment = { users: new Set([0]), wallClock: () => 0 };
  const { ok, findings, errors } = runAudit(options, environment);
  assert.equal(ok, false);
  assert.deepEqual(
    findings.map(({ id }) => id),
    ['no-report'],
  );
  assert.deepEqual(
    errors.map(({ code, object, errno }) => [code, object, errno]),
    [['textfile_failed', textfile, 'ENOENT']],
  );
});

test('a relative path of a textfile is relative to the working directory', () => {
  const before = process.cwd();
  const users = new Set([0, process.getuid?.() ?? 0]);
  process.chdir(dir);
  try {
    const options = { paths: [dir], since: null, settleMs: 5_000, textfile: 'relative.prom' };
    const { errors } = runAudit(options, { users, wallClock: () => 0 });
    assert.deepEqual(errors, []);
  } finally {
    process.chdir(before);
  }
  assert.match(readFileSync(join(dir, 'relative.prom'), 'utf8'), /^snoopy_audit/m);
  assert.ok(!existsSync('/relative.prom'));
});

test('a file of a directory that cannot be read is a node without a report', () => {
  const reports = join(dir, 'reports');
  mkdirSync(reports);
  symlinkSync('nowhere', join(reports, 'n7.json'));
  const options = { paths: [reports], since: null, settleMs: 5_000, textfile: null };
  const { findings } = runAudit(options, { users: new Set([0]), wallClock: () => 0 });
  assert.deepEqual(
    findings.map(({ id, nodes, found }) => [id, nodes, found]),
    [['no-report', ['n7'], `n7: Cannot read "${reports}/n7.json": ENOENT`]],
  );
});
