// Hostile frames: the compiled program on the real kernel, against a model that uses scapy for dissection.
//
//   FUZZ_FRAMES=1000000   random frames through BPF_PROG_TEST_RUN, and a tenth of them through each kind of port
//   FUZZ_SEED=7           the seed that selects them
//   FUZZ_JOB='random 17'  only these 500 frames: a failure names its job
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { COUNTERS, Datapath, HINT, LEARN, type Policy, PROJECT, PYTHON } from '../kernel/datapath.ts';
import { deepTest, sample } from '../lib/depth.ts';
import { type Background, parseJson } from '../lib/run.ts';
import { Scope } from '../lib/scope.ts';
import { createTempDir } from '../lib/temp.ts';

type Way = 'run' | 'veth' | 'tap';

const BLOCK = 500; // test/fuzz/frames/fuzz.py has the same value.
const SEED = process.env['FUZZ_SEED'] ?? '1';
const JOB = process.env['FUZZ_JOB'];
const FRAMES = process.env['FUZZ_FRAMES'];
/** Random frames for each way into the kernel. */
const RANDOM: Readonly<Record<Way, number>> =
  FRAMES === undefined
    ? sample({ run: 5_000, veth: 1_000, tap: 1_000 }, { run: 30_000, veth: 8_000, tap: 8_000 })
    : { run: Number(FRAMES), veth: Number(FRAMES) / 10, tap: Number(FRAMES) / 10 };
const TIMEOUT_MS = 30_000 + 2 * (RANDOM.run + RANDOM.veth + RANDOM.tap);

/** More jobs of each kind than fuzz.py has; a job beyond the last is empty. */
const CUT_JOBS = 10;
const FLIP_JOBS = 60;

const ALL = ['arp-request', 'arp-reply', 'na', 'ns'] as const;
const LEARN_NAMES = { 'arp-request': 'ARP_REQUEST', 'arp-reply': 'ARP_REPLY', na: 'NA', ns: 'NS' } as const;

interface PortSpec {
  readonly learn: readonly (typeof ALL)[number][];
  readonly pvid: number;
  readonly vlans: readonly number[] | null;
  readonly linkLocal: boolean;
}

/** The part that all ports of a domain share. */
interface Domain {
  readonly ports: readonly PortSpec[];
  /** True: addresses that no prefix covers may be learned. */
  readonly all: boolean;
  /** VLAN, prefix with all groups, and whether it may be learned. */
  readonly prefixes: readonly (readonly [number, string, boolean])[];
  /** VLAN, address with all groups, and the MACs that may have it. */
  readonly statics: readonly (readonly [number, string, readonly string[]])[];
}

const PROVISIONED = '02:00:00:00:00:53';

/** Domains that together have every kind of policy. The first port learns every kind of message. */
const DOMAINS: readonly Domain[] = [
  {
    ports: [
      { learn: ALL, pvid: 0, vlans: null, linkLocal: true },
      { learn: ['arp-request', 'na'], pvid: 10, vlans: null, linkLocal: false },
    ],
    all: true,
    prefixes: [
      [10, '192.168.1.1/32', false],
      [0, '10.0.0.0/8', false],
      [0, '10.1.2.0/24', true],
      [0, '2001:db8:0:1:0:0:0:0/64', false],
      [10, 'fe80:0:0:0:0:0:0:1/128', false],
      [0, 'fe80:0:0:0:0:0:0:1/128', false],
    ],
    statics: [],
  },
  {
    ports: [
      { learn: ['arp-request', 'arp-reply', 'na'], pvid: 10, vlans: [10, 20, 4094], linkLocal: false },
      { learn: ALL, pvid: 0, vlans: [10, 30], linkLocal: true },
      { learn: ['arp-reply', 'ns'], pvid: 10, vlans: [10], linkLocal: true },
    ],
    all: false,
    prefixes: [
      [10, '192.168.1.0/24', true],
      [10, '192.168.1.1/32', false],
      [10, '2001:db8:0:0:0:0:0:0/64', true],
      [10, '2001:db8:0:0:0:0:0:1/128', false],
      [10, 'fe80:0:0:0:0:0:0:1/128', false],
      [20, '203.0.113.0/24', true],
    ],
    statics: [
      [10, '192.168.1.53', [PROVISIONED, '02:00:00:00:01:10']],
      [10, '2001:db8:0:0:0:0:0:53', [PROVISIONED]],
      [20, '203.0.113.9', [PROVISIONED]],
    ],
  },
];

/** A port as fuzz.py and its model receive it. */
interface PortOrder extends PortSpec, Omit<Domain, 'ports'> {
  readonly ifindex: number;
  readonly bridge: number;
  /** The device that frames are sent to. */
  readonly inlet: string;
}

interface Failure {
  readonly job: string;
  readonly frame: number;
  readonly made: string;
  readonly port: number;
  readonly hex: string;
  readonly what: string;
}

interface Findings {
  readonly frames: number;
  /** Frames that the kernel rejects, so that the program never sees them. */
  readonly refused: number;
  readonly learned: number;
  /** Frames that were not linear when the program saw them. */
  readonly inPages: number;
  readonly seconds: number;
  readonly made: Readonly<Record<string, number>>;
  readonly learnedOf: Readonly<Record<string, number>>;
  /** Hints by kind. */
  readonly hinted: Readonly<Record<string, number>>;
  readonly counted: Readonly<Record<string, number>>;
  readonly failures: readonly Failure[];
}

function policyOf({ learn, pvid, vlans, linkLocal }: PortSpec): Policy {
  const bits = learn.reduce((all, name) => all | (LEARN.get(LEARN_NAMES[name]) ?? 0), 0);
  // The fuzzer deletes bindings itself and does not count them as released, so no limit may be reached.
  return {
    learn: bits,
    pvid,
    linkLocal,
    maxBindings: 0xffffffff,
    ...(vlans === null ? {} : { vlans }),
  };
}

/** A program of its own whose ports have their policies, ready for frames. */
class Arena {
  readonly #scope: Scope;
  readonly #datapath: Datapath;
  readonly #way: Way;
  readonly #probe: string;
  readonly #ports: readonly PortOrder[];

  constructor(scope: Scope, way: Way) {
    this.#scope = scope;
    this.#way = way;
    // Few buckets: the fuzzer reads all of them after each frame.
    this.#datapath = new Datapath(scope, {
      snoopy_bindings: 'type hash key 24 value 64 entries 16',
      snoopy_seen: 'type hash key 8 value 48 entries 16 flags 1',
    });
    const probe = this.#datapath.loadProbe();
    this.#probe = probe.seen;
    this.#datapath.netns.ipBatch([
      'link add outlet type veth peer name outside',
      ...['outlet', 'outside'].map((name) => `link set ${name} mtu 65535 up`),
    ]);
    this.#ports = DOMAINS.flatMap((domain, at) => this.#addDomain(domain, at));
    if (way !== 'run') for (const name of this.#names()) this.#attach(name, probe.program);
  }

  #names(): string[] {
    return DOMAINS.flatMap(({ ports }, domain) => ports.map((_, port) => `p${domain}${port}`));
  }

  #addDomain(domain: Domain, at: number): PortOrder[] {
    const { ports, ...common } = domain;
    const bridge = this.#datapath.domain({}, domain.all);
    for (const [vlan, prefix, allow] of domain.prefixes) {
      const [ip = '', bits] = prefix.split('/');
      this.#datapath.prefix(ip, Number(bits), allow ? 1 : 0, vlan);
    }
    for (const [vlan, ip, macs] of domain.statics) this.#datapath.provision(ip, macs, vlan);
    return ports.map((port, i) => {
      const name = `p${at}${i}`;
      const inlet = this.#addPort(name);
      const [link] = this.#datapath.netns.json<{ ifindex: number }[]>('ip', '-j', 'link', 'show', name);
      const ifindex = link?.ifindex ?? 0;
      this.#datapath.batch([this.#datapath.policyLike(ifindex, policyOf(port))]);
      return { ...common, ...port, bridge, ifindex, inlet };
    });
  }

  #addPort(name: string): string {
    if (this.#way === 'tap') {
      this.#datapath.netns.ipBatch([`tuntap add dev ${name} mode tap`, `link set ${name} mtu 65521 up`]);
      return name;
    }
    this.#datapath.netns.ipBatch([
      `link add ${name} type veth peer name in-${name}`,
      ...[name, `in-${name}`].map((device) => `link set ${device} mtu 65535 up`),
    ]);
    return `in-${name}`;
  }

  /** The probe, the program, and behind them the way out for the frames that they leave alone. */
  #attach(device: string, probe: string): void {
    this.#datapath.attach(device, probe, 1);
    this.#datapath.attach(device);
    const everything = ['bpf', 'bytecode', '1,6 0 0 4294967295'];
    const goOn = ['action', 'mirred', 'egress', 'redirect', 'dev', 'outlet'];
    const where = ['dev', device, 'ingress', 'protocol', 'all', 'pref', '20'];
    this.#datapath.netns.run('tc', 'filter', 'add', ...where, ...everything, ...goOn);
  }

  /** Starts fuzz.py on these jobs. */
  start(jobs: readonly string[]): Background {
    const file = join(createTempDir(this.#scope, 'fuzz'), 'orders.json');
    const orders = {
      way: this.#way,
      seed: SEED,
      jobs,
      ports: this.#ports,
      program: this.#datapath.program,
      bindings: this.#datapath.map('bindings'),
      seenHints: this.#datapath.map('seen'),
      hintKinds: Object.fromEntries(HINT_KINDS.map((name) => [name, HINT.get(name.toUpperCase())])),
      counters: this.#datapath.map('counters'),
      counterNames: COUNTERS,
      probe: this.#probe,
      outlet: 'outside',
    };
    writeFileSync(file, JSON.stringify(orders));
    return this.#datapath.netns.start(PYTHON, join(PROJECT, 'test/fuzz/frames/fuzz.py'), file);
  }
}

/** The hints of single messages, by their names in the model. */
const HINT_KINDS = ['solicitation', 'unnamed', 'anycast', 'tentative'];

const numbered = (kind: string, count: number): string[] =>
  Array.from({ length: Math.ceil(count) }, (_, number) => `${kind} ${number}`);

/** Runs the jobs on every processor and returns their findings together. */
async function fuzz(t: TestContext, way: Way, jobs: readonly string[]): Promise<Findings> {
  const scope = new Scope();
  t.after(() => scope.close());
  const chosen = JOB === undefined ? jobs : [JOB];
  const processes = Math.min(availableParallelism(), chosen.length);
  const running = Array.from({ length: processes }, (_, at) =>
    new Arena(scope, way).start(chosen.filter((_, job) => job % processes === at)),
  );
  const parts: Findings[] = [];
  for (const process of running) {
    const result = await process.ended(TIMEOUT_MS);
    assert.equal(result.code, 0, result.stderr);
    parts.push(parseJson<Findings>(result.stdout, 'fuzz.py'));
  }
  const all = addUp(parts);
  const { frames, refused, learned, inPages, seconds } = all;
  t.diagnostic(
    `seed ${SEED}: ${frames} frames in ${seconds.toFixed(1)} s, ${learned} learned from, ` +
      `${refused} refused by the kernel, ${inPages} in pages`,
  );
  if (all.failures.length > 0) assert.fail(replay(way, all.failures));
  return all;
}

/** How to reproduce the first failure. */
function replay(way: Way, failures: readonly Failure[]): string {
  const [first] = failures;
  const shown = failures.map(
    ({ job, frame, made, port, hex, what }) =>
      `${way} ${job}, frame ${frame} (${made}), port ${port}: ${what}\n  ${hex}`,
  );
  const again = `FUZZ_SEED=${SEED} FUZZ_JOB='${first?.job}' node test/run.mjs fuzz/frames`;
  return `${shown.join('\n')}\nTo see it again: ${again}`;
}

function addUp(parts: readonly Findings[]): Findings {
  const sum = (of: (part: Findings) => number): number => parts.reduce((all, part) => all + of(part), 0);
  const merge = (of: (part: Findings) => Readonly<Record<string, number>>): Record<string, number> => {
    const all: Record<string, number> = {};
    for (const part of parts) {
      for (const [name, n] of Object.entries(of(part))) all[name] = (all[name] ?? 0) + n;
    }
    return all;
  };
  return {
    frames: sum((part) => part.frames),
    refused: sum((part) => part.refused),
    learned: sum((part) => part.learned),
    inPages: sum((part) => part.inPages),
    seconds: Math.max(...parts.map((part) => part.seconds)),
    made: merge((part) => part.made),
    learnedOf: merge((part) => part.learnedOf),
    hinted: merge((part) => part.hinted),
    counted: merge((part) => part.counted),
    failures: parts.flatMap((part) => part.failures),
  };
}

/** Defects of a message that forbid learning from it: the message is not in its place. */
const NEVER_LEARNED = ['extension_headers', 'noise'];

/** Fewer random frames may miss a rule. */
const TELLING = 4_000;

const isTelling = (way: Way): boolean => JOB === undefined && RANDOM[way] >= TELLING;

/** A fuzzer that never meets a rule, or never satisfies one, proves nothing. */
function assertTelling({ made, learnedOf, hinted, counted }: Findings): void {
  assert.deepEqual(Object.keys(hinted).sort(), [...HINT_KINDS].sort());
  for (const [maker, frames] of Object.entries(made)) {
    const learned = learnedOf[maker] ?? 0;
    if (NEVER_LEARNED.includes(maker)) continue;
    assert.ok(learned > 0 && learned < frames, `${maker}: ${learned} of ${frames} frames are learned from`);
  }
  // Rules that need several messages: test/kernel/bindings.test.ts.
  const elsewhere = ['DUPLICATES', 'FROZEN', 'PORT_LIMIT', 'RATE_LIMIT', 'TABLE_FULL', 'RING_DROPPED'];
  const reached = COUNTERS.filter((counter) => (counted[counter] ?? 0) > 0);
  assert.deepEqual(
    COUNTERS.filter((counter) => !reached.includes(counter) && !elsewhere.includes(counter)),
    [],
    'no frame has provoked these',
  );
}

test('frames through BPF_PROG_TEST_RUN are learned from exactly when the model says so', async (t) => {
  const fixed = [...numbered('cut', CUT_JOBS), ...numbered('flip', FLIP_JOBS)];
  const findings = await fuzz(t, 'run', [...fixed, ...numbered('random', RANDOM.run / BLOCK)]);
  if (isTelling('run')) assertTelling(findings);
});

deepTest('frames through a veth pair leave it unaltered', async (t) => {
  const findings = await fuzz(t, 'veth', [
    ...numbered('cut', CUT_JOBS),
    ...numbered('random', RANDOM.veth / BLOCK),
  ]);
  if (!isTelling('veth')) return;
  assertTelling(findings);
  assert.ok(findings.inPages > 20, `${findings.inPages} long frames were in pages`);
});

test('frames in pages, through a tap, are learned from as the model says', async (t) => {
  const findings = await fuzz(t, 'tap', [
    ...numbered('cut', CUT_JOBS),
    ...numbered('random', RANDOM.tap / BLOCK),
  ]);
  if (!isTelling('tap')) return;
  assertTelling(findings);
  const passed = findings.frames - findings.refused;
  assert.ok(findings.inPages > 0.9 * passed, `${findings.inPages} of ${passed} frames were in pages`);
});
