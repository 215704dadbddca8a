// The loop of a listening run, with passes of the test.
import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { test } from 'node:test';
import { Stopwatch } from '../../src/base/stopwatch.ts';
import { listen } from '../../src/commands/listen.ts';
import type { Machine } from '../../src/commands/retrieve.ts';
import type { Pass, Run } from '../../src/commands/run.ts';
import { PHASES } from '../../src/core/report.ts';
import { Netns } from '../lib/netns.ts';
import { Scope } from '../lib/scope.ts';
import { enterNetns } from '../lib/setns.ts';

const DONE = {
  steps: [],
  changes: [],
  warnings: [],
  errors: [],
  remaining: [],
  records: 0,
  probes: 0,
  confirms: { sent: 0, answered: 0 },
  hints: { probed: 0, learned: 0 },
  frr: { verified: 0, missing: 0, renewed: 0 },
};

/** Nothing matters; the next pass is due at that time. */
function nextAt(dueMs: number): () => object {
  const none = new Set();
  const interest = { macs: none, ips: none, remembered: none, devices: none, hinted: none, ports: none };
  return () => ({ interest, dueMs });
}

function runWith(pins: object, now: () => number): Run {
  const run = {
    session: { netlink: { portId: 1 }, pins, expected: {}, mounted: false },
    options: { listenMs: 600_000, check: false, bridges: ['br0'], unfreeze: [] },
    environment: { now, processorMs: () => 0, progress: null },
    stopwatch: new Stopwatch(PHASES, now),
    untilMs: 600_000 + performance.now(),
  };
  return run as unknown as Run;
}

test('a pass that is due already knows of what was notified before', (t) => {
  const scope = new Scope();
  t.after(() => scope.close());
  const netns = new Netns(scope, 'listen');
  enterNetns(scope, netns);
  const machine = {} as Machine;
  const known: (Machine | undefined)[] = [];
  const pins = { maps: new Map(), directory: '/nonexistent/snoopy', close: () => undefined };
  // The time is over after the third pass.
  const run = runWith(pins, () => (known.length < 3 ? performance.now() : Number.MAX_SAFE_INTEGER));
  listen(run, (_, before) => {
    known.push(before);
    if (known.length === 2) netns.run('ip', 'link', 'add', 'tap9', 'type', 'veth');
    return { ...DONE, machine, next: nextAt(0) } as unknown as Pass;
  });
  assert.deepEqual(known, [undefined, machine, undefined]);
});

test('a pass that fails is repeated once a second, not as often as the ring has records', () => {
  // Always ready, like a ring whose records no pass consumes.
  const ready = openSync('/dev/zero', 'r');
  try {
    const startedMs: number[] = [];
    const pins = {
      maps: new Map([['changes', { fd: ready }]]),
      get directory(): string {
        startedMs.push(performance.now());
        // Not a directory, so that no pin below it can be opened.
        return '/dev/null/snoopy';
      },
      close: () => assert.fail('the open pins stay open when they cannot be opened again'),
    };
    // The time is over after the third attempt.
    const now = (): number => (startedMs.length < 3 ? performance.now() : Number.MAX_SAFE_INTEGER);
    const pass = { ...DONE, next: nextAt(Number.POSITIVE_INFINITY) } as unknown as Pass;
    const result = listen(runWith(pins, now), () => pass);
    assert.equal(result.errors[0]?.errno, 'ENOTDIR');
    const [first = 0, second = 0, third = 0] = startedMs;
    assert.ok(second - first > 990 && third - second > 990, startedMs.join(' '));
  } finally {
    closeSync(ready);
  }
});
