// A binding over several messages: refresh, moves, duplicates, limits, and the records in the ring.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { deepTest } from '../lib/depth.ts';
import { Scope } from '../lib/scope.ts';
import { sleepSync } from '../lib/wait.ts';
import { type Arrival, buildFrames, CHANGE, COUNTERS, Datapath, LEARN, LEARN_ALL } from './datapath.ts';
import { ANN, arp, BOB, IP4, na, ns } from './messages.ts';

/** Virtual routers of VRID 7 (RFC 9568, 7.3). */
const ROUTER = '00:00:5e:00:01:07';
const ROUTER6 = '00:00:5e:00:02:07';
const ROUTER_BYTES = [0, 0, 0x5e, 0, 1, 7];

const BOB_BYTES = [2, 0, 0, 0, 2, 0x20];
const ANN_BYTES = [2, 0, 0, 0, 1, 0x10];

const specs = {
  ann: arp(),
  annReply: arp({ arp: { op: 2 } }),
  bob: arp({ mac: BOB }),
  annAnnounces: arp({ arp: { pdst: IP4 } }),
  ann6: na(),
  ann6Router: na({ nd: { R: 1 } }),
  ann6Answer: na({ nd: { O: 0, S: 1 }, ipv6: { dst: '2001:db8::1' }, options: [] }),
  ann6Probe: ns({ options: [], ipv6: { dst: '2001:db8::1' } }),
  bob6: na({ mac: BOB }),
  bob6Router: na({ mac: BOB, nd: { R: 1 } }),
  bob6Answer: na({ mac: BOB, nd: { O: 0 }, options: [] }),
  annLinkLocal: arp({ ip: '169.254.3.4' }),
  annVlan: arp({ tags: [['Dot1Q', { vlan: 20 }]] }),
  bobVlan: arp({ mac: BOB, tags: [['Dot1Q', { vlan: 20 }]] }),
  forged: arp({ ether: { src: BOB } }),
  router: arp({ mac: ROUTER }),
  routerReply: arp({ mac: ROUTER, arp: { op: 2 } }),
  routerOfIpv6: arp({ mac: ROUTER6, arp: { op: 2 } }),
  router6OfIpv4: na({ mac: ROUTER }),
  otherRouter: arp({ mac: '00:00:5e:00:01:08' }),
  router6: na({ mac: ROUTER6, nd: { R: 1 } }),
  noRouter: arp({ mac: '00:00:5e:00:03:07' }),
  noRouterEither: arp({ mac: '00:00:5e:01:01:07' }),
  ann6Asks: ns(),
  bobReply: arp({ mac: BOB, arp: { op: 2 } }),
};
const HOSTS = 80;
/** One address, with another MAC for each number. */
const manySpecs = Object.fromEntries(
  Array.from({ length: 5 }, (_, n) => [`many${n}`, arp({ mac: `02:00:00:00:03:0${n}` })]),
);
const hostSpecs = Object.fromEntries(
  Array.from({ length: HOSTS }, (_, n) => [`host${n}`, arp({ ip: `192.168.2.${n + 1}` })]),
);

/** Longer than the least time between two changes of the router flag. */
const FLAGS_PAUSE_MS = 1100;

const scope = new Scope();
let frames: Record<keyof typeof specs, string>;
let hosts: string[];
let many: string[];
let datapath: Datapath;

before(() => {
  const built: Record<string, string> = buildFrames({ ...specs, ...hostSpecs, ...manySpecs });
  frames = built as typeof frames;
  hosts = Array.from({ length: HOSTS }, (_, n) => built[`host${n}`] ?? '');
  many = Object.keys(manySpecs).map((name) => built[name] ?? '');
  datapath = new Datapath(scope);
});
after(() => scope.close());

const on = (port: number, hex: string): Arrival => ({ port, hex });

/** Sends frames that must pass unaltered, and returns the counters that changed. */
function count(...arrivals: readonly Arrival[]): Readonly<Record<string, number>> {
  const { counted, disturbed } = datapath.run(arrivals);
  assert.deepEqual(disturbed, []);
  return counted;
}

function onlyBinding() {
  const [binding, ...more] = datapath.bindings();
  assert.deepEqual(more, []);
  assert.ok(binding);
  return binding.value;
}

test('a new binding makes one record', () => {
  const bridge = datapath.domain({ pvid: 7 });
  datapath.ring('consume');
  assert.deepEqual(count(frames.ann), { SIGHTINGS: 1, CREATED: 1 });
  const { records } = datapath.ring('consume');
  const { first_seen_ns } = onlyBinding();
  assert.equal(records.length, 1);
  const { timeNs, ...record } = { timeNs: '', ...records[0] };
  assert.ok(Math.abs(Number(timeNs) - first_seen_ns) < 1000);
  assert.deepEqual(record, {
    kind: CHANGE.get('NEW'),
    port: datapath.ports[0],
    oldPort: 0,
    mac: ANN,
    oldMac: '00:00:00:00:00:00',
    bridge,
    vlan: 7,
    family: 2,
    ip: `c0a8010a${'00'.repeat(12)}`,
  });
});

test('a steady host refreshes its binding in place and makes no record', () => {
  datapath.domain();
  count(frames.ann, frames.ann6);
  const before = datapath.ring().producer;
  const [old] = datapath.bindings();
  sleepSync(150);
  assert.deepEqual(count(frames.ann, frames.annReply, frames.ann6, frames.ann6), { SIGHTINGS: 4 });
  assert.equal(datapath.ring().producer, before);
  const [fresh] = datapath.bindings();
  assert.ok(old && fresh);
  assert.equal(fresh.value.first_seen_ns, old.value.first_seen_ns);
  assert.ok(fresh.value.last_seen_ns > old.value.last_seen_ns + 100e6);
  assert.deepEqual(datapath.state(0).gained, 2);
});

test('an NA without the address refreshes its own binding, whatever its override flag', () => {
  datapath.domain();
  count(frames.ann6);
  const old = onlyBinding();
  sleepSync(150);
  assert.deepEqual(count(frames.ann6Answer), { SIGHTINGS: 1 });
  assert.ok(onlyBinding().last_seen_ns > old.last_seen_ns);
  assert.deepEqual(count(frames.ann6Probe), { SIGHTINGS: 1 });
});

test('an NA without the address moves no binding to another MAC or port', () => {
  datapath.domain();
  count(frames.ann6);
  const old = onlyBinding();
  assert.deepEqual(count(frames.bob6Answer, on(1, frames.ann6Answer)), { ND_OPTION: 1, HINTS: 1 });
  assert.deepEqual(onlyBinding(), old);
});

test('an NA sets the router flag, and a changed flag makes a record', () => {
  datapath.domain();
  count(frames.ann6);
  datapath.ring('consume');
  assert.deepEqual(count(frames.ann6Router), { SIGHTINGS: 1 });
  assert.equal(onlyBinding().flags, 1);
  assert.deepEqual(count(frames.ann6Router, frames.ann6Probe), { SIGHTINGS: 2 });
  assert.equal(onlyBinding().flags, 1);
  sleepSync(FLAGS_PAUSE_MS);
  count(frames.ann6);
  assert.equal(onlyBinding().flags, 0);
  const { records } = datapath.ring('consume');
  assert.deepEqual(
    records.map(({ kind, port, oldPort, mac, oldMac }) => ({ kind, port, oldPort, mac, oldMac })),
    new Array(2).fill({
      kind: CHANGE.get('MOVE'),
      port: datapath.ports[0],
      oldPort: datapath.ports[0],
      mac: ANN,
      oldMac: ANN,
    }),
  );
});

test('an alternating router flag changes once a second, and the next NA brings the value that was ignored', () => {
  datapath.domain();
  count(frames.ann6);
  assert.equal(onlyBinding().flags_changed, 0);
  datapath.ring('consume');
  const turns = Array.from({ length: 50 }, () => [frames.ann6Router, frames.ann6]).flat();
  assert.deepEqual(count(...turns), { SIGHTINGS: 100 });
  const changed = onlyBinding();
  assert.equal(changed.flags, 1);
  assert.ok(Math.abs(changed.flags_changed * 2 ** 20 - changed.last_seen_ns) < 500e6);
  assert.equal(datapath.ring('consume').records.length, 1);

  sleepSync(FLAGS_PAUSE_MS);
  assert.deepEqual(count(frames.ann6, frames.ann6Router), { SIGHTINGS: 2 });
  const { flags, flags_changed } = onlyBinding();
  assert.equal(flags, 0);
  assert.ok(flags_changed - changed.flags_changed >= 1000);
  assert.equal(datapath.ring('consume').records.length, 1);
  // Another MAC sets its own flag at once.
  assert.deepEqual(count(frames.bob6Router), { SIGHTINGS: 1, MOVED: 1 });
  assert.equal(onlyBinding().flags, 1);
});

test('another MAC takes the binding over', () => {
  datapath.domain({ duplicateMoves: 5 });
  count(frames.ann);
  const old = onlyBinding();
  datapath.ring('consume');
  assert.deepEqual(count(frames.bob), { SIGHTINGS: 1, MOVED: 1 });
  const moved = onlyBinding();
  assert.deepEqual(moved.mac, BOB_BYTES);
  assert.equal(moved.moves, 1);
  assert.ok(moved.first_seen_ns > old.first_seen_ns);
  assert.equal(moved.window_ns, moved.first_seen_ns);
  const [record] = datapath.ring('consume').records;
  assert.deepEqual(
    [record?.kind, record?.mac, record?.oldMac, record?.port, record?.oldPort],
    [CHANGE.get('MOVE'), BOB, ANN, datapath.ports[0], datapath.ports[0]],
  );
  assert.deepEqual(datapath.state(0).gained, 1);
});

test('another port takes the binding over, and any number of such moves is no duplicate', () => {
  datapath.domain({ duplicateMoves: 2 });
  count(frames.ann6Router);
  const old = onlyBinding();
  datapath.ring('consume');
  const moves = [1, 0, 1, 0, 1].map((port) => on(port, frames.ann6Router));
  assert.deepEqual(count(...moves), { SIGHTINGS: 5, MOVED: 5 });
  const moved = onlyBinding();
  assert.deepEqual(
    { port: moved.port, moves: moved.moves, first: moved.first_seen_ns, flags: moved.flags },
    { port: datapath.ports[1], moves: 0, first: old.first_seen_ns, flags: 1 },
  );
  assert.deepEqual(
    datapath.ring('consume').records.map(({ port, oldPort }) => [port, oldPort]),
    [1, 0, 1, 0, 1].map((port) => [datapath.ports[port], datapath.ports[1 - port]]),
  );
  assert.deepEqual([datapath.state(0).gained, datapath.state(0).lost], [3, 3]);
  assert.deepEqual([datapath.state(1).gained, datapath.state(1).lost], [3, 2]);
});

test('a host cannot take over an address in a VLAN that its port is not in', () => {
  datapath.domain({ pvid: 20, vlans: [20] });
  datapath.policy(1, { pvid: 10, vlans: [10] });
  count(frames.annVlan);
  const old = onlyBinding();
  datapath.ring('consume');
  assert.deepEqual(count(on(1, frames.bobVlan), on(1, frames.annVlan)), { VLAN: 2 });
  assert.deepEqual(onlyBinding(), old);
  assert.deepEqual(datapath.ring().records, []);
  assert.deepEqual(count(on(1, frames.bob)), { SIGHTINGS: 1, CREATED: 1 });
  // On a bridge without VLAN filtering, any tag is accepted.
  datapath.policy(1, { pvid: 10 });
  assert.deepEqual(count(on(1, frames.bobVlan)), { SIGHTINGS: 1, MOVED: 1 });
});

test('moves of many addresses at once are all accepted, whatever the rate of new bindings', () => {
  datapath.domain();
  const addresses = hosts.slice(0, 50);
  count(...addresses);
  datapath.policy(1, { newIntervalNs: 4_000_000_000, newBurst: 1 });
  assert.deepEqual(count(...addresses.map((hex) => on(1, hex))), { SIGHTINGS: 50, MOVED: 50 });
});

test('two hosts with one address freeze it, and it stays with the first', () => {
  datapath.domain({ duplicateMoves: 3 });
  count(frames.ann, frames.bob, frames.ann);
  const old = onlyBinding();
  assert.equal(old.moves, 2);
  datapath.ring('consume');
  assert.deepEqual(count(on(1, frames.bob)), { SIGHTINGS: 1, DUPLICATES: 1 });
  const frozen = onlyBinding();
  assert.deepEqual([frozen.mac, frozen.port, frozen.moves], [ANN_BYTES, datapath.ports[0], 3]);
  assert.ok(frozen.frozen_until_ns > frozen.last_seen_ns + 3_000e9);
  const [record] = datapath.ring('consume').records;
  assert.deepEqual(
    [record?.kind, record?.mac, record?.oldMac, record?.port, record?.oldPort],
    [CHANGE.get('DUPLICATE'), BOB, ANN, datapath.ports[1], datapath.ports[0]],
  );

  sleepSync(150);
  const claims = [frames.bob, on(1, frames.bob), on(1, frames.ann)];
  assert.deepEqual(count(...claims), { FROZEN: 3 });
  assert.deepEqual(onlyBinding(), frozen);
  assert.deepEqual(count(frames.ann), { SIGHTINGS: 1 });
  const { last_seen_ns, ...rest } = onlyBinding();
  assert.ok(last_seen_ns > frozen.last_seen_ns);
  assert.deepEqual(rest, (({ last_seen_ns: _, ...others }) => others)(frozen));
  assert.deepEqual(datapath.ring().records, []);
});

test('an address that one host claims with many MACs until it is frozen goes back to its owner', () => {
  datapath.domain({ duplicateMoves: 5 });
  count(frames.ann);
  const claims = many.map((hex) => on(1, hex));
  assert.deepEqual(count(...claims), { SIGHTINGS: 5, MOVED: 4, DUPLICATES: 1 });
  const frozen = onlyBinding();
  assert.deepEqual([frozen.mac, frozen.port], [ANN_BYTES, datapath.ports[0]]);
  assert.deepEqual([datapath.state(0).gained, datapath.state(0).lost], [2, 1]);
  assert.deepEqual([datapath.state(1).gained, datapath.state(1).lost], [1, 1]);
  // The owner still has it: its messages are accepted, the others are rejected.
  assert.deepEqual(count(frames.ann, ...claims), { SIGHTINGS: 1, FROZEN: 5 });
});

test('an owner that takes its address back in a new window stays the owner, unless it was away for long', () => {
  const windowMs = 6_000;
  datapath.domain({ duplicateMoves: 5, duplicateWindowMs: windowMs });
  count(frames.ann, on(1, frames.bob), frames.ann);
  datapath.age(0.5 * windowMs);
  count(on(1, frames.bob));
  datapath.age(0.6 * windowMs);
  count(frames.ann);
  let binding = onlyBinding();
  assert.deepEqual([binding.moves, binding.owner_mac, binding.owner_port], [1, ANN_BYTES, datapath.ports[0]]);
  count(on(1, frames.bob));
  datapath.age(1.1 * windowMs);
  count(frames.ann);
  binding = onlyBinding();
  assert.deepEqual([binding.moves, binding.owner_mac, binding.owner_port], [1, BOB_BYTES, datapath.ports[1]]);
});

test('an owner whose port is no longer configured does not get a frozen binding back', () => {
  datapath.domain({ duplicateMoves: 2 });
  count(frames.ann, on(1, frames.bob));
  datapath.forget(0);
  assert.deepEqual(count(on(1, frames.annReply)), { SIGHTINGS: 1, DUPLICATES: 1 });
  assert.deepEqual([onlyBinding().mac, onlyBinding().port], [BOB_BYTES, datapath.ports[1]]);
});

test('a virtual router takes the address from the MAC of its host, which is no duplicate', () => {
  datapath.domain({ duplicateMoves: 1 });
  count(frames.ann, frames.ann6);
  datapath.ring('consume');
  assert.deepEqual(count(frames.router, frames.router6), { SIGHTINGS: 2, MOVED: 2 });
  for (const { key, value } of datapath.bindings()) {
    const { mac, port, moves, window_ns, owner_mac, owner_port } = value;
    assert.deepEqual(mac, [0, 0, 0x5e, 0, key.family === 2 ? 1 : 2, 7]);
    // The MAC before is the owner that a run probes.
    assert.deepEqual(
      [port, moves, window_ns > 0, owner_mac, owner_port],
      [datapath.ports[0], 0, true, ANN_BYTES, datapath.ports[0]],
    );
    assert.equal(value.flags, key.family === 2 ? 0 : 1);
  }
  assert.deepEqual(
    datapath.ring('consume').records.map(({ kind, mac, oldMac }) => [kind, mac, oldMac]),
    [
      [CHANGE.get('MOVE'), ROUTER, ANN],
      [CHANGE.get('MOVE'), ROUTER6, ANN],
    ],
  );
});

test('a virtual router keeps its address when its host sends requests with its own MAC, however often', () => {
  datapath.domain({ duplicateMoves: 2, learn: LEARN_ALL & ~(LEARN.get('NS') ?? 0) });
  count(frames.router, frames.router6);
  const old = datapath.bindings();
  datapath.ring('consume');
  sleepSync(150);
  const turns = Array.from({ length: 100 }, () => [frames.ann, frames.ann6Asks]).flat();
  assert.deepEqual(count(...turns), { SIGHTINGS: 200 });
  // A solicitation, which is not learned from, is no hint either.
  assert.deepEqual(datapath.seenHints(), []);
  assert.deepEqual(datapath.ring().records, []);
  // Nor do they keep a virtual MAC that is silent from ageing.
  assert.deepEqual(datapath.bindings(), old);
  count(frames.routerReply);
  const fresh = datapath.bindings().find(({ key }) => key.family === 2)?.value;
  const before = old.find(({ key }) => key.family === 2)?.value;
  assert.ok(fresh && before && fresh.last_seen_ns > before.last_seen_ns + 100e6);
});

test('an answer or an announcement of a physical MAC is a claim on the address of a virtual router', () => {
  for (const claim of [frames.annReply, frames.annAnnounces, frames.ann6]) {
    datapath.domain({ duplicateMoves: 5 });
    const router = claim === frames.ann6 ? frames.router6 : frames.router;
    count(router);
    assert.deepEqual(count(claim), { SIGHTINGS: 1, MOVED: 1 });
    assert.deepEqual([onlyBinding().mac, onlyBinding().moves], [ANN_BYTES, 0]);
    assert.deepEqual(count(router), { SIGHTINGS: 1, MOVED: 1 });
    assert.deepEqual([onlyBinding().moves, onlyBinding().owner_mac[4]], [0, claim === frames.ann6 ? 2 : 1]);
  }
});

test('a virtual router of the other family is one host with that of the address, and with a physical MAC', () => {
  datapath.domain({ duplicateMoves: 1 });
  // The interface of keepalived's IPv6 router answers ARP requests, and CARP has one MAC for both families.
  count(frames.ann, frames.ann6);
  assert.deepEqual(count(frames.routerOfIpv6, frames.router6OfIpv4), { SIGHTINGS: 2, MOVED: 2 });
  assert.deepEqual(count(frames.ann, frames.ann6Asks), { SIGHTINGS: 2 });
  assert.deepEqual(count(frames.router, frames.router6), { SIGHTINGS: 2, MOVED: 2 });
  assert.deepEqual(count(frames.routerOfIpv6, frames.router6OfIpv4), { SIGHTINGS: 2 });
  for (const { key, value } of datapath.bindings()) {
    assert.deepEqual([value.mac[4], value.moves], [key.family === 2 ? 1 : 2, 0]);
  }
});

test('a virtual router and a physical MAC at two ports are two hosts', () => {
  datapath.domain({ duplicateMoves: 2 });
  count(frames.router);
  assert.deepEqual(count(on(1, frames.ann)), { SIGHTINGS: 1, MOVED: 1 });
  assert.deepEqual([onlyBinding().moves, onlyBinding().owner_mac], [1, ROUTER_BYTES]);
  assert.deepEqual(count(frames.router), { SIGHTINGS: 1, DUPLICATES: 1 });
});

test('two virtual routers are two hosts, and so are MACs that only look like one', () => {
  for (const frame of [frames.otherRouter, frames.noRouter, frames.noRouterEither]) {
    datapath.domain({ duplicateMoves: 5 });
    // The second is no virtual router, or both are.
    count(frame === frames.otherRouter ? frames.router : frames.ann);
    assert.deepEqual(count(frame), { SIGHTINGS: 1, MOVED: 1 });
    assert.equal(onlyBinding().moves, 1);
  }
});

test('an address that is provisioned or frozen is no concern of a virtual router', () => {
  datapath.domain({ duplicateMoves: 5 });
  count(frames.router);
  datapath.provision(IP4, [ANN]);
  assert.deepEqual(count(frames.ann), { SIGHTINGS: 1, MOVED: 1 });
  assert.deepEqual(count(frames.router), { STATIC: 1 });
  assert.deepEqual(onlyBinding().mac, ANN_BYTES);
  datapath.domain({ duplicateMoves: 1 });
  count(frames.router, on(1, frames.bob));
  assert.deepEqual(count(frames.ann), { FROZEN: 1 });
});

test('after the hold time a binding accepts a claim as it accepts its owner', () => {
  datapath.domain({ duplicateMoves: 2, duplicateHoldMs: 1 });
  count(frames.ann, frames.bob);
  assert.deepEqual(count(frames.ann), { SIGHTINGS: 1, DUPLICATES: 1 });
  sleepSync(20);
  assert.deepEqual(count(frames.bob), { SIGHTINGS: 1, MOVED: 1 });
  let binding = onlyBinding();
  assert.deepEqual([binding.mac, binding.moves, binding.frozen_until_ns], [BOB_BYTES, 1, 0]);

  assert.deepEqual(count(frames.ann), { SIGHTINGS: 1, DUPLICATES: 1 });
  sleepSync(20);
  assert.deepEqual(count(frames.ann), { SIGHTINGS: 1 });
  binding = onlyBinding();
  assert.deepEqual(
    [binding.mac, binding.moves, binding.frozen_until_ns, binding.window_ns],
    [ANN_BYTES, 0, 0, 0],
  );
});

test('moves further apart than the window are no duplicate', () => {
  datapath.domain({ duplicateMoves: 2, duplicateWindowMs: 1 });
  count(frames.ann);
  for (const claim of [frames.bob, frames.ann, frames.bob]) {
    assert.deepEqual(count(claim), { SIGHTINGS: 1, MOVED: 1 });
    assert.equal(onlyBinding().moves, 1);
    sleepSync(20);
  }
});

test('with moves set to 0 nothing is ever frozen, and the count stops at 255', () => {
  datapath.domain({ duplicateMoves: 0 });
  count(frames.ann);
  const claims = Array.from({ length: 260 }, (_, n) => (n % 2 === 0 ? frames.bob : frames.ann));
  assert.deepEqual(count(...claims), { SIGHTINGS: 260, MOVED: 260 });
  assert.deepEqual([onlyBinding().moves, onlyBinding().frozen_until_ns], [255, 0]);
});

test('a port has no more bindings than its limit', () => {
  datapath.domain({ maxBindings: 3 });
  assert.deepEqual(count(...hosts.slice(0, 5)), { SIGHTINGS: 3, CREATED: 3, PORT_LIMIT: 2 });
  assert.equal(datapath.bindings().length, 3);
  assert.deepEqual([datapath.state(0).gained, datapath.state(0).limited], [3, 2]);
  // Known hosts are refreshed, and another port has a limit of its own, for moves as well.
  assert.deepEqual(count(hosts[0] ?? ''), { SIGHTINGS: 1 });
  assert.deepEqual(count(on(1, hosts[3] ?? ''), on(1, hosts[4] ?? '')), { SIGHTINGS: 2, CREATED: 2 });
  assert.deepEqual(count(...hosts.slice(0, 3).map((hex) => on(1, hex))), {
    SIGHTINGS: 1,
    MOVED: 1,
    PORT_LIMIT: 2,
  });
  // A binding that has moved away makes room, and so does one that user space has deleted.
  assert.deepEqual(count(hosts[5] ?? '', hosts[6] ?? ''), { SIGHTINGS: 1, CREATED: 1, PORT_LIMIT: 1 });
  datapath.policy(0, { maxBindings: 3, released: 2 });
  assert.deepEqual(count(...hosts.slice(6, 9)), { SIGHTINGS: 2, CREATED: 2, PORT_LIMIT: 1 });
});

test('a limit of 0 prevents every new binding', () => {
  datapath.domain({ maxBindings: 0 });
  assert.deepEqual(count(frames.ann, frames.ann6), { PORT_LIMIT: 2 });
});

test('new bindings come in bursts no larger than allowed', () => {
  const fourSeconds = 4_000_000_000;
  datapath.domain({ newIntervalNs: fourSeconds, newBurst: 3 });
  assert.deepEqual(count(...hosts.slice(0, 6)), { SIGHTINGS: 3, CREATED: 3, RATE_LIMIT: 3 });
  assert.equal(datapath.state(0).limited, 3);
  assert.deepEqual(count(...hosts.slice(0, 3)), { SIGHTINGS: 3 });
  // A move is no new binding.
  datapath.policy(1, { newIntervalNs: fourSeconds, newBurst: 1 });
  assert.deepEqual(count(...hosts.slice(0, 3).map((hex) => on(1, hex))), { SIGHTINGS: 3, MOVED: 3 });
});

test('the rate recovers with time, up to the burst', () => {
  datapath.domain({ newIntervalNs: 50_000_000, newBurst: 1 });
  assert.deepEqual(count(hosts[0] ?? ''), { SIGHTINGS: 1, CREATED: 1 });
  sleepSync(100);
  assert.deepEqual(count(hosts[1] ?? ''), { SIGHTINGS: 1, CREATED: 1 });
  const { next_ns } = datapath.state(0);
  const last = Math.max(...datapath.bindings().map(({ value }) => value.first_seen_ns));
  assert.ok(Math.abs(next_ns - last - 50e6) < 1000);
});

test('after the limit is raised, what the lower one has put off counts no more than a burst', () => {
  datapath.domain({ newIntervalNs: 4_000_000_000, newBurst: 3 });
  assert.deepEqual(count(...hosts.slice(0, 4)), { SIGHTINGS: 3, CREATED: 3, RATE_LIMIT: 1 });
  const before = datapath.state(0).next_ns;
  const second = 1_000_000_000;
  datapath.policy(0, { newIntervalNs: second, newBurst: 3 });
  assert.deepEqual(count(hosts[4] ?? ''), { RATE_LIMIT: 1 });
  const { next_ns } = datapath.state(0);
  const [first = 0] = datapath.bindings().map(({ value }) => value.first_seen_ns);
  assert.ok(next_ns < before && next_ns >= first + 3 * second);
  datapath.policy(0, { newIntervalNs: 1_000_000, newBurst: 1 });
  assert.deepEqual(count(hosts[4] ?? ''), { RATE_LIMIT: 1 });
  sleepSync(20);
  assert.deepEqual(count(hosts[4] ?? ''), { SIGHTINGS: 1, CREATED: 1 });
});

test('the longest prefix decides, and without a prefix nothing is learned', () => {
  datapath.domain({}, false);
  assert.deepEqual(count(frames.ann, frames.ann6), { SUBNET: 2 });
  datapath.prefix('192.168.0.0', 16, 1);
  assert.deepEqual(count(frames.ann, frames.ann6, frames.annVlan), { SIGHTINGS: 1, CREATED: 1, SUBNET: 2 });
  datapath.prefix('192.168.2.0', 24, 0);
  assert.deepEqual(count(hosts[0] ?? '', hosts[1] ?? ''), { SUBNET: 2 });
  datapath.prefix('192.168.2.1', 32, 1);
  assert.deepEqual(count(hosts[0] ?? '', hosts[1] ?? ''), { SIGHTINGS: 1, CREATED: 1, SUBNET: 1 });
  datapath.prefix('2001:db8:0:0:0:0:0:0', 64, 1);
  assert.deepEqual(count(frames.ann6), { SIGHTINGS: 1, CREATED: 1 });
  datapath.prefix('192.168.1.0', 24, 1, 20);
  assert.deepEqual(count(frames.annVlan), { SIGHTINGS: 1, CREATED: 1 });
  assert.equal(datapath.bindings().length, 4);
});

test('a withdrawn prefix keeps a binding from moving, and lets its owner refresh it', () => {
  datapath.domain();
  count(frames.ann);
  datapath.prefix(IP4, 32, 0);
  assert.deepEqual(count(frames.bob, on(1, frames.ann), frames.ann), { SUBNET: 2, SIGHTINGS: 1 });
  assert.deepEqual(onlyBinding().mac, ANN_BYTES);
});

test('a link-local address needs no prefix, but an address of the node itself is denied', () => {
  datapath.domain({ linkLocal: true }, false);
  assert.deepEqual(count(frames.annLinkLocal), { SIGHTINGS: 1, CREATED: 1 });
  datapath.domain({ linkLocal: true }, false);
  datapath.prefix('169.254.3.4', 32, 0);
  assert.deepEqual(count(frames.annLinkLocal), { SUBNET: 1 });
});

test('a provisioned address belongs to its MACs alone', () => {
  datapath.domain({ duplicateMoves: 2 });
  datapath.provision(IP4, [BOB]);
  assert.deepEqual(count(frames.ann, frames.bob), { STATIC: 1, SIGHTINGS: 1, CREATED: 1 });
  assert.deepEqual(count(frames.ann), { STATIC: 1 });
  assert.deepEqual(count(on(1, frames.bob)), { SIGHTINGS: 1, MOVED: 1 });
  assert.deepEqual(onlyBinding().mac, BOB_BYTES);
  // Another VLAN is another domain.
  assert.deepEqual(count(frames.annVlan), { SIGHTINGS: 1, CREATED: 1 });
});

test('several MACs provisioned for one address take turns and are no duplicate', () => {
  datapath.domain({ duplicateMoves: 2 });
  datapath.provision(IP4, [ANN, BOB]);
  count(frames.ann);
  const turns = [frames.bob, frames.ann, frames.bob, frames.ann];
  assert.deepEqual(count(...turns), { SIGHTINGS: 4, MOVED: 4 });
  assert.equal(onlyBinding().moves, 0);
});

test('a full ring loses the record, never the binding', () => {
  datapath.domain();
  datapath.ring('fill');
  assert.deepEqual(count(frames.ann, frames.ann6), { SIGHTINGS: 2, CREATED: 2, RING_DROPPED: 2 });
  assert.deepEqual(count(frames.ann), { SIGHTINGS: 1 });
  assert.equal(datapath.bindings().length, 2);
  datapath.ring('consume');
  count(frames.bob);
  assert.equal(datapath.ring('consume').records.length, 1);
});

test('a full table is counted, and its bindings are still refreshed', () => {
  const small = new Scope();
  try {
    const few = new Datapath(small, { snoopy_bindings: 'type hash key 24 value 64 entries 4' });
    few.domain();
    assert.deepEqual(few.run(hosts.slice(0, 6)).counted, { SIGHTINGS: 4, CREATED: 4, TABLE_FULL: 2 });
    const known = hosts.slice(0, 4);
    assert.deepEqual(few.run(known.map((hex) => ({ hex, port: 1 }))).counted, { SIGHTINGS: 4, MOVED: 4 });
    assert.equal(few.state(0).gained, 4);
  } finally {
    small.close();
  }
});

/** The only rejection in the newest domain: reason, port, Ethernet source, claimed MAC, count. */
function onlyNote() {
  const [noted, ...more] = datapath.rejections();
  assert.deepEqual(more, []);
  assert.ok(noted);
  return noted.value;
}

function described({ reason, port, source, claimed, count: times }: ReturnType<typeof onlyNote>) {
  return [COUNTERS[reason], datapath.ports.indexOf(port), source, claimed, times];
}

test('a rejected claim is recorded with its last reason, port and MAC, and counted', () => {
  datapath.domain();
  datapath.provision(IP4, [ANN]);
  count(frames.ann);
  assert.deepEqual(datapath.rejections(), []);
  count(on(1, frames.bob));
  const first = onlyNote();
  assert.deepEqual(described(first), ['STATIC', 1, BOB_BYTES, BOB_BYTES, 1]);
  assert.equal(first.first_ns, first.last_ns);
  count(on(1, frames.bob), on(1, frames.bob));
  const third = onlyNote();
  assert.deepEqual(described(third), ['STATIC', 1, BOB_BYTES, BOB_BYTES, 3]);
  assert.equal(third.first_ns, first.first_ns);
  assert.ok(third.last_ns > first.last_ns);
  count(on(1, frames.forged));
  const last = onlyNote();
  assert.deepEqual(described(last), ['SPOOFED', 1, BOB_BYTES, ANN_BYTES, 4]);
  assert.equal(last.first_ns, first.first_ns);
  // The owner's messages are accepted all the while, and leave the rejection as it is.
  assert.deepEqual(count(frames.ann), { SIGHTINGS: 1 });
  assert.deepEqual(onlyNote(), last);
});

test('each limit is recorded as a reason: the port, the rate, the subnet, the freeze', () => {
  for (const [policy, reason] of [
    [{ maxBindings: 0 }, 'PORT_LIMIT'],
    [{ newIntervalNs: 3_600_000_000, newBurst: 1 }, 'RATE_LIMIT'],
  ] as const) {
    datapath.domain(policy);
    // Another host comes first and takes all that the rate allows.
    count(frames.annVlan, frames.ann);
    const noted = datapath.rejections().filter(({ key }) => key.vlan === 0);
    assert.deepEqual(
      noted.map(({ value }) => COUNTERS[value.reason]),
      [reason],
    );
  }
  datapath.domain({}, false);
  count(frames.ann);
  assert.equal(COUNTERS[onlyNote().reason], 'SUBNET');
  datapath.domain({ duplicateMoves: 1 });
  count(frames.ann, on(1, frames.bob), on(1, frames.bob));
  assert.deepEqual(described(onlyNote()), ['FROZEN', 1, BOB_BYTES, BOB_BYTES, 1]);
});

test('an ignored kind of message is recorded for an unknown host, not for a known one', () => {
  datapath.domain({ learn: LEARN.get('ARP_REQUEST') ?? 0 });
  assert.deepEqual(count(frames.annReply, frames.ann6), { IGNORED: 2 });
  const [v4, v6] = datapath.rejections().sort((a, b) => a.key.family - b.key.family);
  assert.deepEqual(v4 && described(v4.value), ['IGNORED', 0, ANN_BYTES, ANN_BYTES, 1]);
  assert.deepEqual(v6 && described(v6.value), ['IGNORED', 0, ANN_BYTES, [0, 0, 0, 0, 0, 0], 1]);
  count(frames.ann, frames.annReply, frames.annReply);
  const of4 = () => datapath.rejections().find(({ key }) => key.family === 2)?.value;
  assert.deepEqual(of4(), v4?.value);
  // Another host with the same address: that is recorded.
  count(on(1, frames.bobReply));
  const last = of4();
  assert.deepEqual(last && described(last), ['IGNORED', 1, BOB_BYTES, BOB_BYTES, 2]);
});

deepTest('a flood of claims displaces older rejections, and nothing else', () => {
  datapath.domain({}, false);
  datapath.prefix(IP4, 32, 1);
  count(frames.ann);
  const flood = Array.from({ length: 9_000 }, (_, n) => {
    // The sender's IP follows 14 bytes of Ethernet and 14 of ARP.
    const ip = `0a${(n + 1).toString(16).padStart(6, '0')}`;
    return `${frames.ann.slice(0, 56)}${ip}${frames.ann.slice(64)}`;
  });
  assert.deepEqual(count(...flood), { SUBNET: flood.length });
  const noted = datapath.rejections();
  assert.ok(noted.length > 100 && noted.length <= 4096, `${noted.length} notes`);
  assert.equal(datapath.bindings().length, 1);
  assert.deepEqual(count(frames.ann), { SIGHTINGS: 1 });
  // The last one is there: it is the one that an operator looks for.
  const last = flood.length.toString(16).padStart(6, '0');
  assert.ok(noted.some(({ key }) => Buffer.from(key.ip.slice(1, 4)).toString('hex') === last));
});
