// A failure at every call: the run says so and ends with 1, takes nothing down, and the next one mends it.
//
//   SAFETY_FAULTS=all node test/run.mjs safety/faults     every call, with every errno: npm run test:crash
import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { describe, test } from 'node:test';
import { Scope } from '../lib/scope.ts';
import { type Report, said, withReport } from '../lib/snoopy.ts';
import { Chatter } from './chatter.ts';
import type { Counted, Landed, Mishap } from './shim.ts';
import { makeTools, type Setting, Site, type Tools } from './site.ts';

const ALL = process.env['SAFETY_FAULTS'] === 'all';

type Errno = keyof typeof constants.errno;

/** What may keep a call from being done. */
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

/** Failures after which a run may end with 0: what was to be done is done. */
const HARMLESS: readonly { readonly call: RegExp; readonly errno?: Errno; readonly because: string }[] = [
  { call: /^mkdir /, because: 'the directory is there' },
  {
    call: /^statx .*\/bpf(\/snoopy)?$/,
    because: 'whose it is only decides which capabilities are asked for',
  },
  {
    call: /^statx .*(_next|\.tmp|links\/\d+)$/,
    because: 'it is deleted unseen, or in the way of what says so',
  },
  { call: /./, errno: 'EINTR', because: 'what was interrupted is done again' },
  { call: /^recv /, errno: 'ENOBUFS', because: 'what was lost is asked for again' },
];

/** The questions of libbpf to the kernel: whatever it makes of the answers, the load itself succeeds or fails. */
const ASKED_BY_LIBBPF = /^bpf:(BTF_LOAD|PROG_LOAD) /;

/** What is done again and again, each time with another call that fails. */
interface Scenario {
  readonly name: string;
  readonly counted: Counted;
  readonly command: 'reconcile' | 'remove';
  /** True where nothing is there when the run begins. */
  readonly fresh?: boolean;
  /** Two settings that take turns, when what is done is a change from one to the other. */
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
    { name: 'what a run looks at', counted: 'look', command: 'reconcile' },
    { name: 'what such a change looks at', counted: 'look', command: 'reconcile', turns: WAYS },
    { name: 'what another program looks at', counted: 'look', command: 'reconcile', turns: PROGRAMS },
    { name: 'what a removal looks at', counted: 'look', command: 'remove' },
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
  readonly #chatter: Chatter;
  /** What did not go as it must. */
  readonly complaints: string[] = [];
  #isInstalled = false;
  #first = 0;
  #faults = 0;
  readonly #looks = new Set<string>();

  constructor(t: { after(undo: () => void): void }, number: number, tools: Tools) {
    this.#site = new Site(t, number, tools);
    const { scope, far, hosts } = this.#site.machine;
    this.#chatter = new Chatter(scope, far, '10.7', hosts.slice(0, 2));
  }

  /** Plays a scenario once for each of the calls in it; how many failed. */
  async play(scenario: Scenario): Promise<number> {
    let [met, missed] = [0, 0];
    const directions = scenario.turns === undefined ? 1 : 2;
    if (directions === 2) await this.#turn(scenario, 1, undefined);
    const plans: Fault[][] = [];
    for (let turn = 0; turn < directions; turn++) {
      const { calls } = await this.#turn(scenario, turn, undefined);
      const plan = this.#plan(scenario, calls);
      // What was made to fail on the way there does not fail on the way back as well.
      const isKnown = (fault: Fault): boolean => plans.flat().some((other) => isAlike(fault, other));
      plans.push(ALL ? plan : plan.filter((fault) => !isKnown(fault)));
    }
    // Both directions in turn, until each has no fault left.
    const last = Math.max(...plans.map(({ length }) => length)) * directions;
    for (let turn = 0; turn < last; turn++) {
      const fault = plans[turn % directions]?.[Math.floor(turn / directions)];
      const landed = await this.#turn(scenario, turn, fault);
      if (landed.met) met++;
      else if (fault !== undefined) missed++;
    }
    // A call more or less is made when the kernel answers in other pieces.
    assert.ok(met > 4 && missed <= met / 10, `${missed} calls of "${scenario.name}" were not made again`);
    return met;
  }

  /** Every call that changes something; of those that look alike and only look, one, and once on this machine. */
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

  /** One of those that a call may have, another each time; or all. */
  #errnosOf(call: string): (Errno | 'refuse')[] {
    const [name = ''] = call.split(' ');
    const known = ERRNOS[name];
    assert.ok(known, `there is no errno for ${call}`);
    const some = ALL ? known : known.slice(this.#faults % known.length).slice(0, 1);
    this.#faults++;
    return call.startsWith('send netlink') ? [...some, 'refuse'] : [...some];
  }

  /** From one settled state to another, with a failure on the way or without. */
  async #turn(
    { command, fresh = false, turns, counted }: Scenario,
    turn: number,
    fault: Fault | undefined,
  ): Promise<Landed> {
    const site = this.#site;
    if (fresh && this.#isInstalled) await this.#settle('remove');
    if (!fresh && !this.#isInstalled) await this.#settle('reconcile');
    if (turns !== undefined) site.set({ ...site.setting, ...turns[turn % 2] });
    const { addresses } = await this.#chatter.fresh();
    const before = this.#standing();
    const mishap: Mishap | undefined = fault && {
      only: fault.call,
      at: fault.occurrence,
      // libbpf makes them once more, with less in them.
      onwards: /^bpf:(MAP_CREATE|PROG_LOAD)/.test(fault.call),
      what: fault.errno === 'refuse' ? 'refuse' : constants.errno[fault.errno],
    };
    const landed = await site.run(command, { counted, ...(mishap === undefined ? {} : { mishap }) });
    try {
      if (fault === undefined) assert.equal(landed.code, 0, said(landed));
      else if (landed.met) judge(landed, fault);
      else assert.equal(landed.code, 0, said(landed));
      // If it was harmless indeed, the next run finds nothing to do.
      if (fault !== undefined && landed.code === 0) await site.assertIdle(command);
      if (command === 'reconcile' && !fresh) {
        const now = this.#standing();
        const gone = before.filter((what) => !now.includes(what) && !this.#mayGo(what));
        assert.deepEqual(gone, [], 'what was taken down');
      }
      await this.#settle(command, addresses);
    } catch (thrown) {
      const what =
        fault === undefined ? 'no failure' : `${fault.errno} at number ${fault.occurrence} of ${fault.call}`;
      const told = thrown instanceof Error ? thrown.message : String(thrown);
      this.complaints.push(`${what}: ${told}\nafter ${command}, which said: ${summary(landed)}`);
      await this.#recover();
    }
    return landed;
  }

  /** From whatever is there to nothing at all, so that one complaint is not followed by others. */
  async #recover(): Promise<void> {
    await this.#site.run('remove');
    for (const port of ['tap1', 'tap2']) {
      this.#site.machine.netns.tryRun(['tc', 'qdisc', 'del', 'dev', port, 'clsact']);
    }
    this.#isInstalled = false;
  }

  /** A run that succeeds, after which there is nothing to do and all is as it must be. */
  async #settle(command: 'reconcile' | 'remove', addresses?: number): Promise<void> {
    const site = this.#site;
    const mend = await site.run(command);
    assert.equal(mend.code, 0, said(mend));
    const isInstalled = command === 'reconcile';
    if (isInstalled && !this.#isInstalled) this.#first = (await this.#chatter.pause()).addresses;
    this.#isInstalled = isInstalled;
    await site.assertIdle(command);
    if (!isInstalled) await site.assertGone();
    else await site.assertWhole(this.#chatter.hosts(this.#first, Math.max(this.#first, addresses ?? 0)));
  }

  /** Where the program is attached, and the neighbors that are there. */
  #standing(): string[] {
    return [...this.#site.attached(), ...this.#site.machine.ownNeighbors()];
  }

  /** What another policy is meant to take down. */
  #mayGo(what: string): boolean {
    return this.#site.setting.bridge !== undefined && (what === 'tap3' || what.startsWith('10.200.'));
  }
}

/** The same call that fails, in whichever of its ways; a message to the kernel may fail to be sent, or be refused. */
function isAlike(one: Fault, other: Fault): boolean {
  const isSame = one.call === other.call && one.occurrence === other.occurrence;
  return isSame && (one.errno === 'refuse') === (other.errno === 'refuse');
}

/** The run must say that something failed, or have done everything in spite of it. */
function judge(landed: Landed, { call, errno }: Fault): void {
  assert.equal(landed.signal, null);
  assert.doesNotMatch(landed.stdout + landed.stderr, /Internal error|\n {4}at /);
  if (landed.code === 0) {
    assert.ok(
      HARMLESS.some((one) => (one.errno ?? errno) === errno && one.call.test(call)),
      'it ended with 0',
    );
    return;
  }
  assert.ok([1, 69, 77, 78].includes(landed.code), `it ended with ${landed.code}`);
  if (call === 'write stdout') {
    assert.match(landed.stderr, /Cannot write to stdout/);
    return;
  }
  const report: Partial<Report> = withReport(landed).report;
  assert.equal(report.ok, false);
  const done = [...(report.steps ?? []), ...(report.neighbors?.changes ?? [])];
  const failed = done.map(({ outcome }) => outcome).filter(({ kind }) => kind === 'failed');
  const messages = [...(report.errors ?? []), ...failed].map(({ message }) => message ?? '');
  assert.ok(messages.length > 0, 'nothing says what failed');
  assert.ok(
    messages.every((message) => message.startsWith('Cannot ') || /; /.test(message)),
    messages.join('\n'),
  );
}

/** What a run said, without what went well. */
function summary({ code, stdout, stderr }: Landed): string {
  const text = stderr.trim() === '' ? stdout.slice(0, 1000) : stderr.trim();
  return `${code}: ${text}`;
}
