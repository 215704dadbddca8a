// EVPN multihoming: a host of an Ethernet segment sends through one of its leafs, the other, or both, and is known and
// withdrawn as any other.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FrrVersion } from '../lib/frr.ts';
import { PATIENCE, until } from '../lib/wait.ts';
import { AGEING_S, HOLD_S, type Leaf, MAX_AGE_S, Segment } from './segment.ts';

/** For a run, and for FRR, on an emulated processor beside other work. */
const SLACK_S = 60;
const OURS = 'NOARP by 115';
const QUIET = { neighbors: 0, updates: 0 };

/** It watches FRR's timers for half an hour. */
const IN_612 =
  process.env['SNOOPY_GUEST'] === '6.12' ? {} : { skip: 'watches EVPN multihoming for half an hour' };

/** For how many seconds each state is watched. */
const VERSIONS: readonly (readonly [FrrVersion, number])[] = [
  ['10.3', 60],
  ['8.4', 15],
];

for (const [version, seconds] of VERSIONS) {
  test(`a host on an Ethernet segment, with FRR ${version}`, IN_612, async (t) => {
    const segment = await Segment.start(t, version);
    const [one, two] = segment.leafs;

    /** Waits until leafs have our neighbor; in real seconds, as FRR's timers are no slower where time is emulated. */
    const haveIt = async (...leafs: readonly Leaf[]): Promise<void> => {
      for (const leaf of leafs) {
        const read = (): string | undefined => segment.entry(leaf);
        const options = { timeoutMs: (3 * 60_000) / PATIENCE, everyMs: 500 };
        await until(`our neighbor at ${leaf.address}`, read, (found) => found === OURS, options);
      }
    };
    /** After the timers of what was before, nothing flaps, is counted as a move, or is frozen. */
    const isQuiet = async (): Promise<void> => {
      await segment.count(MAX_AGE_S + 2 * HOLD_S);
      assert.deepEqual(await segment.count(seconds), QUIET);
      assert.deepEqual(segment.sequences(), [0, 0, 0, 0]);
      for (const leaf of [one, two]) assert.notEqual(segment.binding(leaf)?.state, 'frozen');
    };
    /** The host is withdrawn in time, and no leaf keeps anything of it. */
    const isWithdrawn = async (): Promise<void> => {
      const start = performance.now();
      await segment.advertisedBy();
      const elapsedS = (performance.now() - start) / 1000;
      t.diagnostic(`FRR ${version}: withdrawn after ${Math.round(elapsedS)} s`);
      assert.ok(elapsedS < Math.max(MAX_AGE_S, AGEING_S) + 2 * HOLD_S + SLACK_S, `${elapsedS} s`);
      for (const leaf of [one, two]) assert.equal(segment.binding(leaf), undefined);
    };

    await t.test('known at one leaf, the other advertises it as a proxy', async () => {
      await segment.announceThrough(one);
      await haveIt(one);
      await segment.advertisedBy(one, two);
      assert.equal(segment.binding(one)?.state, 'installed');
      assert.deepEqual(await segment.told(one), ['installed', false]);
      assert.equal(segment.binding(two), undefined);
      assert.deepEqual(await segment.told(two), ['proxied', true]);
      for (const leaf of [one, two]) assert.deepEqual(await segment.complaints(leaf), []);
      await isQuiet();
    });

    await t.test('when it sends through the other leaf, both have it', async () => {
      await segment.announceThrough(two);
      await haveIt(two);
      await segment.advertisedBy(one, two);
      await isQuiet();
    });

    await t.test('and when it sends through both in turn', async () => {
      await segment.announceThrough(one, two);
      await haveIt(one, two);
      await isQuiet();
      for (const leaf of [one, two]) assert.deepEqual(await segment.told(leaf), ['installed', false]);
    });

    await t.test('one bond down and up: the host has a route all the time', async () => {
      await segment.announceThrough(two);
      segment.host.run('ip', 'link', 'set', one.device, 'down');
      const deadline = performance.now() + seconds * 1000;
      while (performance.now() < deadline) {
        assert.notDeepEqual(segment.advertisers(), []);
        await new Promise((resolve) => setTimeout(resolve, 500));
      }
      segment.host.run('ip', 'link', 'set', one.device, 'up');
      await segment.announceThrough(one, two);
      await haveIt(one, two);
      await segment.advertisedBy(one, two);
      await isQuiet();
    });

    await t.test(
      'a claim is refused although the answer of the owner to its check does not come here',
      async () => {
        await segment.announceThrough(two);
        const clsact = ['dev', one.device, 'clsact'];
        segment.host.run('tc', 'qdisc', 'add', ...clsact);
        const drop = ['protocol', 'arp', 'matchall', 'action', 'drop'];
        segment.host.run('tc', 'filter', 'add', 'dev', one.device, 'egress', ...drop);
        const other = one.node.addHost({ id: 2, pvid: 10 });
        // The listening run attaches to its port.
        const claim = (): string | undefined => {
          other.announce(0, segment.ip);
          return segment.binding(one)?.mac;
        };
        await until('the claim at the first leaf', claim, (mac) => mac === other.mac);
        await segment.count(5);
        assert.deepEqual(segment.advertisers(), [one.address, two.address]);

        segment.host.run('tc', 'qdisc', 'del', ...clsact);
        other.vm.unplug();
        await segment.announceThrough(one, two);
        await haveIt(one, two);
      },
    );

    await t.test('gone with both links, it is withdrawn', async () => {
      await segment.announceThrough();
      for (const { device } of [one, two]) segment.host.run('ip', 'link', 'set', device, 'down');
      await isWithdrawn();
    });

    await t.test(
      'back, it has its neighbors and routes again although zebra had put its own in place',
      async () => {
        for (const { device } of [one, two]) segment.host.run('ip', 'link', 'set', device, 'up');
        await segment.announceThrough(one, two);
        await haveIt(one, two);
        await segment.advertisedBy(one, two);
        await isQuiet();
      },
    );

    await t.test('silent behind links that are up, it is withdrawn', async () => {
      await segment.announceThrough();
      segment.host.sysctl({ 'net/ipv4/conf/all/arp_ignore': 8 });
      await isWithdrawn();
    });
  });
}
