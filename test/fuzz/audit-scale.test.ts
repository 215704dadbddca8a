// A large fabric: every planted fault is found, none is invented, within a time and an amount of memory.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { sample } from '../lib/depth.ts';
import { writeLargeFabric, writeSplitFabric } from '../lib/large-fabric.ts';
import { parseJson, tryRun } from '../lib/run.ts';
import { Scope } from '../lib/scope.ts';
import { NODE, START } from '../lib/snoopy.ts';
import { createTempDir } from '../lib/temp.ts';

/** The goal for one gathering, on one core. Of the processor's time, as other tests run beside this one. */
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

interface Report {
  readonly nodes: number;
  readonly addresses: number;
  readonly findings: readonly { id: string; addresses: readonly string[]; nodes: readonly string[] }[];
  readonly moving: readonly object[];
}

/** Audits a directory with so many gatherings, each within the time, and all within the memory. */
function audit(dir: string, gatherings: number): Report {
  const argv = ['python3', '-c', MEASURE, ...NODE, START, 'audit', '--format', 'json', dir];
  const { code, stdout, stderr } = tryRun(argv, { timeoutMs: 120_000 });
  assert.equal(code, 1, stderr);
  const [seconds = Number.NaN, peakKb = Number.NaN] = stderr.trim().split(' ').map(Number);
  assert.ok(seconds < gatherings * MOST_SECONDS, `${seconds} s`);
  assert.ok(peakKb < MOST_MB * 1024, `${peakKb} KiB`);
  return parseJson<Report>(stdout, 'audit');
}

it(`${NODES} nodes with 100 hosts each, in 1 GiB`, () => {
  const scope = new Scope();
  try {
    const dir = createTempDir(scope, 'audit');
    const expected = writeLargeFabric(dir, { nodes: NODES, hosts: 100, vnis: 1, seed: 7, faults: 40 });
    const report = audit(dir, 1);
    const found = report.findings.flatMap(({ id, addresses, nodes }) =>
      addresses.flatMap((ip) => nodes.map((node) => `${id} ${ip} ${node}`)),
    );
    assert.deepEqual(found.sort(), expected);
    assert.deepEqual(report.moving, []);
    assert.deepEqual([report.nodes, report.addresses], [NODES, NODES * 100]);
  } finally {
    scope.close();
  }
});

it(`${NODES} nodes in two halves that have lost each other, in two gatherings: each address is a hole at half of them`, () => {
  const scope = new Scope();
  try {
    const dir = createTempDir(scope, 'audit');
    // The nodes are asked one after the other: in one gathering most of it could be what has changed meanwhile.
    for (const [name, from] of [
      ['first', 0],
      ['second', 600],
    ] as const) {
      mkdirSync(join(dir, name));
      writeSplitFabric(join(dir, name), { nodes: NODES, hosts: 100, from, step: 0.2 });
    }
    const { findings, moving } = audit(dir, 2);
    assert.deepEqual(moving, []);
    assert.deepEqual([...new Set(findings.map(({ id }) => id))], ['hole']);
    const holes = findings.reduce((sum, { addresses, nodes }) => sum + addresses.length * nodes.length, 0);
    assert.equal(holes, NODES * 100 * (NODES / 2));
  } finally {
    scope.close();
  }
});
