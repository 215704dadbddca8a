// A large fabric: every planted fault is found, none is invented, within a time and an amount of memory.
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { sample } from '../lib/depth.ts';
import { writeLargeFabric } from '../lib/large-fabric.ts';
import { parseJson, tryRun } from '../lib/run.ts';
import { Scope } from '../lib/scope.ts';
import { NODE, START } from '../lib/snoopy.ts';
import { createTempDir } from '../lib/temp.ts';

/** The goal, on one core. Of the processor's time, as other tests run beside this one. */
const MOST_SECONDS = 10;
const MOST_MB = 1024;

/** Runs a command and prints on stderr what it took: seconds of the processor, and the peak of its memory in KiB. */
const MEASURE = `
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(usage.ru_utime + usage.ru_stime, usage.ru_maxrss, file=sys.stderr)
sys.exit(code)
`;

const NODES = sample(200, 1_000);

it(`${NODES} nodes with 100 hosts each, in 1 GiB`, () => {
  const scope = new Scope();
  try {
    const dir = createTempDir(scope, 'audit');
    const expected = writeLargeFabric(dir, { nodes: NODES, hosts: 100, vnis: 1, seed: 7, faults: 40 });
    const argv = ['python3', '-c', MEASURE, ...NODE, START, 'audit', '--format', 'json', dir];
    const { code, stdout, stderr } = tryRun(argv, { timeoutMs: 120_000 });
    assert.equal(code, 1, stderr);
    const report = parseJson<{
      readonly nodes: number;
      readonly addresses: number;
      readonly findings: readonly { id: string; addresses: readonly string[]; nodes: readonly string[] }[];
      readonly moving: readonly object[];
    }>(stdout, 'audit');
    const found = report.findings.flatMap(({ id, addresses, nodes }) =>
      addresses.flatMap((ip) => nodes.map((node) => `${id} ${ip} ${node}`)),
    );
    assert.deepEqual(found.sort(), expected);
    assert.deepEqual(report.moving, []);
    assert.deepEqual([report.nodes, report.addresses], [NODES, NODES * 100]);
    const [seconds = Number.NaN, peakKb = Number.NaN] = stderr.trim().split(' ').map(Number);
    assert.ok(seconds < MOST_SECONDS, `${seconds} s`);
    assert.ok(peakKb < MOST_MB * 1024, `${peakKb} KiB`);
  } finally {
    scope.close();
  }
});
