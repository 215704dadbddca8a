// Features that kernels before 6.17 and before 6.6 lack: NTF_EXT_EXT_VALIDATED, and TCX.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NEEDS_TCX } from '../kernel/probe.ts';
import { listFilters, listNeighbors } from '../lib/oracles.ts';
import { runJson } from '../lib/run.ts';
import { outputOf } from '../lib/snoopy.ts';
import { until } from '../lib/wait.ts';
import { VlanNode } from './vlans.ts';

/** `ip -s` prints when an entry was last written. */
function confirmedS(node: VlanNode, ip: string): number {
  interface Line {
    readonly dst: string;
    readonly confirmed: number;
  }
  const lines = node.netns.json<Line[]>('ip', '-json', '-s', 'neigh', 'show', 'dev', 'br0', 'nud', 'all');
  return lines.find(({ dst }) => dst === ip)?.confirmed ?? -1;
}

/**
 * Runs until one finds a young neighbor, and writes nothing. A run writes the neighbor only if it is 20 s old before the run
 * is over, as it may be on a busy machine.
 */
function runWhileYoung(node: VlanNode, ip: string): void {
  for (let tries = 0; tries < 5; tries++) {
    const writtenMs = performance.now() - (confirmedS(node, ip) + 1) * 1000;
    const run = node.snoopy.trace();
    assert.equal(run.code, 0, outputOf(run));
    if (run.netlinkWrites.length === 0) return;
    const ageMs = performance.now() - writtenMs;
    assert.ok(ageMs > 20_000, `written after at most ${ageMs} ms`);
  }
}

test('writes a neighbor again before garbage collection may take it, and not sooner', async (t) => {
  const node = new VlanNode(t, { aware: false });
  const host = node.addHost({ id: 1 });
  node.reconcile();
  host.announce();
  host.advertise(0);
  await host.forwarded(0);

  const first = node.reconcile();
  assert.equal(first.neighbors.changes.length, 2);
  assert.deepEqual(
    listNeighbors(node.netns, 'br0').map(({ dst, state }) => `${dst} ${state}`),
    [`${host.ip} NOARP`, `${host.ip6} NOARP`],
  );

  runWhileYoung(node, host.ip);

  // The file beside this one runs meanwhile.
  const old = 'the entry to be 20 s old, written by nothing meanwhile';
  await until(
    old,
    () => confirmedS(node, host.ip),
    (seconds) => seconds > 20,
    { everyMs: 1_000, timeoutMs: 30_000 },
  );
  const late = node.snoopy.trace();
  assert.equal(late.code, 0, outputOf(late));
  assert.deepEqual(new Set(late.netlinkWrites), new Set(['RTM_NEWNEIGH']));
  assert.equal(late.report.changed, false);
  assert.deepEqual(late.report.neighbors, { changed: false, total: 2, changes: [] });
  assert.ok(confirmedS(node, host.ip) < 10, 'the entry was not written again');
  assert.ok(confirmedS(node, host.ip6) < 10, 'the IPv6 entry was not written again');
});

test('writes NOARP where the node has an address, as the kernel would delete an entry that it keeps current', async (t) => {
  const node = new VlanNode(t, { aware: false });
  node.netns.ipBatch([
    'address add 10.1.255.254/16 dev br0',
    'address add 2001:db8:1::ffff/64 dev br0 nodad',
  ]);
  const host = node.addHost({ id: 1 });
  node.reconcile();
  host.announce();
  host.advertise(0);
  await host.forwarded(0);

  const { changes } = node.reconcile().neighbors;

  assert.deepEqual(changes.map(({ ip, after }) => `${ip} ${after?.state}`).sort(), [
    `${host.ip} noarp`,
    `${host.ip6} noarp`,
  ]);
  assert.deepEqual(
    listNeighbors(node.netns, 'br0').map(({ dst, state }) => `${dst} ${state}`),
    [`${host.ip} NOARP`, `${host.ip6} NOARP`],
  );
  assert.deepEqual(node.reconcile().neighbors.changes, []);
});

test('attaches by TCX where the kernel has it, and names what is missing where it does not', async (t) => {
  const config = { runtime: { attach: 'tcx' }, bridges: [{ name: 'br0' }] };
  const node = new VlanNode(t, { aware: false, config });
  const host = node.addHost({ id: 1 });

  const first = node.snoopy.reconcile();

  assert.deepEqual(listFilters(node.netns, host.port), []);
  if (NEEDS_TCX.skip !== undefined) {
    assert.equal(first.code, 69, outputOf(first));
    const outcome = first.report.steps.find(({ action }) => action.kind === 'attach')?.outcome;
    assert.equal(outcome?.kind, 'failed', outputOf(first));
    assert.equal(outcome?.code, 'unsupported');
    assert.match(outcome?.message ?? '', /6\.6/);
    return;
  }
  assert.equal(first.code, 0, outputOf(first));
  interface Link {
    readonly prog_id: number;
    readonly pinned?: readonly string[];
  }
  const links = runJson<Link[]>(['bpftool', '--json', '--bpffs', 'link', 'show']);
  const pinned = links.filter((link) => link.pinned?.some((path) => path.startsWith(node.snoopy.bpffs)));
  assert.equal(pinned.length, 1, JSON.stringify(links));
  host.announce();
  await host.forwarded(0);
  node.reconcile();
  assert.deepEqual(node.own('br0'), [host.line]);
  node.assertIdle();
});
