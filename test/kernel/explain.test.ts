// explain on a real kernel: each kind of story is provoked, and has its cause. FRR is not installed here.

import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { deepTest } from '../lib/depth.ts';
import { arpFrame, naFrame } from '../lib/frames.ts';
import { listNeighbors } from '../lib/oracles.ts';
import { assertReport } from '../lib/report.ts';
import { outputOf } from '../lib/snoopy.ts';
import { createTempDir } from '../lib/temp.ts';
import { assertExit, Machine, type MachineOptions, TUNNEL } from './machine.ts';

/** What `explain --format json` prints of a place: the contract of schema/report.schema.json. */
interface Story {
  readonly bridge: string;
  readonly vlan: number;
  readonly ok: boolean;
  readonly state: string;
  readonly verdict: string;
  readonly mac: string | null;
  readonly port: string | null;
  readonly heard: {
    readonly lastAge: number;
    readonly moves: number;
    readonly frozenFor: number | null;
  } | null;
  readonly hint: { readonly kind: string; readonly probes: number } | null;
  readonly refused: {
    readonly reason: string;
    readonly count: number;
    readonly port: string;
    readonly source: string;
    readonly claimed: string | null;
  } | null;
  readonly steps: readonly {
    readonly id: string;
    readonly status: string;
    readonly found: string;
    readonly remedy: string | null;
  }[];
}

interface Report {
  readonly ok: boolean;
  readonly stories: readonly Story[];
  readonly lookouts: readonly {
    readonly bridge: string;
    readonly ports: readonly string[];
    readonly deaf: readonly string[];
    readonly excluded: readonly string[];
    readonly because: string | null;
    readonly silent: readonly { readonly mac: string; readonly port: string }[];
  }[];
  readonly next: string | null;
}

/** A node with a tunnel after its first run. */
function node(t: TestContext, options: MachineOptions = {}): Machine {
  const machine = new Machine(t, { tunnel: true, hosts: 2, ...options });
  machine.reconcile();
  return machine;
}

/** Runs explain without vtysh. */
function explain(machine: Machine, ip: string, ...args: string[]): Report {
  const path = join(createTempDir(machine.scope, 'bin'), 'empty');
  mkdirSync(path);
  const argv = machine.snoopy.argv('explain', ip, '--format', 'json', ...args);
  const result = machine.netns.tryRun(['/usr/bin/env', `PATH=${path}`, ...argv]);
  assert.ok(result.stdout.startsWith('{'), outputOf(result));
  assertReport(result);
  const report = JSON.parse(result.stdout) as Report;
  assertExit(result, report.ok ? 0 : 1);
  return report;
}

/** The only story of an address. */
function storyOf(machine: Machine, ip: string, ...args: string[]): Story {
  const { stories } = explain(machine, ip, ...args);
  assert.equal(stories.length, 1, JSON.stringify(stories));
  const [story] = stories;
  assert.ok(story);
  return story;
}

/** The step with the cause, and its text. */
function causeOf(story: Story): string {
  const causes = story.steps.filter(({ status }) => status === 'wrong');
  assert.equal(causes.length, story.ok ? 0 : 1, JSON.stringify(story.steps));
  const [cause] = causes;
  return cause === undefined ? '' : `${cause.id}: ${cause.found}`;
}

test('installed: every step holds, except FRR, which cannot be read', async (t) => {
  const machine = node(t);
  const host = machine.host(1);
  await host.announceAndWait();
  assert.match(causeOf(storyOf(machine, host.ip)), /^neighbor: none on br0 yet; the next run writes it/);
  machine.reconcile();
  const story = storyOf(machine, host.ip);
  assert.deepEqual(
    [story.state, story.mac, story.port, story.bridge, story.vlan],
    ['installed', host.mac, host.port, 'br0', 0],
  );
  assert.deepEqual(
    story.steps.map(({ id, status }) => `${id} ${status}`),
    ['heard ok', 'rule ok', 'bridge ok', 'neighbor ok', 'zebra unknown'],
  );
  assert.ok((story.heard?.lastAge ?? 99) < 60);
});

test('it changes nothing and consumes nothing: ring, neighbors and rejections stay', async (t) => {
  const machine = node(t);
  const host = machine.host(1);
  await host.announceAndWait();
  const before = listNeighbors(machine.netns, 'br0');
  explain(machine, host.ip);
  explain(machine, '10.1.0.99');
  assert.deepEqual(listNeighbors(machine.netns, 'br0'), before);
  const { ring, neighbors } = machine.reconcile();
  assert.equal(ring.records, 1);
  assert.equal(neighbors.changes.length, 1);
});

test('waiting: the bridge has lost the MAC', async (t) => {
  const machine = node(t);
  const host = machine.host(1);
  await host.announceAndWait();
  host.forgetMac();
  const story = storyOf(machine, host.ip);
  assert.equal(story.state, 'waiting');
  assert.match(causeOf(story), new RegExp(`^bridge: br0 does not know ${host.mac} now`));
  assert.match(story.verdict, /^10\.1\.0\.1 on br0 has no route: /);
});

deepTest('the port of the host, or the bridge, is down', async (t) => {
  const machine = node(t);
  const host = machine.host(1);
  await host.announceAndWait();
  machine.reconcile();
  for (const [name, state] of [
    [host.port, 'installed'],
    ['br0', 'waiting'],
  ] as const) {
    machine.run('ip', 'link', 'set', name, 'down');
    const story = storyOf(machine, host.ip);
    assert.equal(story.state, state);
    assert.equal(causeOf(story), `bridge: ${name} is down: it forwards nothing`);
    const remedies = story.steps.flatMap(({ remedy }) => remedy ?? []);
    assert.deepEqual(remedies, [`ip link set ${name} up`]);
  }
});

deepTest(
  'remote: behind the tunnel, by an entry of zebra; without that entry no node advertises it',
  async (t) => {
    const machine = node(t);
    const host = machine.host(1);
    await host.announceAndWait();
    machine.reconcile();
    machine.run('bridge', 'fdb', 'replace', host.mac, 'dev', TUNNEL, 'master', 'extern_learn');
    machine.reconcile();
    const alone = storyOf(machine, host.ip);
    assert.equal(alone.state, 'remote');
    assert.match(causeOf(alone), /^neighbor: none on br0: no node advertises the address/);
    const entry = ['nud', 'noarp', 'extern_learn', 'proto', 'zebra'];
    machine.run('ip', 'neigh', 'replace', host.ip, 'lladdr', host.mac, 'dev', 'br0', ...entry);
    const story = storyOf(machine, host.ip);
    assert.deepEqual([story.state, story.ok, causeOf(story)], ['remote', true, '']);
    // The same for an address that was never here.
    machine.run('ip', 'neigh', 'replace', '10.1.0.77', 'lladdr', host.mac, 'dev', 'br0', ...entry);
    const unseen = storyOf(machine, '10.1.0.77');
    assert.deepEqual([unseen.state, unseen.ok, unseen.heard], ['remote', true, null]);
  },
);

deepTest('frozen: which host has the address, for how long, and which one claimed it', async (t) => {
  const duplicates = { moves: 2, window: '3m', hold: '9m' };
  const config = { bridges: [{ name: 'br0', duplicates, probe: { enabled: 'never' } }] };
  const machine = node(t, { config });
  const [ann, bob] = [machine.host(1), machine.host(2)];
  await ann.announceAndWait();
  bob.announce(ann.ip);
  await bob.forwarded();
  ann.announce();
  bob.announce(ann.ip);
  bob.announce('10.1.0.2');
  const story = storyOf(machine, ann.ip);
  assert.equal(story.state, 'frozen');
  assert.match(causeOf(story), /^heard: frozen for \d+[sm] more/);
  assert.ok((story.heard?.frozenFor ?? 0) > 400);
  assert.deepEqual(
    [story.refused?.reason, story.refused?.port, story.refused?.source],
    ['frozen', bob.port, bob.mac],
  );
});

deepTest(
  'static: installed without any message; the claim of another MAC is reported beside it',
  async (t) => {
    const ip = '10.1.0.53';
    const config = { bridges: [{ name: 'br0', static: [{ ip, mac: '02:00:00:00:00:01' }] }] };
    const machine = node(t, { config });
    assert.match(causeOf(storyOf(machine, ip)), /^bridge: br0 does not know 02:00:00:00:00:01 now/);
    await machine.host(1).announceAndWait();
    machine.reconcile();
    for (let n = 0; n < 3; n++) machine.host(2).announce(ip);
    await machine.host(2).forwarded();
    const story = storyOf(machine, ip);
    assert.deepEqual([story.state, story.ok], ['installed', true]);
    const { reason, count, port, source } = story.refused ?? {};
    assert.deepEqual([reason, count, port, source], ['static', 3, 'tap2', machine.host(2).mac]);
  },
);

test('rejected: each with the check, the port and the count', async (t) => {
  const config = {
    bridges: [{ name: 'br0', subnets: ['10.1.0.0/24', '2001:db8:1::/64'], limits: { bindings_per_port: 1 } }],
  };
  const machine = node(t, { config });
  const { mac, port } = machine.host(1);
  const forged = { operation: 'request', senderMac: '02:00:00:00:00:99', source: mac } as const;
  machine
    .host(1)
    .send(
      arpFrame({ ...forged, senderIp: '10.1.0.30', targetIp: '10.1.0.1' }),
      arpFrame({ ...forged, senderIp: '10.1.0.30', targetIp: '10.1.0.1' }),
      naFrame({ target: '2001:db8:1::31', targetMac: mac, hopLimit: 64 }),
      naFrame({ target: '2001:db8:1::32', targetMac: mac, override: false }),
      naFrame({ target: 'fe80::33', targetMac: mac }),
    );
  machine.host(1).announce('192.0.2.34');
  machine.host(1).announce();
  machine.host(1).announce('10.1.0.35');
  await machine.host(1).forwarded();
  for (const [ip, reason, count, claimed] of [
    ['10.1.0.30', 'spoofed', 2, '02:00:00:00:00:99'],
    ['2001:db8:1::31', 'hop_limit', 1, null],
    ['fe80::33', 'link_local', 1, mac],
    ['192.0.2.34', 'subnet', 1, mac],
    ['10.1.0.35', 'port_limit', 1, mac],
  ] as const) {
    const story = storyOf(machine, ip);
    assert.equal(story.state, 'refused', ip);
    assert.equal(story.ok, false);
    const { refused } = story;
    assert.deepEqual(
      [refused?.reason, refused?.count, refused?.claimed, refused?.port, refused?.source],
      [reason, count, claimed, port, mac],
      ip,
    );
    assert.match(causeOf(story), new RegExp(`^heard: .* on ${port} from ${mac}: `));
  }
  // An advertisement with O=0 is not learned from, and has its host probed.
  const before = storyOf(machine, '2001:db8:1::32');
  assert.deepEqual([before.state, before.hint?.kind, before.hint?.probes], ['hinted', 'anycast', 0]);
  assert.match(causeOf(before), /^heard: .*O=0.*not probed yet/);
  machine.reconcile();
  assert.match(
    causeOf(storyOf(machine, '2001:db8:1::32')),
    /probed once, the last \d+s ago, without an answer$/,
  );
});

deepTest('rejected: a kind of message that is not learned from', async (t) => {
  const machine = node(t, { config: { bridges: [{ name: 'br0', learn: ['arp-reply', 'na'] }] } });
  const host = machine.host(1);
  await host.announceAndWait();
  const story = storyOf(machine, host.ip);
  assert.deepEqual([story.state, story.refused?.reason], ['refused', 'ignored']);
  assert.match(causeOf(story), /: it is an ARP request, and "learn" takes only arp-reply, na$/);
  // Once the address is learned by another kind, the rejection is no longer reported.
  host.answer('10.1.0.9');
  host.announce();
  host.announce();
  await host.forwarded();
  machine.reconcile();
  const known = storyOf(machine, host.ip);
  assert.deepEqual([known.state, known.ok, known.refused?.count], ['installed', true, 1]);
});

deepTest('ended: the port is gone, and the next run forgets the host', async (t) => {
  const machine = node(t);
  const host = machine.host(1);
  await host.announceAndWait();
  machine.reconcile();
  host.unplug();
  const story = storyOf(machine, host.ip);
  assert.equal(story.state, 'ended');
  assert.match(causeOf(story), /^rule: the next run ends the binding: its port is gone/);
});

deepTest(
  'no device: a VLAN without a device above the bridge, and the command that creates one',
  async (t) => {
    const machine = node(t);
    const { ip, mac, port } = machine.host(1);
    const frame = arpFrame({ operation: 'request', senderMac: mac, senderIp: ip, targetIp: ip });
    machine
      .host(1)
      .send(Buffer.concat([frame.subarray(0, 12), Buffer.from('81000014', 'hex'), frame.subarray(12)]));
    await machine.host(1).forwarded();
    const story = storyOf(machine, ip);
    assert.deepEqual([story.state, story.vlan, story.port], ['homeless', 20, port]);
    assert.equal(causeOf(story), 'neighbor: no device for VLAN 20 above br0: the neighbor cannot be written');
    const remedy = story.steps.find(({ status }) => status === 'wrong')?.remedy ?? '';
    assert.match(remedy, /^ip link add br0\.20 link br0 up type vlan id 20; /);
  },
);

test("the node's own address belongs to no host", async (t) => {
  const machine = node(t, { addresses: ['10.1.0.254/24'] });
  machine.host(1).announce('10.1.0.254');
  await machine.host(1).forwarded();
  const story = storyOf(machine, '10.1.0.254');
  assert.equal(story.ok, false);
  assert.equal(story.refused?.reason, 'subnet');
});

test("no host is told to send from the node's own address, or from one that no host can have", async (t) => {
  const machine = node(t, { addresses: ['10.1.0.254/24'] });
  for (const ip of ['10.1.0.254', '10.1.0.255']) {
    const { steps, verdict } = storyOf(machine, ip);
    assert.deepEqual(
      steps.filter(({ status }) => status === 'wrong').map(({ id }) => id),
      ['rule'],
      ip,
    );
    assert.match(verdict, /the node's own address, or a broadcast address/);
    assert.doesNotMatch(JSON.stringify(steps), /arping|sent requests/);
  }
  for (const ip of ['0.0.0.0', '127.0.0.1', '224.0.0.5', '::', 'ff02::1']) {
    const { lookouts, next } = explain(machine, ip);
    assert.deepEqual(
      lookouts.map(({ because }) => because),
      ['no host can have it'],
      ip,
    );
    assert.match(next ?? '', /^correct the address of the host/);
  }
});

test('a bridge that only a glob matches and that does not exist is an error', (t) => {
  const machine = node(t, { config: { bridges: [{ name: '*' }] } });
  const known = machine.snoopy.run('explain', '10.1.0.9', '--bridge', 'br0');
  assertExit(known, 1);
  assert.match(known.stdout, /^10\.1\.0\.9 is not known here/);
  for (const [name, fix] of [
    ['br7', /create it, or name it in the configuration$/m],
    ['br*', /give the name of a bridge, not a glob$/m],
  ] as const) {
    const wrong = machine.snoopy.run('explain', '10.1.0.9', '--bridge', name);
    assertExit(wrong, 1);
    assert.equal(wrong.stdout, '');
    assert.match(wrong.stderr, fix);
  }
});

test('never seen: which ports are attached, which are not, and which MACs are forwarded without a message', async (t) => {
  const machine = node(t, { addresses: ['10.1.0.254/24'] });
  const host = machine.host(1);
  // A frame that names no address.
  host.send(
    Buffer.concat([Buffer.from(`ffffffffffff${host.mac.replaceAll(':', '')}88b5`, 'hex'), Buffer.alloc(46)]),
  );
  await host.forwarded();
  const late = machine.addHost(3);
  const report = explain(machine, '10.1.0.1');
  assert.deepEqual(report.stories, []);
  assert.deepEqual(report.lookouts, [
    {
      bridge: 'br0',
      vlan: 0,
      ports: ['tap1', 'tap2'],
      deaf: [late.port],
      excluded: [],
      because: null,
      silent: [{ mac: host.mac, port: host.port }],
    },
  ]);
  assert.match(report.next ?? '', /arping/);
  assert.equal(explain(machine, '192.0.2.1').lookouts[0]?.because, 'not in its subnets');
});

deepTest('two bridges: one story each, or only that of the bridge in --bridge', async (t) => {
  const machine = new Machine(t, { tunnel: true, config: { bridges: [{ name: 'br0' }, { name: 'br1' }] } });
  machine.addBridge('br1');
  const [here, there] = [machine.host(1), machine.addHost(2, 'br1')];
  machine.reconcile();
  here.announce('10.1.0.9');
  there.announce('10.1.0.9');
  await here.forwarded();
  await there.forwarded();
  machine.reconcile();
  const { stories } = explain(machine, '10.1.0.9');
  assert.deepEqual(
    stories.map(({ bridge, mac }) => `${bridge} ${mac}`),
    [`br0 ${here.mac}`, `br1 ${there.mac}`],
  );
  assert.equal(storyOf(machine, '10.1.0.9', '--bridge', 'br1').mac, there.mac);
  assert.equal(explain(machine, '10.1.0.9', '--bridge', 'br1', '--bridge', 'br0').stories.length, 2);
  const wrong = machine.snoopy.run('explain', '10.1.0.9', '--bridge', 'br2');
  assertExit(wrong, 64);
  assert.match(wrong.stderr, /Cannot select bridge "br2": it is not in the configuration; .* br0, br1$/m);
});
