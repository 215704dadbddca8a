// Runs tests in guests with other kernels: node dist/test/guest/main.js [--quick] [KERNEL...] [PART OF A PATH...]
// It needs the packages that test/setup.sh lists for the guest.
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildProbe } from '../kernel/probe.ts';
import { Scope } from '../lib/scope.ts';
import { runInGuest } from './guest.ts';
import { fetchKernel, KERNELS } from './kernel.ts';

const PROJECT = fileURLToPath(new URL('../../../', import.meta.url));
const DIST = join(PROJECT, 'dist');
/**
 * The default tests. Of kernel/ it leaves out lifecycle, liveness and metrics, which measure seconds (locks, kills,
 * --listen, ages) where a run alone takes one or more; doctor, which boots a container and is slow (guest/ runs it as
 * well); and provisioning, which does not depend on the kernel. Of fabric/ it leaves out the tests that measure the time
 * to a route, and tunnel, in which a host must be silent for longer than its kernel is here.
 */
const DEFAULT_TESTS = [
  'guest/',
  ...[
    'bindings',
    'checks',
    'commands',
    'ffi',
    'hints',
    'neighbors',
    'netlink',
    'reconcile',
    'tcx',
    'wire',
  ].map((name) => `kernel/${name}`),
  'fabric/routes',
  'field/23',
];
/** The default tests on arm64: its package, and what depends on the architecture: calls, layouts and the compiled program. */
const ARM64_TESTS = ['arm64/', ...['checks', 'ffi', 'netlink', 'tcx'].map((name) => `kernel/${name}`)];
/** Where a guest without a compiler finds the object of test/kernel/probe.ts. */
const PROBE = join(PROJECT, 'dist/guest/probe.bpf.o');
const TIMEOUT_MS = 150 * 60_000;

const args = process.argv.slice(2);
const chosen = args.filter((arg) => KERNELS.includes(arg));
const options: readonly string[] = args.filter((arg) => arg === '--quick');
const filters = args.filter((arg) => !KERNELS.includes(arg) && !options.includes(arg));
const frr = process.env['SNOOPY_FRR'];
const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

function compileProbe(): void {
  const scope = new Scope();
  try {
    copyFileSync(buildProbe(scope), PROBE);
  } finally {
    scope.close();
  }
}

/** Brings the project, the native part of koffi and the object of the tests to a guest whose root is not the host's. */
const BRING_PROJECT = [
  `mkdir -p ${quote(PROJECT)} /node_modules/@koromix`,
  `mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=524288 project ${quote(PROJECT)}`,
  // Where Node.js looks last.
  `ln -s ${quote(PROJECT)}dist/native/arm64-* /node_modules/@koromix/koffi-linux-arm64`,
  // Runs take half as long from code that is compiled for this architecture.
  'mkdir /run/upper /run/work',
  `mount -t overlay -o lowerdir=${quote(DIST)},upperdir=/run/upper,workdir=/run/work overlay ${quote(DIST)}`,
  `node ${quote(DIST)}/precompile.cjs`,
  `export SNOOPY_PROBE=${quote(PROBE)}`,
];

for (const name of chosen.length === 0 ? KERNELS : chosen) {
  const kernel = fetchKernel(name);
  const isNative = kernel.root === '/';
  if (!isNative) compileProbe();
  const defaults = isNative ? DEFAULT_TESTS : ARM64_TESTS;
  const argv = [
    isNative ? process.execPath : 'node',
    'test/run.mjs',
    ...options,
    ...(filters.length === 0 ? defaults : filters),
  ];
  console.log(`Linux ${name}: ${argv.slice(1).join(' ')}`);
  const start = performance.now();
  const status = await runInGuest(kernel, {
    script: [
      // Its first output says that it has booted. The tests print nothing before the end of their first file.
      'uname -sr',
      ...(isNative ? ['install -d -o frr -g frr /run/frr'] : ['set -e', ...BRING_PROJECT]),
      `export CI=${quote(process.env['CI'] ?? '')} SNOOPY_GUEST=${name}`,
      ...(frr === undefined ? [] : [`export SNOOPY_FRR=${quote(frr)}`]),
      `cd ${quote(PROJECT)} && exec ${argv.map(quote).join(' ')}`,
    ].join('\n'),
    timeoutMs: TIMEOUT_MS,
    onOutput: (text) => process.stdout.write(text),
  });
  console.log(`Linux ${name}: exit code ${status} after ${Math.round((performance.now() - start) / 1000)} s`);
  if (status !== 0) process.exitCode = 1;
}
