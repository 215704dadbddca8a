// A failure at every call: the run reports it and exits with 1, breaks nothing, and the next run completes the work.
//
//   SAFETY_FAULTS=all node test/run.mjs safety/faults     every call, with every errno: npm run test:crash
import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { describe, test } from 'node:test';
import { Scope } from '../lib/scope.ts';
import { outputOf, type Report, withReport } from '../lib/snoopy.ts';
import { Sender } from './sender.ts';
import type { Counted, Injection, Launched } from './shim.ts';
import { makeTools, type Setting, Site, type Tools } from './site.ts';

const ALL = process.env['SAFETY_FAULTS'] === 'all';

type Errno = keyof typeof constants.errno;

/** Errors with which each call may fail. */
const ERRNOS: Readonly<Record<string, readonly Errno[]>> = {
  'bpf:MAP_CREATE': ['ENOMEM', 'EPERM'],
  'bpf:MAP_UPDATE_ELEM': ['ENOMEM', 'EPERM', 'EBUSY'],
  'bpf:MAP_UPDATE_BATCH': ['ENOMEM', 'EPERM'],
  'bpf:MAP_DELETE_ELEM': ['EPERM', 'EBUSY'],
  'bpf:PROG_LOAD': ['ENOMEM', 'EPERM'],
  'bpf:OBJ_PIN': ['ENOSPC', 'EPERM', 'ENOMEM'],
  'bpf:OBJ_GET': ['EMFILE', 'EACCES', 'ENOMEM'],
  'bpf:OBJ_GET_INFO_BY_FD': ['EFAULT', 'ENOMEM'],
  'bpf:MAP_LOOKUP_ELEM': ['EFAULT', 'EPERM'],
  'bpf:MAP_LOOKUP_BATCH': ['ENOMEM', 'EPERM', 'EFAULT'],
  'bpf:LINK_CREATE': ['ENOMEM', 'EBUSY', 'EPERM'],
  'bpf:LINK_UPDATE': ['ENOMEM', 'EPERM'],
  'bpf:LINK_DETACH': ['EPERM', 'ENOMEM'],
  'bpf:PROG_QUERY': ['ENOMEM', 'EFAULT'],
  mkdir: ['ENOSPC', 'EACCES', 'EROFS'],
  rmdir: ['EBUSY', 'EACCES'],
  rename: ['EIO', 'ENOSPC', 'EROFS'],
  unlink: ['EBUSY', 'EACCES', 'EROFS'],
  utimensat: ['EROFS', 'EPERM'],
  fchmod: ['EPERM'],
  flock: ['ENOLCK', 'EINTR'],
  open: ['EMFILE', 'EACCES'],
  write: ['ENOSPC', 'EIO'],
  mmap: ['ENOMEM', 'EPERM'],
  send: ['ENOBUFS', 'EPERM', 'EINTR'],
  recv: ['ENOMEM', 'ENOBUFS', 'EINTR'],
  socket: ['EMFILE', 'EPERM'],
  statx: ['EIO', 'ENOMEM', 'EACCES'],
  statfs: ['EIO', 'EACCES'],
  scandir: ['EMFILE', 'EACCES'],
  access: ['EIO', 'EACCES'],
};

/** Failures after which a run may exit with 0, because it has done everything. */
const HARMLESS: readonly { readonly call: RegExp; readonly errno?: Errno; readonly because: string }[] = [
  { call: /^mkdir /, because: 'the directory exists' },
  {
    call: /^statx .*\/bpf(\/snoopy)?$/,
    because: 'its owner only decides which capabilities are requested',
  },
  {
    call: /^statx .*(_next|\.tmp|links\/\d+)$/,
    because: 'it is deleted later, or a later error reports it',
  },
  { call: /./, errno: 'EINTR', because: 'an interrupted call is repeated' },
  { call: /^recv /, errno: 'ENOBUFS', because: 'lost notifications lead to another read' },
];

/** libbpf's feature probes of the kernel: whatever their results, the load itself succeeds or fails. */
const ASKED_BY_LIBBPF = /^bpf:(BTF_LOAD|PROG_LOAD) /;

/** Work that is repeated, each time with another call that fails. */
interface Scenario {
  readonly name: string;
  readonly counted: Counted;
  readonly command: 'reconcile' | 'remove';
  /** True where nothing is there when the run begins. */
  readonly fresh?: boolean;
  /** Two settings that take turns, when the work is a change from one to the other. */
  readonly turns?: readonly [Partial<Setting>, Partial<Setting>];
}

const PROGRAMS = [{ product: 1 }, { product: 0 }] as const;
const SIZES = [{ size: 1 }, { size: 0 }] as const;
const WAYS = [{ attach: 'tcx' }, { attach: 'clsact' }] as const;
const POLICIES = [
  { bridge: { subnets: ['10.0.0.0/8'], static: [{ ip: '10.200.0.3', mac: '02:00:00:00:00:03' }] } },
  { bridge: { ports: { exclude: ['tap3'] } } },
] as const;

/** Each list has a machine of its own, beside the others. */
const LANES: readonly (readonly Scenario[])[] = [
  [
    { name: 'the first attachment', counted: 'change', command: 'reconcile', fresh: true },
    { name: 'a removal', counted: 'change', command: 'remove' },
    { name: 'another policy', counted: 'change', command: 'reconcile', turns: POLICIES },
  ],
  [
    { name: 'new hosts', counted: 'change', command: 'reconcile' },
    { name: 'another program', counted: 'change', command: 'reconcile', turns: PROGRAMS },
    { name: 'a table of another size', counted: 'change', command: 'reconcile', turns: SIZES },
  ],
  [
    { name: 'from clsact to tcx and back', counted: 'change', command: 'reconcile', turns: WAYS },
    { name: 'the reads of a run', counted: 'look', command: 'reconcile' },
    { name: 'the reads of such a change', counted: 'look', command: 'reconcile', turns: WAYS },
    { name: 'the reads of another program', counted: 'look', command: 'reconcile', turns: PROGRAMS },
    { name: 'the reads of a removal', counted: 'look', command: 'remove' },
  ],
];

describe('a failure at every call of', { concurrency: true }, () => {
  for (const [number, scenarios] of LANES.entries()) {
    test(scenarios.map(({ name }) => name).join('; '), { timeout: 3_600_000 }, async (t) => {
      const scope = new Scope();
      t.after(() => scope.close());
      const lane = new Lane(t, number, makeTools(scope));
      for (const scenario of scenarios)
        t.diagnostic(`${scenario.name}: ${await lane.play(scenario)} failures`);
      assert.equal(lane.complaints.join('\n\n'), '');
    });
  }
});

/** One failure: which of the calls that look alike, and how it fails. */
interface Fault {
  readonly call: string;
  readonly occurrence: number;
  readonly errno: Errno | 'refuse';
}

/** A machine on which calls fail. */
class Lane {
  readonly #site: Site;
  readonly #sender: Sender;
  /** Results that are wrong. */
  readonly complaints: string[] = [];
  #isInstalled = false;
  #first = 0;
  #faults = 0;
  readonly #looks = new Set<string>();

  constructor(t: { after(undo: () => void): void }, number: number, tools: Tools) {
    this.#site = new Site(t, number, tools);
    const { scope, far, hosts } = this.#site.machine;
    this.#sender = new Sender(scope, far, '10.7', hosts.slice(0, 2));
  }

  /** Plays a scenario once for each of the calls in it; returns how many failed. */
  async play(scenario: Scenario): Promise<number> {
    let met = 0;
    const missed: string[] = [];
    const directions = scenario.turns === undefined ? 1 : 2;
    if (directions === 2) await this.#turn(scenario, 1, undefined);
    const plans: Fault[][] = [];
    for (let turn = 0; turn < directions; turn++) {
      const { calls } = await this.#turn(scenario, turn, undefined);
      const plan = this.#plan(scenario, calls);
      // A call that failed in one direction does not fail in the other as well.
      const isKnown = (fault: Fault): boolean => plans.flat().some((other) => isAlike(fault, other));
      plans.push(ALL ? plan : plan.filter((fault) => !isKnown(fault)));
    }
    // Both directions in turn, until each has no fault left.
    const last = Math.max(...plans.map(({ length }) => length)) * directions;
    for (let turn = 0; turn < last; turn++) {
      const fault = plans[turn % directions]?.[Math.floor(turn / directions)];
      const launched = await this.#turn(scenario, turn, fault);
      if (launched.met) met++;
      else if (fault !== undefined) missed.push(`number ${fault.occurrence} of ${fault.call}`);
    }
    // The number of calls differs by one or two when the kernel splits its answers differently.
    assert.ok(
      met > 4 && missed.length <= met / 10,
      `of "${scenario.name}" ${met} calls failed, and were not made again: ${missed.join(', ')}`,
    );
    return met;
  }

  /** Every call that changes something; of equal calls that only read, one, and once on this machine. */
  #plan({ counted, command }: Scenario, calls: readonly string[]): Fault[] {
    const counts = new Map<string, number>();
    // Maps have other IDs each time.
    for (const call of calls.map((line) => line.replace(/(replaced\/)\d+/, '$1*'))) {
      counts.set(call, (counts.get(call) ?? 0) + 1);
    }
    return [...counts].flatMap(([call, count]) => {
      if (ASKED_BY_LIBBPF.test(call) && call !== 'bpf:PROG_LOAD snoopy') return [];
      const isKnown = counted === 'look' && this.#looks.has(`${command} ${call}`);
      if (isKnown && !ALL) return [];
      this.#looks.add(`${command} ${call}`);
      const occurrences = Array.from({ length: count }, (_, i) => i + 1);
      const chosen = counted === 'change' || ALL ? occurrences : [1 + (this.#faults % count)];
      return chosen.flatMap((occurrence) =>
        this.#errnosOf(call).map((errno) => ({ call, occurrence, errno })),
      );
    });
  }

  /** One of the errors that a call may have, another each time; or all. */
  #errnosOf(call: string): (Errno | 'refuse')[] {
    const [name = ''] = call.split(' ');
    const known = ERRNOS[name];
    assert.ok(known, `there is no errno for ${call}`);
    const some = ALL ? known : known.slice(this.#faults % known.length).slice(0, 1);
    this.#faults++;
    return call.startsWith('send netlink') ? [...some, 'refuse'] : [...some];
  }

  /** From one finished state to another, with a failure on the way or without. */
  async #turn(
    { command, fresh = false, turns, counted }: Scenario,
    turn: number,
    fault: Fault | undefined,
  ): Promise<Launched> {
    const site = this.#site;
    if (fresh && this.#isInstalled) await this.#reconcileOrRemove('remove');
    if (!fresh && !this.#isInstalled) await this.#reconcileOrRemove('reconcile');
    if (turns !== undefined) site.set({ ...site.setting, ...turns[turn % 2] });
    const { addresses } = await this.#sender.fresh();
    const before = this.#standing();
    const injection: Injection | undefined = fault && {
      only: fault.call,
      at: fault.occurrence,
      // libbpf repeats them with smaller arguments.
      onwards: /^bpf:(MAP_CREATE|PROG_LOAD)/.test(fault.call),
      what: fault.errno === 'refuse' ? 'refuse' : constants.errno[fault.errno],
    };
    const launched = await site.run(command, { counted, ...(injection === undefined ? {} : { injection }) });
    try {
      if (fault === undefined) assert.equal(launched.code, 0, outputOf(launched));
      else if (launched.met) decideOwnerChecks(launched, fault);
      else assert.equal(launched.code, 0, outputOf(launched));
      // If it was harmless indeed, the next run finds nothing to do.
      if (fault !== undefined && launched.code === 0) await site.assertIdle(command);
      if (command === 'reconcile' && !fresh) {
        const now = this.#standing();
        const gone = before.filter((what) => !now.includes(what) && !this.#mayGo(what));
        assert.deepEqual(gone, [], 'nothing was broken');
      }
      await this.#reconcileOrRemove(command, addresses);
    } catch (thrown) {
      const what =
        fault === undefined ? 'no failure' : `${fault.errno} at number ${fault.occurrence} of ${fault.call}`;
      const detail = thrown instanceof Error ? thrown.message : String(thrown);
      this.complaints.push(`${what}: ${detail}\nafter ${command}, which printed: ${summary(launched)}`);
      await this.#recover();
    }
    return launched;
  }

  /** Removes everything, so that one failure does not cause others. */
  async #recover(): Promise<void> {
    await this.#site.run('remove');
    for (const port of ['tap1', 'tap2']) {
      this.#site.machine.netns.tryRun(['tc', 'qdisc', 'del', 'dev', port, 'clsact']);
    }
    this.#isInstalled = false;
  }

  /** A run that succeeds, after which nothing is due and everything is as it must be. */
  async #reconcileOrRemove(command: 'reconcile' | 'remove', addresses?: number): Promise<void> {
    const site = this.#site;
    const mend = await site.run(command);
    assert.equal(mend.code, 0, outputOf(mend));
    const isInstalled = command === 'reconcile';
    if (isInstalled && !this.#isInstalled) this.#first = (await this.#sender.pause()).addresses;
    this.#isInstalled = isInstalled;
    await site.assertIdle(command);
    if (!isInstalled) await site.assertGone();
    else await site.assertWhole(this.#sender.hosts(this.#first, Math.max(this.#first, addresses ?? 0)));
  }

  /** Where the program is attached, and the neighbors that exist. */
  #standing(): string[] {
    return [...this.#site.attached(), ...this.#site.machine.ownNeighbors()];
  }

  /** What another policy is meant to remove. */
  #mayGo(what: string): boolean {
    return this.#site.setting.bridge !== undefined && (what === 'tap3' || what.startsWith('10.200.'));
  }
}

/** The same failing call, in any of its forms: a message to the kernel may fail to be sent, or be refused. */
function isAlike(one: Fault, other: Fault): boolean {
  const isSame = one.call === other.call && one.occurrence === other.occurrence;
  return isSame && (one.errno === 'refuse') === (other.errno === 'refuse');
}

/** The run must report that something failed, or have done everything in spite of it. */
function decideOwnerChecks(launched: Launched, { call, errno }: Fault): void {
  assert.equal(launched.signal, null);
  assert.doesNotMatch(launched.stdout + launched.stderr, /Internal error|\n {4}at /);
  if (launched.code === 0) {
    assert.ok(
      HARMLESS.some((one) => (one.errno ?? errno) === errno && one.call.test(call)),
      'it exited with 0',
    );
    return;
  }
  assert.ok([1, 69, 77, 78].includes(launched.code), `it exited with ${launched.code}`);
  if (call === 'write stdout') {
    assert.match(launched.stderr, /Cannot write to stdout/);
    return;
  }
  const report: Partial<Report> = withReport(launched).report;
  assert.equal(report.ok, false);
  const done = [...(report.steps ?? []), ...(report.neighbors?.changes ?? [])];
  const failed = done.map(({ outcome }) => outcome).filter(({ kind }) => kind === 'failed');
  const messages = [...(report.errors ?? []), ...failed].map(({ message }) => message ?? '');
  assert.ok(messages.length > 0, 'no message says what failed');
  assert.ok(
    messages.every((message) => message.startsWith('Cannot ') || /; /.test(message)),
    messages.join('\n'),
  );
}

/** The output of a run, without what succeeded. */
function summary({ code, stdout, stderr }: Launched): string {
  const text = stderr.trim() === '' ? stdout.slice(0, 1000) : stderr.trim();
  return `${code}: ${text}`;
}
