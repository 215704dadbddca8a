// Runs every test below dist/test: node test/run.mjs [PART OF A PATH...]. One summary, one exit code.
import { existsSync, readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { finished } from 'node:stream/promises';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { fileURLToPath } from 'node:url';

/** Tests that may be skipped in CI as well, by their name, and why. */
const MAY_SKIP = new Map([
  // ['name of the test', 'what its kernel or host lacks, and where it runs instead'],
]);

// In a guest (test/guest/main.ts) its name is in the environment: tests of what other kernels have, and lack.
const inGuest = process.env.SNOOPY_GUEST !== undefined;
const SUITES = inGuest ? ['unit', 'kernel', 'fabric', 'guest'] : ['unit', 'kernel', 'fabric'];
const CONCURRENCY = 2;
const inCi = process.env.CI !== undefined && process.env.CI !== '';

const root = fileURLToPath(new URL('../dist/test/', import.meta.url));
const sources = fileURLToPath(new URL('./', import.meta.url));
const filters = process.argv.slice(2);
const files = listTests().filter((file) => {
  const path = relative(root, file);
  return filters.length === 0 || filters.some((filter) => path.includes(filter));
});
if (files.length === 0) {
  console.error(filters.length === 0 ? `No tests in ${root}` : `No test file matches ${filters.join(' ')}`);
  process.exit(1);
}

// Each file is a process of its own. They get what this one has in NODE_OPTIONS.
process.env.NODE_OPTIONS = `${process.env.NODE_OPTIONS ?? ''} --enable-source-maps`.trim();
const count = { passed: 0, failed: 0, skipped: 0 };
const complaints = [];
const stream = run({ files, concurrency: CONCURRENCY, timeout: 1_200_000 });
stream.on('test:pass', (event) => {
  if (event.details.type === 'suite') return;
  if (event.skip !== undefined || event.todo !== undefined) return skipped(event);
  // A file in which no test is defined passes under its own name.
  if (files.includes(event.name)) complaints.push(`${relative(root, event.name)}: has no test`);
  else count.passed += 1;
});
stream.on('test:fail', (event) => {
  if (event.todo !== undefined) return skipped(event);
  if (event.details.type !== 'suite') count.failed += 1;
  process.exitCode = 1;
});
const report = stream.compose(new spec());
report.pipe(process.stdout);
await finished(report);

if (count.passed === 0) complaints.push('no test has passed');
for (const complaint of complaints) console.error(`✖ ${complaint}`);
if (complaints.length > 0 || count.failed > 0) process.exitCode = 1;
console.log(`${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`);

function listTests() {
  return SUITES.flatMap((suite) => {
    const names = readdirSync(join(root, suite), { recursive: true, encoding: 'utf8' });
    // A compiled test whose source is gone is left from an earlier build.
    const hasSource = (name) => existsSync(join(sources, suite, name.replace(/\.js$/, '.ts')));
    const tests = names.filter((name) => name.endsWith('.test.js') && hasSource(name)).sort();
    return tests.map((name) => join(root, suite, name));
  });
}

function skipped({ name, skip, todo }) {
  count.skipped += 1;
  if (!inCi || MAY_SKIP.has(name)) return;
  complaints.push(
    `"${name}" was skipped (${skip ?? todo}), which CI does not allow: see MAY_SKIP in test/run.mjs`,
  );
}
