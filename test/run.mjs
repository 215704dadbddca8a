// Runs the tests below dist/test: node test/run.mjs [--all | --quick] [PART OF A PATH...]
//
// Without arguments it takes the quick part of every suite, with --all everything. With parts of paths it runs the files
// that match, as a whole unless --quick is given. It ends with the slowest files, one summary and one exit code.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { fileURLToPath } from 'node:url';
import { GUESTS, SUITES } from './suites.mjs';

/** The kernel below this process, when it is that of a guest (test/guest/main.ts). */
const guest = process.env.SNOOPY_GUEST;
const inCi = process.env.CI !== undefined && process.env.CI !== '';

/** Reasons for which a test may be skipped in CI: what the kernel lacks, and where the test runs instead. */
const MAY_SKIP = new Map(
  guest === undefined
    ? [['the kernel has no CONFIG_BRIDGE_VLAN_FILTERING', 'runs in the guest']]
    : [['the kernel has no NTF_EXT_EXT_VALIDATED (6.17)', 'no guest has it: runs on the host']],
);
if (guest === '6.1') {
  MAY_SKIP.set('the kernel has no TCX (6.6)', 'runs on the host, and in 6.12');
  MAY_SKIP.set('watches EVPN multihoming for half an hour', 'runs in 6.12');
  MAY_SKIP.set('the kernel has no MAB (6.2)', 'runs on the host, and in 6.12');
  MAY_SKIP.set('the kernel has no neigh_vlan_suppress (6.5)', 'runs in 6.12');
}

/** Files that run at the same time, one more than processors, because many wait; the guest counts as one. */
const CONCURRENCY = 3;
/** A file that takes longer hangs: the slowest takes eight minutes, and several times that beside other work. A run with FUZZ_FRAMES takes as long as its frames. */
const TIMEOUT_MS = process.env.FUZZ_FRAMES === undefined ? minutes(60) : Number.POSITIVE_INFINITY;
const SLOWEST = 10;

const root = fileURLToPath(new URL('../dist/test/', import.meta.url));
const sources = fileURLToPath(new URL('./', import.meta.url));
const { isQuick, filters } = parseArguments(process.argv.slice(2));

// The processes of the tests inherit these.
process.env.NODE_OPTIONS = `${process.env.NODE_OPTIONS ?? ''} --enable-source-maps`.trim();
if (isQuick) process.env.SNOOPY_TESTS = 'quick';
else delete process.env.SNOOPY_TESTS;

// A signal ends the tests, which undo their changes; this process waits for them.
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

const count = { passed: 0, failed: 0, skipped: 0 };
/** Reasons besides failed tests for which the run fails. */
const complaints = [];
/** Path and seconds of each file. */
const times = [];
/** The sources whose tests have passed or failed. */
const withTests = new Set();

const jobs = planJobs();
if (jobs.length === 0) {
  console.error(filters.length === 0 ? `No tests in ${root}` : `No test file matches ${filters.join(' ')}`);
  process.exit(1);
}
await runJobs(jobs);
if (count.passed === 0) complaints.push('no test has passed');
printTimes();
for (const complaint of complaints) console.error(`✖ ${complaint}`);
if (complaints.length > 0 || count.failed > 0) process.exitCode = 1;
if (ending.signal.aborted) process.exitCode = endingCode;
console.log(`${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`);

function parseArguments(args) {
  const unknown = args.find((arg) => arg.startsWith('-') && arg !== '--all' && arg !== '--quick');
  if (unknown !== undefined || (args.includes('--all') && args.includes('--quick'))) {
    console.error('usage: node test/run.mjs [--all | --quick] [PART OF A PATH...]');
    process.exit(64);
  }
  const filters = args.filter((arg) => !arg.startsWith('-'));
  return { isQuick: args.includes('--quick') || (filters.length === 0 && !args.includes('--all')), filters };
}

/** What this run consists of: a function for each file, and one for the guest with all of its files. */
function planJobs() {
  const chosen = SUITES.flatMap(listFiles);
  for (const filter of filters) {
    if (!chosen.some((path) => path.includes(filter))) complaints.push(`no test file matches ${filter}`);
  }
  const guests = guest === undefined ? GUESTS : [];
  const isForGuest = (path) => guests.some(({ suite }) => path.startsWith(`${suite}/`));
  const here = chosen.filter((path) => !isForGuest(path));
  const together = here.filter(canShare);
  const apart = here.filter((path) => together.length < 2 || !canShare(path));
  const files = apart.map((path) => () => runFile(path));
  // Most of their time would be the start of a process each.
  if (together.length > 1) files.unshift(() => runTogether(together));
  if (filters.length === 0) files.push(...SUITES.flatMap(planAgain));
  const inGuests = guests.flatMap(({ suite, kernels, also }) => {
    const own = chosen.filter((path) => path.startsWith(`${suite}/`));
    if (own.length === 0) return [];
    const paths = filters.length === 0 && !isQuick ? [...own, ...also] : own;
    return [() => runInGuest(suite, kernels, paths)];
  });
  // The guests come first: they take longest.
  return [...inGuests, ...files];
}

/** A suite with a second FRR: a function for each file. Its runner is another, as the tests inherit the environment. */
function planAgain({ name, deep, again }) {
  if (again === undefined) return [];
  const { frr, quick } = again;
  const paths = listFiles({ name, deep }).filter(
    (path) => !isQuick || quick.some((file) => path === `${name}/${file}.test.js`),
  );
  return paths.map((path) => () => {
    const argv = [fileURLToPath(import.meta.url), ...(isQuick ? ['--quick'] : []), path];
    return runRunner(`${path} (FRR ${frr})`, argv, { SNOOPY_FRR: frr });
  });
}

/** Paths of a suite's test files below `root` that this run includes. */
function listFiles({ name: suite, deep }) {
  const names = readdirSync(join(root, suite), { recursive: true, encoding: 'utf8' });
  const paths = names.filter((name) => name.endsWith('.test.js')).map((name) => join(suite, name));
  return paths.sort().filter((path) => {
    // A compiled test without a source is left from an earlier build.
    if (!existsSync(join(sources, path.replace(/\.js$/, '.ts')))) return false;
    if (isQuick && deep.includes(path.slice(suite.length + 1).replace(/\.test\.js$/, ''))) return false;
    return filters.length === 0 || filters.some((filter) => path.includes(filter));
  });
}

async function runJobs(jobs) {
  const queue = [...jobs];
  const work = async () => {
    for (let job = queue.shift(); job !== undefined && !ending.signal.aborted; job = queue.shift())
      await job();
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, work));
}

/** True for a file that may share a process with the others of its suite. */
function canShare(path) {
  return SUITES.some(({ name, apart }) => {
    const file = path.slice(name.length + 1).replace(/\.test\.js$/, '');
    return apart !== undefined && path.startsWith(`${name}/`) && !apart.includes(file);
  });
}

/** Runs files in one process and prints their results. */
async function runTogether(paths) {
  process.env.SNOOPY_TOGETHER = JSON.stringify(paths.map((path) => join(root, path)));
  const [suite] = paths[0].split('/');
  await runFile(`${suite}/ (${paths.length} files)`, join(sources, 'together.mjs'));
  for (const path of paths) {
    if (!withTests.has(join(sources, path.replace(/\.js$/, '.ts')))) complaints.push(`${path} has no test`);
  }
}

/** Runs one file and prints its result. */
async function runFile(path, file = join(root, path)) {
  const start = performance.now();
  const stream = run({ files: [file], timeout: TIMEOUT_MS, signal: ending.signal });
  const report = await text(Readable.from(countEvents(file, stream)).compose(new spec()));
  const seconds = (performance.now() - start) / 1000;
  times.push({ path, seconds });
  process.stdout.write(`${path.replace(/\.js$/, '')} (${seconds.toFixed(1)} s)\n${report}`);
}

/** The events of a file for the reporter, counted, without the summary that every file has. */
async function* countEvents(file, stream) {
  for await (const event of stream) {
    const { type, data } = event;
    if (type === 'test:pass' || type === 'test:fail') withTests.add(data.file);
    if (type === 'test:pass') notePass(file, data);
    if (type === 'test:fail') noteFailure(data);
    if (type !== 'test:diagnostic' || data.file !== undefined || data.nesting > 0) yield event;
  }
}

function notePass(file, { name, details, skip, todo }) {
  if (details.type === 'suite') return;
  if (skip !== undefined || todo !== undefined) noteSkip(name, skip ?? todo);
  // A file that defines no test passes under its own name.
  else if (name === file) complaints.push(`${relative(root, file)} has no test`);
  else count.passed += 1;
}

function noteFailure({ name, details, todo }) {
  if (todo !== undefined) return noteSkip(name, todo);
  if (details.type !== 'suite') count.failed += 1;
  process.exitCode = 1;
}

function noteSkip(name, reason) {
  count.skipped += 1;
  if (!inCi || MAY_SKIP.has(reason)) return;
  complaints.push(`"${name}" was skipped (${reason}), which CI does not allow: see MAY_SKIP in test/run.mjs`);
}

/** Runs this program in guests, one after the other, and adds their counts. */
function runInGuest(suite, kernels, paths) {
  const options = isQuick ? ['--quick'] : [];
  const argv = [join(root, 'guest/main.js'), ...kernels, ...options, ...paths];
  const path = `${suite}/ (${paths.length} files in Linux ${kernels.join(' and ')})`;
  return runRunner(path, argv, {}, kernels.length);
}

/** Runs this program elsewhere, so many times, or with other variables, and adds its counts. */
async function runRunner(path, argv, variables, runs = 1) {
  const start = performance.now();
  const env = { ...process.env, ...variables };
  const child = spawn(process.execPath, argv, { env, stdio: ['ignore', 'pipe', 'inherit'] });
  ending.signal.addEventListener('abort', () => child.kill());
  const output = text(child.stdout.setEncoding('utf8'));
  const [code] = await once(child, 'close');
  const printed = await output;
  times.push({ path, seconds: (performance.now() - start) / 1000 });
  process.stdout.write(printed);
  const summaries = [...printed.matchAll(/^(\d+) passed, (\d+) failed, (\d+) skipped$/gm)];
  if (summaries.length !== runs) complaints.push(`${path} ended without a summary`);
  for (const [, ...counted] of summaries) {
    for (const [i, what] of Object.keys(count).entries()) count[what] += Number(counted[i]);
  }
  if (code !== 0) complaints.push(`${path} ended with exit code ${code}`);
}

function printTimes() {
  const slowest = times.sort((a, b) => b.seconds - a.seconds).slice(0, SLOWEST);
  if (times.length > 1) console.log('slowest files:');
  for (const { path, seconds } of times.length > 1 ? slowest : [])
    console.log(`  ${seconds.toFixed(1).padStart(6)} s  ${path}`);
  if (guest !== undefined) return;
  for (const { path, seconds } of times) {
    const { budgetS } = SUITES.find(({ name }) => path.startsWith(`${name}/`));
    const budget = budgetS[isQuick ? 0 : 1];
    if (seconds > budget)
      console.log(`note: ${path} took ${seconds.toFixed(0)} s of a budget of ${budget} s`);
  }
}

function minutes(count) {
  return count * 60_000;
}
