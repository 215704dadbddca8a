// SIGKILL at any instant of any run: the next run repairs it, nothing is lost or left behind, and no message is
// missed.
//
//   SAFETY_SEED=1 SAFETY_KILLS=500 node test/run.mjs safety/crash
//   npm run test:crash: more kills, and another seed each time
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sample } from '../lib/depth.ts';
import { Bag, Random } from '../lib/random.ts';
import { Scope } from '../lib/scope.ts';
import { outputOf } from '../lib/snoopy.ts';
import { Sender } from './sender.ts';
import type { Launched } from './shim.ts';
import { makeTools, type Setting, Site, type Tools } from './site.ts';

const SEED = Number(process.env['SAFETY_SEED'] ?? 1);
const KILLS = Number(process.env['SAFETY_KILLS'] ?? sample(8, 120));
/** Machines that work at the same time. */
const LANES = 3;
/** Every address announced while a program is attached stays; a `remove` deletes those before the current `from`. */
const MANY_ADDRESSES = 1500;
/** Kills by the clock are spread over this time, in which a run is over. */
const RUN_MS = 180;

/** Everything that a policy consists of. The addresses of 10.0.0.0/9 on tap1 and tap2 are always learned. */
const POLICIES: readonly Setting['bridge'][] = [
  {},
  { learn: ['arp-request'] },
  { subnets: ['10.0.0.0/8', '2001:db8::/32'] },
  { subnets: ['10.0.0.0/9'], link_local: true },
  { ports: { exclude: ['tap3'] } },
  { static: [{ ip: '10.200.0.3', mac: '02:00:00:00:00:03' }] },
  { static: [{ ip: '10.200.0.1', mac: '02:00:00:00:00:01' }], ports: { exclude: ['tap3'] } },
  { duplicates: { moves: 9, window: '1m', hold: '2m' } },
];

/** The runs to kill, except for the first attachment, which comes when nothing is there. */
const KINDS = ['upgrade', 'resize', 'policy', 'switch', 'drain', 'everything', 'remove'] as const;
type Kind = (typeof KINDS)[number] | 'attach';

test(`${KILLS} kills, seed ${SEED}`, { timeout: 3_600_000 }, async (t) => {
  const scope = new Scope();
  t.after(() => scope.close());
  const tools = makeTools(scope);
  const lanes = Array.from({ length: LANES }, (_, number) => new Lane(t, number, tools));
  await Promise.all(lanes.map((lane, number) => lane.work(Math.ceil((KILLS - number) / LANES))));
  const kinds = new Map<string, number>();
  for (const lane of lanes) {
    for (const [kind, count] of lane.kills) kinds.set(kind, (kinds.get(kind) ?? 0) + count);
  }
  t.diagnostic([...kinds].map(([kind, count]) => `${kind} ${count}`).join(', '));
});

/** A machine whose hosts send while runs are killed on it. */
class Lane {
  readonly kills = new Map<Kind, number>();
  readonly #site: Site;
  readonly #sender: Sender;
  readonly #random: Random;
  readonly #kinds: Bag<Kind>;
  /** The number of changing calls in the last whole run of each kind. */
  readonly #lengths = new Map<Kind, number>();
  #isInstalled = false;
  /** Every address announced from this one on must be known. */
  #first = 0;
  #known = 0;
  /** The latest steps, for the reader of a failure. */
  readonly #story: string[] = [];

  constructor(t: { after(undo: () => void): void }, number: number, tools: Tools) {
    this.#site = new Site(t, number, tools);
    const { scope, far, hosts } = this.#site.machine;
    this.#random = new Random(SEED * 1000 + number);
    this.#kinds = new Bag<Kind>(this.#random, KINDS);
    this.#sender = new Sender(scope, far, '10.7', hosts.slice(0, 2));
  }

  /** Kills this many runs. */
  async work(kills: number): Promise<void> {
    // Some of the runs end before they are killed.
    for (let done = 0, rounds = 0; done < kills; rounds++) {
      assert.ok(rounds < 2 * kills + 20, `only ${done} of ${rounds} runs were killed`);
      try {
        if (await this.#round()) done++;
      } catch (thrown) {
        const replay = `SAFETY_SEED=${SEED} SAFETY_KILLS=${KILLS} node test/run.mjs safety/crash`;
        const story = this.#story.slice(-12).join('\n  ');
        const message = `${thrown}\nwhat came before:\n  ${story}\nto see it again: ${replay}`;
        throw new Error(message, { cause: thrown });
      }
    }
  }

  /** One run that is killed, one that repairs, and a check of everything. False when it was not killed. */
  async #round(): Promise<boolean> {
    const site = this.#site;
    const kind = this.#nextKind();
    const wasInstalled = this.#isInstalled;
    site.set(this.#changed(kind));
    const sightingsBefore = wasInstalled ? site.sightings() : 0;
    const before = await this.#sender.pause();
    this.#sender.go();

    const killed = await this.#kill(kind);
    const command = kind === 'remove' && this.#random.chance(0.5) ? 'remove' : 'reconcile';
    this.#tell(`${kind}: ${describe(killed)}; then ${command}`);
    const repair = await site.run(command);
    assert.equal(repair.code, 0, outputOf(repair));
    const after = await this.#sender.pause();
    if (!wasInstalled || kind === 'remove') this.#first = after.addresses;
    this.#isInstalled = command === 'reconcile';

    await site.assertIdle(command);
    const hosts = this.#isInstalled ? this.#sender.hosts(this.#first, after.addresses) : [];
    this.#known = hosts.length;
    await (this.#isInstalled ? site.assertWhole(hosts) : site.assertGone());
    if (wasInstalled && kind !== 'remove') {
      const frames = after.frames - before.frames;
      const missed = frames - (site.sightings() - sightingsBefore);
      assert.ok(missed <= 0, `${missed} of ${frames} frames were not seen`);
    }
    if (killed.signal === null) return false;
    this.kills.set(kind, (this.kills.get(kind) ?? 0) + 1);
    return true;
  }

  #nextKind(): Kind {
    if (!this.#isInstalled) return 'attach';
    return this.#known > MANY_ADDRESSES ? 'remove' : this.#kinds.draw();
  }

  /** The setting after a change of this kind. */
  #changed(kind: Kind): Setting {
    const now = this.#site.setting;
    const random = this.#random;
    const product = 1 - now.product;
    const size = 1 - now.size;
    const bridge = random.pick(POLICIES.filter((policy) => policy !== now.bridge)) ?? {};
    const attach = now.attach === 'clsact' ? 'tcx' : 'clsact';
    const ringSize = now.ringSize === '64KiB' ? '128KiB' : '64KiB';
    switch (kind) {
      case 'attach':
        return { ...now, attach: random.chance(0.5) ? 'tcx' : 'clsact', bridge };
      case 'upgrade':
        return { ...now, product };
      case 'resize':
        return random.chance(0.5) ? { ...now, size } : { ...now, size, ringSize };
      case 'policy':
        return { ...now, bridge };
      case 'switch':
        return { ...now, attach };
      case 'everything':
        return { attach, bridge, product, ringSize, size };
      case 'drain':
      case 'remove':
        return now;
      default:
        return kind satisfies never;
    }
  }

  /** Most kills are just before or just after a changing call; the others go by the clock. */
  async #kill(kind: Kind): Promise<Launched> {
    const random = this.#random;
    const command = kind === 'remove' ? 'remove' : 'reconcile';
    if (random.chance(0.2)) return this.#site.run(command, { killAfterMs: random.below(RUN_MS) });
    // A few more than last time, so that the end is reached as well.
    const at = 1 + random.below(Math.ceil((this.#lengths.get(kind) ?? 20) * 1.1));
    const what = random.chance(0.5) ? 'kill' : 'kill-after';
    const launched = await this.#site.run(command, { counted: 'change', injection: { at, what } });
    if (launched.signal === null) this.#lengths.set(kind, launched.calls.length);
    return launched;
  }

  #tell(line: string): void {
    const { bridge, ...rest } = this.#site.setting;
    this.#story.push(`${line} [${Object.values(rest).join(' ')} ${JSON.stringify(bridge)}]`);
  }
}

/** Where a run was ended. */
function describe({ signal, calls }: Launched): string {
  if (signal === null) return 'not killed';
  return calls.length === 0 ? 'killed by the clock' : `killed at call ${calls.length}, ${calls.at(-1)}`;
}
