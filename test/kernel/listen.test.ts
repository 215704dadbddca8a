// The loop of a listening run, with passes of the test.
import assert from 'node:assert/strict';
import { closeSync, mkdirSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { IfIndex, IpAddress } from '../../src/base/address.ts';
import type { Problem } from '../../src/base/errors.ts';
import { Stopwatch } from '../../src/base/stopwatch.ts';
import { listen } from '../../src/commands/listen.ts';
import type { Narrowed } from '../../src/commands/narrow.ts';
import type { Machine } from '../../src/commands/retrieve.ts';
import type { NarrowPass, Pass, Run } from '../../src/commands/run.ts';
import { NOT_ATTACHED } from '../../src/core/observed.ts';
import { PHASES } from '../../src/core/report.ts';
import type { Watchlist } from '../../src/core/watchlist.ts';
import type { BindingKey } from '../../src/datapath/records/binding-key.ts';
import { Netns } from '../lib/netns.ts';
import { Scope } from '../lib/scope.ts';
import { enterNetns } from '../lib/setns.ts';
import { createTempDir } from '../lib/temp.ts';

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

const KEY: BindingKey = { bridge: 2 as IfIndex, vlan: 0, ip: '10.1.0.1' as IpAddress };
const UNREAD: BindingKey = { ...KEY, ip: '10.1.0.2' as IpAddress };

/** Notifications do not matter, and the address is due every time; a pass over all hosts is at that time. */
function nextAt(wholeMs: number, verifyMs = Number.POSITIVE_INFINITY): Pick<Pass, 'next'> {
  const names = { due: () => [KEY], unread: () => [UNREAD], hostsOn: () => [] };
  const watchlist = { nextDueMs: () => 0, ...names } as unknown as Watchlist;
  return { next: () => ({ watchlist, wholeMs, verifyMs }) };
}

function narrowed(pass: unknown): Narrowed {
  return { kind: 'done', pass: pass as NarrowPass };
}

function runWith(pins: object, now: () => number, processorMs = () => 0): Run {
  const session = {
    isLocked: () => true,
    netlink: { portId: 1 },
    expected: {},
    mounted: false,
    get pins() {
      return pins;
    },
    /** Those that are opened again, and of which there are none. */
    set pins(_) {},
  };
  const run = {
    session,
    options: { listenMs: 600_000, check: false, bridges: ['br0'], unfreeze: [] },
    environment: { now, processorMs, progress: null },
    stopwatch: new Stopwatch(PHASES, now),
    untilMs: 600_000 + performance.now(),
  };
  return run as unknown as Run;
}

const MACHINE = {
  observed: { links: new Map(), attachments: new Map() },
  desired: { bridges: [] },
  topology: { bridges: [] },
} as unknown as Machine;

const PINS = {
  maps: new Map(),
  tables: {},
  oldBindings: [],
  directory: '/nonexistent/snoopy',
  stamp: null,
  loadReason: null,
  ring: () => undefined,
  close: () => undefined,
};

const FAIL = (): never => assert.fail('not this pass');

// Where nothing is notified of but what a test does.
const scope = new Scope();
after(() => scope.close());
const netns = new Netns(scope, 'listen');
enterNetns(scope, netns);

test('a pass that is due already knows of what was notified before', () => {
  const machine = MACHINE;
  const known: (Machine | undefined)[] = [];
  // The time is over after the third pass.
  const run = runWith(PINS, () => (known.length < 3 ? performance.now() : Number.MAX_SAFE_INTEGER));
  const whole = (_: Run, before?: Machine): Pass => {
    known.push(before);
    if (known.length === 2) netns.run('ip', 'link', 'add', 'tap9', 'type', 'veth');
    return { ...DONE, machine, ...nextAt(0) } as unknown as Pass;
  };
  listen(run, { whole, narrow: FAIL });
  assert.deepEqual(known, [undefined, machine, undefined]);
});

test('passes look at what is named, until a message is lost or the time is over', () => {
  const machine = MACHINE;
  const passes: string[] = [];
  const run = runWith(PINS, () => (passes.length < 6 ? performance.now() : Number.MAX_SAFE_INTEGER));
  const result = listen(run, {
    whole: (_, before) => {
      passes.push(before === machine ? 'whole, of the same machine' : 'whole');
      const dropped = passes.length > 3 ? 1 : 0;
      return { ...DONE, total: 7, machine, dropped, ...nextAt(Number.POSITIVE_INFINITY) } as unknown as Pass;
    },
    narrow: (_, of, { names }) => {
      assert.equal(of, machine);
      passes.push([...names].map(({ ip }) => ip).join(' '));
      const dropped = passes.length > 2 ? 1 : 0;
      const done = { ...DONE, machine, records: 1, dropped, ...nextAt(Number.POSITIVE_INFINITY) };
      return narrowed(done);
    },
  });
  const named = '10.1.0.1';
  const same = 'whole, of the same machine';
  // At the end the machine was looked at long ago, by this clock.
  assert.deepEqual(passes, ['whole', named, named, same, named, named, 'whole']);
  assert.equal(result.records, 4);
  assert.equal(result.total, 7);
});

test('a pass looks at all hosts when more records wait than it would look up one by one', () => {
  const passes: string[] = [];
  const run = (waiting: number): Run =>
    runWith({ ...PINS, ring: () => ({ pending: () => waiting }) }, () =>
      passes.length < 2 ? performance.now() : Number.MAX_SAFE_INTEGER,
    );
  const done = { ...DONE, machine: MACHINE, dropped: 0, ...nextAt(Number.POSITIVE_INFINITY) };
  const pass = (name: string) => () => {
    passes.push(name);
    return { ...done, total: 7 } as unknown as Pass;
  };
  for (const [waiting, second] of [
    [999, 'narrow'],
    [1000, 'whole'],
  ] as const) {
    passes.length = 0;
    const narrow = pass('narrow');
    listen(run(waiting), { whole: pass('whole'), narrow: () => narrowed(narrow()) });
    assert.equal(passes[1], second, `${waiting} records`);
  }
});

const PROBLEM: Problem = {
  code: 'internal',
  object: 'br0',
  operation: null,
  cause: 'it is so',
  fix: 'end it',
};

/** The passes of a run in whose second one the time ends, and its errors. */
function passesAndErrors(fails: 'narrow' | 'whole'): unknown[] {
  const passes: string[] = [];
  const run = runWith(PINS, () => (passes.length < 2 ? performance.now() : Number.MAX_SAFE_INTEGER));
  const pass = (kind: 'narrow' | 'whole', errors: readonly Problem[]): Pass => {
    passes.push(kind);
    if (passes.length > 1 && kind === fails) throw new Error('it fails');
    const total = kind === 'whole' ? { total: 0 } : {};
    const done = { ...DONE, ...total, machine: MACHINE, errors, dropped: 0 };
    return { ...done, ...nextAt(Number.POSITIVE_INFINITY) } as unknown as Pass;
  };
  const { errors } = listen(run, {
    whole: () => pass('whole', passes.length === 0 ? [PROBLEM] : []),
    narrow: () => narrowed(pass('narrow', [])),
  });
  return [...passes, ...errors.map(({ object, cause }) => `${object}: ${cause}`)];
}

test('a pass over all hosts is the last one, also after a failure', () => {
  assert.deepEqual(passesAndErrors('narrow'), ['whole', 'narrow', 'whole']);
});

test('the errors of a pass over all hosts stay until the next one', () => {
  const [first, second, third, ...errors] = passesAndErrors('whole');
  assert.deepEqual([first, second, third], ['whole', 'narrow', 'whole']);
  assert.deepEqual(errors[0], 'br0: it is so');
  assert.match(String(errors[1]), /it fails/);
  assert.equal(errors.length, 2);
});

test('a narrow pass that is not enough is followed at once by one over all hosts, on the machine that it found', () => {
  const passes: unknown[] = [];
  const machine = MACHINE;
  const found = { ...MACHINE };
  const run = runWith(PINS, () => (passes.length < 3 ? performance.now() : Number.MAX_SAFE_INTEGER));
  listen(run, {
    whole: (_, before) => {
      passes.push(before);
      const done = { ...DONE, total: 0, machine, dropped: 0 };
      return { ...done, ...nextAt(Number.POSITIVE_INFINITY) } as unknown as Pass;
    },
    narrow: () => {
      passes.push('narrow');
      return { kind: 'more', machine: found };
    },
  });
  assert.equal(passes[1], 'narrow');
  assert.equal(passes[2], found);
});

test('a pass that fails is repeated once a second, not as often as the ring has records', () => {
  // Always ready, like a ring whose records no pass consumes.
  const ready = openSync('/dev/zero', 'r');
  try {
    const startedMs: number[] = [];
    const pins = {
      maps: new Map([['changes', { fd: ready }]]),
      tables: {},
      oldBindings: [],
      get directory(): string {
        startedMs.push(performance.now());
        // Not a directory, so that no pin below it can be opened.
        return '/dev/null/snoopy';
      },
      stamp: 'of a directory that was there',
      close: () => assert.fail('the open pins stay open when they cannot be opened again'),
    };
    // The time is over after the third attempt.
    const now = (): number => (startedMs.length < 3 ? performance.now() : Number.MAX_SAFE_INTEGER);
    const pass = { ...DONE, ...nextAt(Number.POSITIVE_INFINITY) } as unknown as Pass;
    const result = listen(runWith(pins, now), { whole: () => pass, narrow: FAIL });
    assert.equal(result.errors[0]?.errno, 'ENOTDIR');
    const [first = 0, second = 0, third = 0] = startedMs;
    assert.ok(second - first > 990 && third - second > 990, startedMs.join(' '));
  } finally {
    closeSync(ready);
  }
});

/** The times between looks at everything, in seconds of the run's clock. The first one uses more processor time than the others. */
function secondsBetweenLooks(costMs: number, steps: readonly unknown[] = []): number[] {
  let nowMs = performance.now();
  let usedMs = 0;
  const looksMs: number[] = [];
  const now = (): number => {
    nowMs = looksMs.length < 3 ? nowMs + 1_000 : Number.MAX_SAFE_INTEGER;
    return nowMs;
  };
  const run = runWith(PINS, now, () => usedMs);
  const done = { ...DONE, machine: MACHINE, dropped: 0, ...nextAt(Number.POSITIVE_INFINITY) };
  listen(
    { ...run, untilMs: Number.MAX_SAFE_INTEGER },
    {
      whole: (_, before) => {
        usedMs += looksMs.length === 0 ? 10_000 : costMs;
        if (before === undefined) looksMs.push(nowMs);
        return { ...done, steps, total: 0 } as unknown as Pass;
      },
      narrow: () => narrowed(done),
    },
  );
  return looksMs.slice(1, 3).map((atMs, i) => (atMs - (looksMs[i] ?? 0)) / 1_000);
}

test('looks at everything use a thousandth of a core, and are at least every ten minutes', () => {
  for (const [costMs, least] of [
    [1, 60],
    [90, 90],
    [650, 600],
  ] as const) {
    const [first = 0, second = 0] = secondsBetweenLooks(costMs);
    // The first one is no measure of the others. Each question for the time takes a second.
    assert.ok(first >= 60 && first < 80, `after the first: ${first} s`);
    assert.ok(second >= least && second < least + 20, `${costMs} ms: after ${second} s`);
  }
  const [, afterSteps = 0] = secondsBetweenLooks(650, [{ outcome: { kind: 'applied' } }]);
  assert.ok(afterSteps >= 60 && afterSteps < 80, `after steps: ${afterSteps} s`);
});

test('the pin of a link that is deleted is missed within a minute, although nothing is notified of it', () => {
  const directory = createTempDir(scope, 'pins');
  mkdirSync(join(directory, 'links'));
  const pin = join(directory, 'links/7');
  writeFileSync(pin, '');
  let nowMs = performance.now();
  const passes: string[] = [];
  let deletedMs = 0;
  let missedMs = 0;
  const now = (): number => {
    nowMs = passes.at(-1) === 'again' ? Number.MAX_SAFE_INTEGER : nowMs + 1_000;
    return nowMs;
  };
  const attachments = new Map([[7 as IfIndex, { ...NOT_ATTACHED, tcxProgramId: 3 }]]);
  const machine = { ...MACHINE, observed: { ...MACHINE.observed, attachments } };
  const done = { ...DONE, machine, dropped: 0, ...nextAt(Number.POSITIVE_INFINITY) };
  // Looks at everything are ten minutes apart.
  let usedMs = 0;
  listen(
    { ...runWith({ ...PINS, directory }, now, () => usedMs), untilMs: Number.MAX_SAFE_INTEGER },
    {
      whole: () => {
        usedMs += passes.length < 2 ? 650 : 0;
        passes.push(deletedMs === 0 ? 'look' : 'again');
        if (deletedMs > 0) missedMs ||= nowMs - deletedMs;
        return { ...done, total: 0 } as unknown as Pass;
      },
      narrow: () => {
        if (passes.length === 2 && deletedMs === 0) {
          rmSync(pin);
          deletedMs = nowMs;
        }
        return narrowed(done);
      },
    },
  );
  assert.deepEqual(passes.slice(0, 3), ['look', 'look', 'again']);
  assert.ok(missedMs > 0 && missedMs < 80_000, `after ${missedMs} ms`);
});

test('zebra is asked by a narrow pass, which looks at what earlier passes have written', () => {
  const passes: string[] = [];
  const run = runWith(PINS, () => (passes.length < 4 ? performance.now() : Number.MAX_SAFE_INTEGER));
  const done = { ...DONE, machine: MACHINE, dropped: 0 };
  listen(run, {
    whole: () => {
      passes.push('whole');
      return { ...done, total: 0, ...nextAt(Number.POSITIVE_INFINITY, 0) } as unknown as Pass;
    },
    narrow: (_, __, { names, verifies }) => {
      passes.push([verifies ? 'verifies' : 'does not', ...[...names].map(({ ip }) => ip)].join(' '));
      // After this one zebra need not be asked; another pass has written something, so that it is asked again.
      const verifyMs = passes.length === 2 ? Number.POSITIVE_INFINITY : 0;
      return narrowed({ ...done, ...nextAt(Number.POSITIVE_INFINITY, verifyMs) });
    },
  });
  assert.deepEqual(passes, [
    'whole',
    'verifies 10.1.0.1 10.1.0.2',
    'does not 10.1.0.1',
    'verifies 10.1.0.1 10.1.0.2',
    'whole',
  ]);
});
