// What a listening run remembers of addresses: what names them, when they are due, and what a narrow pass looks up.

import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import type { IfIndex, IpAddress, Mac } from '../../../src/base/address.ts';
import type { ObservedHosts } from '../../../src/core/observed.ts';
import { Watchlist } from '../../../src/core/watchlist.ts';
import { writtenEarlier } from '../../../src/core/zebra.ts';
import type { Binding } from '../../../src/datapath/records/binding.ts';
import type { Change } from '../../../src/datapath/records/change.ts';
import type { Hint } from '../../../src/datapath/records/hint.ts';
import type { SeenHint } from '../../../src/datapath/records/seen-hint.ts';
import { ForwardingTable } from '../../../src/netlink/forwarding-table.ts';
import {
  type Neighbor,
  NTF_EXT_EXT_VALIDATED,
  NTF_EXT_LEARNED,
  NUD_NOARP,
} from '../../../src/netlink/neighbor.ts';
import { ROOT } from '../golden.ts';
import { readCase } from './case.ts';
import { outcomeOf } from './outcome.ts';

const { topology, hosts } = readCase(join(ROOT, 'test/unit/core/cases/none'));
const BRIDGE = 1 as IfIndex;
const [TAP1, TAP2, TUNNEL] = [2, 3, 4] as IfIndex[] as [IfIndex, IfIndex, IfIndex];
const MAC = '02:00:00:00:00:01' as Mac;
const OWNER = '02:00:00:00:00:02' as Mac;
const { nowMs } = hosts;

function binding(ip: string, more: Partial<Binding> = {}): Binding {
  return {
    bridge: BRIDGE,
    vlan: 0,
    ip: ip as IpAddress,
    mac: MAC,
    router: false,
    port: TAP1,
    moves: 0,
    firstSeenMs: nowMs,
    lastSeenMs: nowMs,
    windowMs: 0,
    owner: null,
    frozenUntilMs: 0,
    ...more,
  };
}

function hint(ip: string, more: Partial<Hint> = {}): Hint {
  const key = { bridge: BRIDGE, vlan: 0, ip: ip as IpAddress, mac: MAC };
  return { ...key, kind: 'ended', probes: 1, seenMs: nowMs, probedMs: nowMs, ...more };
}

/** The outcome of a pass with what was found, and the MAC at its port. */
function outcomeWith(found: Partial<ObservedHosts>): ReturnType<typeof outcomeOf> {
  const table = new ForwardingTable();
  table.push({ vlan: 0, mac: MAC, port: TAP1 });
  return outcomeOf(topology, { ...hosts, forwarding: new Map([[BRIDGE, table]]), ...found });
}

function watching(found: Partial<ObservedHosts>): Watchlist {
  return new Watchlist(outcomeWith(found));
}

const installed: Neighbor = {
  ifIndex: BRIDGE,
  ip: '10.0.0.1' as IpAddress,
  mac: MAC,
  state: NUD_NOARP,
  flags: 0,
  extFlags: NTF_EXT_EXT_VALIDATED,
  protocol: 115,
  confirmedMs: 0,
  updatedMs: 0,
};

const ips = (keys: Iterable<{ readonly ip: IpAddress }>): string[] => [...keys].map(({ ip }) => ip).sort();

const fdb = (mac: Mac, ifIndex: IfIndex, bridge = BRIDGE) => ({
  ifIndex,
  bridge,
  mac,
  vlan: 0,
  state: 2,
  flags: 0,
  isLocal: false,
});

it('a MAC names the hosts of its bridge that have it or had it, and hints where it is on a local port', () => {
  const watchlist = watching({
    bindings: [binding('10.0.0.1'), binding('10.0.0.2', { mac: OWNER, owner: { mac: MAC, port: TAP2 } })],
    hints: [hint('10.0.0.3')],
  });
  assert.deepEqual(ips(watchlist.concernedBy(fdb(MAC, TAP2))), ['10.0.0.1', '10.0.0.2', '10.0.0.3']);
  assert.deepEqual(ips(watchlist.concernedBy(fdb(MAC, TUNNEL))), ['10.0.0.1', '10.0.0.2']);
  assert.deepEqual(ips(watchlist.concernedBy(fdb(OWNER, TAP2))), ['10.0.0.2']);
  assert.deepEqual(watchlist.concernedBy(fdb(MAC, TAP2, 9 as IfIndex)), []);
});

it('an address that a pass no longer finds is named by nothing', () => {
  const watchlist = watching({
    bindings: [binding('10.0.0.1'), binding('10.0.0.2')],
    hints: [hint('10.0.0.1', { mac: OWNER })],
  });
  const focus = watchlist.focusOn([binding('10.0.0.1')], []);
  assert.deepEqual(ips(focus.hints), ['10.0.0.1']);
  assert.equal(watchlist.hintsBeside(focus), 0);
  watchlist.update(focus, outcomeOf(topology, hosts));
  assert.deepEqual(ips(watchlist.concernedBy(fdb(MAC, TAP1))), ['10.0.0.2']);
  assert.equal(watchlist.isHost(binding('10.0.0.1')), false);
  assert.deepEqual(watchlist.focusOn([binding('10.0.0.1')], []).hints, []);
});

it('the hosts of a port are those whose bindings are there', () => {
  const watchlist = watching({ bindings: [binding('10.0.0.1'), binding('10.0.0.2', { port: TAP2 })] });
  assert.deepEqual(ips(watchlist.hostsOn([TAP2])), ['10.0.0.2']);
  assert.deepEqual(ips(watchlist.hostsOn([TAP1, TAP2])), ['10.0.0.1', '10.0.0.2']);
  assert.deepEqual(watchlist.hostsOn([TUNNEL]), []);
});

it('all that is known of a bridge is named when the bridge has changed: hosts, hints, and neighbors of others', () => {
  const remote = {
    ...installed,
    ip: '10.0.0.9' as IpAddress,
    mac: OWNER,
    flags: NTF_EXT_LEARNED,
    protocol: 11,
  };
  const neighbors = [remote, { ...remote, ip: '10.0.0.8' as IpAddress, ifIndex: 99 as IfIndex }];
  const watchlist = watching({ bindings: [binding('10.0.0.1')], hints: [hint('10.0.0.3')], neighbors });
  assert.deepEqual(ips(watchlist.addressesIn([BRIDGE])), ['10.0.0.1', '10.0.0.3', '10.0.0.9']);
  assert.deepEqual(watchlist.addressesIn([9 as IfIndex]), []);
});

it('a port that is a tunnel port from now on is taken for one', () => {
  const watchlist = watching({ hints: [hint('10.0.0.3')] });
  const bridges = topology.bridges.map((bridge) => ({ ...bridge, tunnelPorts: new Set([TUNNEL, TAP2]) }));
  assert.deepEqual(ips(watchlist.concernedBy(fdb(MAC, TAP2))), ['10.0.0.3']);
  watchlist.renew({ bridges });
  assert.deepEqual(watchlist.concernedBy(fdb(MAC, TAP2)), []);
});

it('those that are due are named once, and the next ones when it is time', () => {
  const watchlist = watching({
    bindings: [
      binding('10.0.0.1', { frozenUntilMs: nowMs + 5_000 }),
      binding('10.0.0.2', { frozenUntilMs: nowMs + 9_000 }),
    ],
  });
  assert.equal(watchlist.nextDueMs(0), nowMs + 5_000);
  assert.deepEqual(watchlist.due(nowMs + 4_999), []);
  assert.deepEqual(ips(watchlist.due(nowMs + 5_000)), ['10.0.0.1']);
  assert.equal(watchlist.nextDueMs(0), nowMs + 9_000);
  // Passes that only the clock causes are a second apart.
  assert.equal(watchlist.nextDueMs(nowMs + 8_500), nowMs + 9_500);
});

it('a host whose answer would give it a neighbor is looked at again within a second: the answer may make no record', () => {
  const outcome = outcomeOf(topology, { ...hosts, bindings: [binding('10.0.0.1')] });
  const watchlist = new Watchlist({ ...outcome, wereDue: [binding('10.0.0.1')] });
  assert.equal(watchlist.nextDueMs(0), nowMs + 1_000);
});

it('a neighbor that could not be written is due ten seconds later', () => {
  const outcome = outcomeOf(topology, { ...hosts, bindings: [binding('10.0.0.1')] });
  const watchlist = new Watchlist({ ...outcome, failed: [binding('10.0.0.1')] });
  assert.equal(watchlist.nextDueMs(0), nowMs + 10_000);
  assert.deepEqual(ips(watchlist.due(nowMs + 10_000)), ['10.0.0.1']);
});

it('a silent host whose neighbor could not be written is due ten seconds later as well', () => {
  const silent = binding('10.0.0.1', { lastSeenMs: nowMs - 11 * 60_000 });
  const outcome = outcomeWith({ bindings: [silent] });
  assert.equal(new Watchlist(outcome).nextDueMs(0), nowMs + 1_000, 'it is probed');
  assert.equal(new Watchlist({ ...outcome, failed: [silent] }).nextDueMs(0), nowMs + 10_000);
});

it('a neighbor that was written is looked at before garbage collection may delete it', () => {
  const watchlist = watching({ bindings: [binding('10.0.0.1')] });
  assert.deepEqual(ips(watchlist.due(nowMs + 20_000)), ['10.0.0.1']);
});

it('all hints of a port are looked at when a record names one, or when one of an address is known', () => {
  const seen: SeenHint = { ...hint('10.0.0.1'), kind: 'tentative', port: TAP1, slot: 7 };
  const watchlist = watching({ seenHints: [seen] });
  const record: Change = { ...binding('10.0.0.9'), kind: 'new', oldPort: 0, oldMac: MAC };
  const ports = (names: Binding[], records: Change[]): IfIndex[] => [...watchlist.hintPorts(names, records)];
  assert.deepEqual(ports([], [record]), []);
  assert.deepEqual(ports([], [{ ...record, kind: 'hint', port: TAP2 }]), [TAP2]);
  assert.deepEqual(ports([binding('10.0.0.1')], []), [TAP1]);
  const found = [seen, { ...seen, ip: '10.0.0.3' as IpAddress, slot: 8 }];
  const { seenHints, addresses } = watchlist.focusOn([binding('10.0.0.1')], [], found);
  assert.deepEqual(seenHints, found);
  assert.deepEqual(ips(addresses.values()), ['10.0.0.1', '10.0.0.3']);
});

it('what passes have written is unread until one looks at it, and zebra is asked about the rest', () => {
  const [first, second] = [binding('10.0.0.1'), binding('10.0.0.2')];
  const written = (ip: IpAddress, protocol: number): Neighbor => ({
    ifIndex: BRIDGE,
    ip,
    mac: MAC,
    state: NUD_NOARP,
    flags: 0,
    extFlags: 0,
    protocol,
    confirmedMs: 0,
    updatedMs: 0,
  });
  const obsolete = written('10.0.0.7' as IpAddress, 115);
  const watchlist = watching({ bindings: [first, second], neighbors: [written(second.ip, 115), obsolete] });
  // The other one is removed.
  assert.deepEqual(ips(watchlist.unread()), ['10.0.0.1']);
  const beside = (...keys: Binding[]): unknown[] => {
    const found = watchlist.writtenBeside(watchlist.focusOn(keys, []));
    return found.map(({ device, entry }) => `${device} ${entry.ip}`);
  };
  assert.deepEqual(beside(), ['br0 10.0.0.2']);
  assert.deepEqual(beside(second), []);
  const looked = { ...hosts, bindings: [first], neighbors: [written(first.ip, 115)] };
  const table = new ForwardingTable();
  table.push({ vlan: 0, mac: MAC, port: TAP1 });
  const forwarding = new Map([[BRIDGE, table]]);
  watchlist.update(watchlist.focusOn([first], []), outcomeOf(topology, { ...looked, forwarding }));
  assert.deepEqual(ips(watchlist.unread()), []);
  assert.deepEqual(beside().sort(), ['br0 10.0.0.1', 'br0 10.0.0.2']);
});

it('what is due in minutes is put off to a time that it shares with others', () => {
  const grain = 10_000;
  const watchlist = watching({ bindings: [binding('10.0.0.1')], neighbors: [installed] });
  // Probed after ten minutes of silence.
  const dueMs = watchlist.nextDueMs(0);
  assert.ok(dueMs >= nowMs + 600_000 && dueMs < nowMs + 600_000 + grain, String(dueMs - nowMs));
  assert.equal(dueMs % grain, 0);
});

it('a host that has been seen since the last look is not silent, and is not looked at for that', () => {
  const seen = binding('10.0.0.1');
  const later = nowMs + 610_000;
  const again = (more: Partial<Binding>, found: Partial<ObservedHosts> = {}): boolean => {
    const watchlist = watching({ bindings: [seen], neighbors: [installed], ...found });
    assert.deepEqual(ips(watchlist.due(later)), ['10.0.0.1']);
    const isPutOff = watchlist.isPutOffBy({ ...seen, lastSeenMs: later - 1_000, ...more }, later);
    if (isPutOff)
      assert.ok(watchlist.nextDueMs(0) >= later + 599_000, String(watchlist.nextDueMs(0) - later));
    return isPutOff;
  };
  assert.equal(again({}), true);
  assert.equal(again({ lastSeenMs: nowMs }), false, 'it was not seen since');
  assert.equal(
    again({ lastSeenMs: nowMs + 1_000 }),
    false,
    'it was, and has been silent for long enough since',
  );
  assert.equal(again({ mac: OWNER }), false, 'another MAC');
  assert.equal(again({ port: TAP2 }), false, 'another port');
  assert.equal(again({ frozenUntilMs: later + 1 }), false, 'frozen');
  assert.equal(again({}, { neighbors: [] }), false, 'without a neighbor');
});

it('a host that gets a neighbor after a long silence is looked at again at once: it can be probed now', () => {
  const dueIn = (silentMs: number): number =>
    watching({ bindings: [{ ...binding('10.0.0.1'), lastSeenMs: nowMs - silentMs }] }).nextDueMs(0) - nowMs;
  assert.equal(dueIn(700_000), 1_000);
  assert.notEqual(dueIn(60_000), 1_000);
});

it('zebra is asked about the same neighbors by a narrow pass as by one over all hosts', () => {
  const folder = join(ROOT, 'test/unit/core/cases');
  let count = 0;
  for (const name of readdirSync(folder)) {
    const known = readCase(join(folder, name));
    const outcome = outcomeOf(known.topology, known.hosts);
    const watchlist = new Watchlist(outcome);
    const whole = writtenEarlier(outcome.plan.decisions, outcome.protocol);
    count += whole.length;
    assert.deepEqual(watchlist.writtenBeside(watchlist.focusOn([], [])), whole, name);
  }
  assert.ok(count > 10, `${count} neighbors`);
});
