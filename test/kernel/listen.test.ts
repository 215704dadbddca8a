// The loop of a listening run around passes that fail: the pins cannot be opened, and the ring has records all the time.
import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { test } from 'node:test';
import { Stopwatch } from '../../src/base/stopwatch.ts';
import { listen } from '../../src/commands/listen.ts';
import type { Pass, Run } from '../../src/commands/run.ts';
import { PHASES } from '../../src/core/report.ts';

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
    const none = new Set();
    const interest = { macs: none, ips: none, remembered: none, devices: none, hinted: none, ports: none };
    const next = (): object => ({ interest, dueMs: Number.POSITIVE_INFINITY });
    const confirms = { sent: 0, answered: 0 };
    const done = { steps: [], changes: [], warnings: [], errors: [], remaining: [] };
    const hints = { probed: 0, learned: 0 };
    const frr = { verified: 0, missing: 0, renewed: 0 };
    const pass = { ...done, records: 0, probes: 0, confirms, hints, frr, next };
    const run = {
      session: { netlink: { portId: 0 }, pins, expected: {}, mounted: false },
      options: { listenMs: 600_000, check: false, bridges: ['br0'], unfreeze: [] },
      environment: { now, progress: null },
      stopwatch: new Stopwatch(PHASES, now),
      untilMs: 600_000 + performance.now(),
    };
    const result = listen(run as unknown as Run, () => pass as unknown as Pass);
    assert.equal(result.errors[0]?.errno, 'ENOTDIR');
    const [first = 0, second = 0, third = 0] = startedMs;
    assert.ok(second - first > 990 && third - second > 990, startedMs.join(' '));
  } finally {
    closeSync(ready);
  }
});
