// Runs every test below dist/test: node test/run.mjs [PART OF A PATH...]. One summary, one exit code.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { finished } from 'node:stream/promises';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { fileURLToPath } from 'node:url';

/** The kernel that runs this, when it is that of a guest (test/guest/main.ts). */
const guest = process.env.SNOOPY_GUEST;

/** Why a test may be skipped in CI as well: what a kernel lacks, and where the test runs instead. */
const MAY_SKIP = new Map(
  guest === undefined
    ? [['the kernel has no CONFIG_BRIDGE_VLAN_FILTERING', 'runs in the guest']]
    : [['the kernel has no NTF_EXT_EXT_VALIDATED (6.17)', 'no guest has it: runs on the host']],
);
if (guest === '6.1') {
  MAY_SKIP.set('the kernel has no TCX (6.6)', 'runs on the host, and in 6.12');
  MAY_SKIP.set('the kernel has no MAB (6.2)', 'runs on the host, and in 6.12');
}

/** In this order. Two files run at a time: those that take many minutes are not among the last. */
const SUITES = ['unit', 'kernel', 'fabric', 'fuzz', 'ansible', 'safety', 'package', 'guest'];
/** Which of the guest's kernels is part of every run, and what runs in it beside the suite of that name. */
const GUEST_KERNEL = '6.1';
const ALSO_IN_GUEST = ['kernel/netlink.test.js'];
const CONCURRENCY = 2;
/** For a file. Who says how many frames are to be tried waits for them, however long that takes. */
const TIMEOUT_MS =
  process.env.FUZZ_FRAMES === undefined ? minutes(guest === undefined ? 30 : 60) : Number.POSITIVE_INFINITY;
const inCi = process.env.CI !== undefined && process.env.CI !== '';

const root = fileURLToPath(new URL('../dist/test/', import.meta.url));
const sources = fileURLToPath(new URL('./', import.meta.url));
const filters = process.argv.slice(2);
const chosen = listTests().filter((file) => {
  const path = relative(root, file);
  return filters.length === 0 || filters.some((filter) => path.includes(filter));
});
const isForGuest = (file) => guest === undefined && relative(root, file).startsWith('guest/');
const files = chosen.filter((file) => !isForGuest(file));
const guestPaths = chosen.filter(isForGuest).map((file) => relative(root, file));
if (chosen.length === 0) {
  console.error(filters.length === 0 ? `No tests in ${root}` : `No test file matches ${filters.join(' ')}`);
  process.exit(1);
}

// Whoever asks this process to end asks the tests: what they have made is theirs to take away, and this waits.
const ending = new AbortController();
let endingCode = 0;
for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
]) {
  process.on(signal, () => {
    endingCode = code;
    ending.abort();
  });
}

// Each file is a process of its own. They get what this one has in NODE_OPTIONS.
process.env.NODE_OPTIONS = `${process.env.NODE_OPTIONS ?? ''} --enable-source-maps`.trim();
const count = { passed: 0, failed: 0, skipped: 0 };
const complaints = [];
if (files.length > 0) await runHere();
// After the others: it takes all processors there are.
if (guestPaths.length > 0 && !ending.signal.aborted)
  await runInGuest(filters.length === 0 ? [...guestPaths, ...ALSO_IN_GUEST] : guestPaths);

if (count.passed === 0) complaints.push('no test has passed');
for (const complaint of complaints) console.error(`✖ ${complaint}`);
if (complaints.length > 0 || count.failed > 0) process.exitCode = 1;
if (ending.signal.aborted) process.exitCode = endingCode;
console.log(`${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`);

async function runHere() {
  const stream = run({ files, concurrency: CONCURRENCY, timeout: TIMEOUT_MS, signal: ending.signal });
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
}

/** Runs this file in a guest and adds what it has counted there. */
async function runInGuest(paths) {
  const argv = [join(root, 'guest/main.js'), GUEST_KERNEL, ...paths];
  const child = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'inherit'] });
  ending.signal.addEventListener('abort', () => child.kill());
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (part) => {
    process.stdout.write(part);
    text += part;
  });
  const [code] = await once(child, 'close');
  const [, ...counted] = /^(\d+) passed, (\d+) failed, (\d+) skipped$/m.exec(text) ?? [];
  for (const [i, what] of Object.keys(count).entries()) count[what] += Number(counted[i] ?? 0);
  if (code !== 0) complaints.push(`the tests in the guest ended with exit code ${code}`);
}

function minutes(count) {
  return count * 60_000;
}

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
  if (!inCi || MAY_SKIP.has(skip)) return;
  complaints.push(
    `"${name}" was skipped (${skip ?? todo}), which CI does not allow: see MAY_SKIP in test/run.mjs`,
  );
}
