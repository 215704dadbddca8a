// A listening run looks only at the addresses that something names. Whatever happens, in whatever order: after each such pass
// a look at all hosts finds nothing left to do.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { it } from 'node:test';
import fc from 'fast-check';
import type { IfIndex, IpAddress, Mac } from '../../src/base/address.ts';
import { planAnnouncements } from '../../src/core/announcements.ts';
import { narrowTopology } from '../../src/core/focus.ts';
import type { NeighborChange } from '../../src/core/neighbors/plan.ts';
import type { ObservedHosts } from '../../src/core/observed.ts';
import { type HostProbe, planHostProbes } from '../../src/core/probes/ageing.ts';
import { type PassOutcome, Watchlist } from '../../src/core/watchlist.ts';
import type { Binding } from '../../src/datapath/records/binding.ts';
import { type BindingKey, bindingId } from '../../src/datapath/records/binding-key.ts';
import type { Change } from '../../src/datapath/records/change.ts';
import { type Hint, hintId } from '../../src/datapath/records/hint.ts';
import type { ProbeState } from '../../src/datapath/records/probe.ts';
import { meaningOf } from '../../src/host/watch.ts';
import { type Activity, ForwardingTable } from '../../src/netlink/forwarding-table.ts';
import type { Message } from '../../src/netlink/message.ts';
import {
  type Neighbor,
  NTF_EXT_EXT_VALIDATED,
  NTF_EXT_LEARNED,
  NUD_FAILED,
  NUD_NOARP,
  NUD_REACHABLE,
  NUD_STALE,
  RTM_DELNEIGH,
  RTM_NEWNEIGH,
} from '../../src/netlink/neighbor.ts';
import { fdbPayload } from '../lib/fdb-message.ts';
import { deleteNeighbor, putNeighbor } from '../lib/neighbor-requests.ts';
import { readCase } from '../unit/core/case.ts';
import { outcomeOf } from '../unit/core/outcome.ts';
import { ROOT } from '../unit/golden.ts';
import { check } from './property.ts';

const { topology, hosts: EMPTY } = readCase(join(ROOT, 'test/fuzz/narrow'));
const BRIDGE = 1 as IfIndex;
const PORTS = [2, 3] as IfIndex[];
const TUNNEL = 4 as IfIndex;
/** The last one is provisioned. */
const IPS = ['10.0.0.1', '10.0.0.2', '10.0.0.9', '2001:db8::1'] as IpAddress[];
const MACS = ['02:00:00:00:00:01', '02:00:00:00:00:02', '02:00:00:00:00:03'] as Mac[];
const OURS = 115;
const ZEBRA = 11;

/** The kernel, as far as hosts are concerned. Times are of CLOCK_MONOTONIC in milliseconds. */
class Kernel {
  nowMs = EMPTY.nowMs;
  readonly bindings = new Map<string, Binding>();
  readonly hints = new Map<string, Hint>();
  readonly fdb = new Map<Mac, IfIndex>();
  readonly activities = new Map<Mac, Activity>();
  readonly neighbors = new Map<
    IpAddress,
    Omit<Neighbor, 'confirmedMs' | 'updatedMs'> & { writtenMs: number }
  >();
  readonly records: Change[] = [];
  readonly messages: Message[] = [];
  /** Of hosts that were ever probed, by bindingId. */
  readonly probes = new Map<string, ProbeState>();

  /** A host sends: the bridge learns its MAC, the program its address. */
  send(ip: IpAddress, mac: Mac, port: IfIndex): void {
    this.forward(mac, port);
    const key = { bridge: BRIDGE, vlan: 0, ip };
    const before = this.bindings.get(bindingId(key));
    if (before?.mac === mac && before.port === port) {
      // The program refreshes the time of a binding without a record: for those in doubt, probes and their due times are there.
      const isServed = this.neighbors.get(ip)?.protocol === OURS;
      if (isServed) this.bindings.set(bindingId(key), { ...before, lastSeenMs: this.nowMs });
      return;
    }
    this.bindings.set(bindingId(key), {
      ...key,
      mac,
      port,
      router: false,
      moves: 0,
      firstSeenMs: this.nowMs,
      lastSeenMs: this.nowMs,
      windowMs: 0,
      owner: null,
      frozenUntilMs: 0,
    });
    const kind = before === undefined ? 'new' : 'move';
    this.records.push({ ...key, kind, port, oldPort: before?.port ?? 0, mac, oldMac: before?.mac ?? mac });
  }

  /** A MAC of an Ethernet segment, which zebra keeps, sends or is silent. */
  track(mac: Mac, activity: Activity): void {
    const port = this.fdb.get(mac);
    if (port === undefined || this.activities.get(mac) === activity) return;
    this.activities.set(mac, activity);
    this.#notify(RTM_NEWNEIGH, fdbPayload(BRIDGE, port, mac));
  }

  /** The bridge learns a MAC, or forgets it. */
  forward(mac: Mac, port: IfIndex | undefined): void {
    if (port !== undefined && this.activities.get(mac) === 'inactive') this.track(mac, 'active');
    const before = this.fdb.get(mac);
    if (before === port) return;
    if (port === undefined) this.activities.delete(mac);
    if (port === undefined) this.fdb.delete(mac);
    else this.fdb.set(mac, port);
    const type = port === undefined ? RTM_DELNEIGH : RTM_NEWNEIGH;
    this.#notify(type, fdbPayload(BRIDGE, port ?? before ?? TUNNEL, mac));
  }

  /** Somebody writes a neighbor, or deletes it. `isOwn`: the run, whose echo it ignores. */
  write(
    ip: IpAddress,
    entry: Pick<Neighbor, 'mac' | 'state' | 'flags' | 'protocol'> | undefined,
    isOwn = false,
  ): void {
    if (entry === undefined) {
      if (!this.neighbors.delete(ip) || isOwn) return;
      this.#notify(RTM_DELNEIGH, deleteNeighbor(BRIDGE, ip).payload);
      return;
    }
    const { mac } = entry;
    const extFlags = entry.protocol === OURS ? NTF_EXT_EXT_VALIDATED : 0;
    const written = { ifIndex: BRIDGE, ip, extFlags, ...entry };
    this.neighbors.set(ip, { ...written, writtenMs: this.nowMs });
    if (isOwn || mac === undefined) return;
    this.#notify(RTM_NEWNEIGH, putNeighbor({ ...written, mac }, 'replace').payload);
  }

  #notify(type: number, payload: Uint8Array): void {
    this.messages.push({ type, flags: 0, sequence: 0, portId: 0, payload: new Uint8Array(payload) });
  }

  /** What a pass reads: of all, or of some addresses. */
  observe(addresses?: ReadonlyMap<string, BindingKey>): ObservedHosts {
    const isRead = (key: BindingKey): boolean => addresses === undefined || addresses.has(bindingId(key));
    const forwarding = new ForwardingTable();
    for (const [mac, port] of this.fdb) {
      const activity = this.activities.get(mac) ?? 'untracked';
      forwarding.push({ vlan: 0, mac, port, activity });
    }
    return {
      ...EMPTY,
      nowMs: this.nowMs,
      bindings: [...this.bindings.values()].filter(isRead),
      hints: [...this.hints.values()].filter(isRead),
      probes: this.probes,
      forwarding: new Map([[BRIDGE, forwarding]]),
      neighbors: [...this.neighbors.values()]
        .filter(({ ip }) => isRead({ bridge: BRIDGE, vlan: 0, ip }))
        .map(({ writtenMs, ...entry }) => {
          const ageMs = this.nowMs - writtenMs;
          return { ...entry, confirmedMs: ageMs, updatedMs: ageMs };
        }),
    };
  }

  /** What a pass does. */
  apply({ plan, memory, forget }: PassOutcome & { readonly forget: readonly Binding[] }): void {
    for (const { kind, ip, mac } of plan.changes as readonly NeighborChange[]) {
      const entry = { mac: mac ?? undefined, state: NUD_NOARP, flags: 0, protocol: OURS };
      this.write(ip, kind === 'remove' ? undefined : entry, true);
    }
    for (const { moved } of plan.decisions) if (moved !== null) this.bindings.set(bindingId(moved), moved);
    for (const binding of forget) this.bindings.delete(bindingId(binding));
    for (const hint of memory.forget) this.hints.delete(hintId(hint));
    for (const hint of memory.remember) this.hints.set(hintId(hint), hint);
  }
}

type Event = (kernel: Kernel) => void;

const ip = fc.constantFrom(...IPS);
const mac = fc.constantFrom(...MACS);
const event: fc.Arbitrary<Event> = fc.oneof(
  fc.tuple(ip, mac, fc.constantFrom(...PORTS)).map(
    (given): Event =>
      (kernel) =>
        kernel.send(...given),
  ),
  fc.tuple(mac, fc.constantFrom(undefined, ...PORTS, TUNNEL)).map(
    (given): Event =>
      (kernel) =>
        kernel.forward(...given),
  ),
  fc.tuple(mac, fc.constantFrom<Activity>('active', 'inactive')).map(
    (given): Event =>
      (kernel) =>
        kernel.track(...given),
  ),
  fc.tuple(ip, mac).map(
    ([one, of]): Event =>
      (kernel) => {
        kernel.forward(of, TUNNEL);
        kernel.write(one, { mac: of, state: NUD_NOARP, flags: NTF_EXT_LEARNED, protocol: ZEBRA });
      },
  ),
  fc.tuple(ip, mac, fc.constantFrom(NUD_STALE, NUD_REACHABLE, NUD_FAILED), fc.constantFrom(0, ZEBRA)).map(
    ([one, of, state, protocol]): Event =>
      (kernel) =>
        kernel.write(one, { mac: of, state, flags: 0, protocol }),
  ),
  ip.map(
    (one): Event =>
      (kernel) =>
        kernel.write(one, undefined),
  ),
  // A host that sends every minute and a half is not silent for two minutes.
  fc.constant<Event>((kernel) => {
    for (const { ip: one, mac: of, port } of [...kernel.bindings.values()]) kernel.send(one, of, port);
    kernel.nowMs += 90_000;
  }),
  fc.oneof(fc.integer({ min: 1, max: 59_000 }), fc.constant(120_000)).map(
    (ms): Event =>
      (kernel) => {
        kernel.nowMs += ms;
      },
  ),
);

function passOver(kernel: Kernel, seen: ObservedHosts, part = topology, elsewhere = 0) {
  const outcome = outcomeOf(part, seen, elsewhere);
  const { silent, doubtful, left } = planHostProbes(part, outcome.plan, seen);
  kernel.apply(outcome);
  for (const { binding, state } of [...silent, ...doubtful]) kernel.probes.set(bindingId(binding), state);
  const keysOf = (probes: readonly HostProbe[]) => probes.map(({ binding }) => binding);
  return { outcome: { ...outcome, probed: keysOf(silent), wereDue: keysOf([...doubtful, ...left]) } };
}

function writtenBy({ plan }: PassOutcome): ReadonlySet<IpAddress> {
  return new Set(plan.changes.filter(({ kind }) => kind !== 'remove').map(({ ip }) => ip));
}

it('a look at all hosts finds nothing that passes over named hosts have left', () => {
  let narrow = 0;
  let putOff = 0;
  check(fc.array(fc.array(event, { minLength: 1, maxLength: 4 }), { maxLength: 12 }), 3_000, (history) => {
    const kernel = new Kernel();
    let watchlist = new Watchlist(passOver(kernel, kernel.observe()).outcome);
    let wholeMs = kernel.nowMs;
    for (const events of history) {
      kernel.nowMs += 1;
      for (const happen of events) happen(kernel);
      // What is due is put off to such times.
      kernel.nowMs = Math.ceil(kernel.nowMs / 10_000) * 10_000;
      const named = kernel.messages
        .splice(0)
        .flatMap((one) => meaningOf(one, { watchlist, machine: undefined }, 1).names ?? []);
      const records = kernel.records.splice(0);
      /** The hosts that get a neighbor in this pass, and may be probed from then on. */
      let written: ReadonlySet<IpAddress>;
      if (kernel.nowMs - wholeMs >= 600_000) {
        const { outcome } = passOver(kernel, kernel.observe());
        watchlist = new Watchlist(outcome);
        written = writtenBy(outcome);
        wholeMs = kernel.nowMs;
      } else {
        const due = watchlist.due(kernel.nowMs).filter((key) => {
          const binding = kernel.bindings.get(bindingId(key));
          const isPutOff = binding !== undefined && watchlist.isPutOffBy(binding, kernel.nowMs);
          putOff += isPutOff ? 1 : 0;
          return !isPutOff;
        });
        const focus = watchlist.focusOn([...named, ...due], records);
        narrow += focus.addresses.size < IPS.length ? 1 : 0;
        const part = narrowTopology(topology, focus);
        const seen = kernel.observe(focus.addresses);
        const { outcome } = passOver(kernel, seen, part, watchlist.hintsBeside(focus));
        watchlist.update(focus, outcome);
        written = writtenBy(outcome);
      }

      const all = kernel.observe();
      const left = outcomeOf(topology, all);
      assert.deepEqual(left.plan.changes, [], 'neighbors');
      assert.deepEqual(left.forget, [], 'bindings');
      // One that was seen after a probe is looked at when the next one would have been due.
      const { silent } = planHostProbes(topology, left.plan, all);
      const missed = silent.filter(
        ({ binding }) => !written.has(binding.ip) && !kernel.probes.has(bindingId(binding)),
      );
      assert.deepEqual(missed, [], 'probes');
      assert.deepEqual(planAnnouncements(topology, all, left.plan.decisions).due, [], 'announcements');
      assert.equal(
        watchlist.hintsBeside({ addresses: new Map(), hints: [], seenHints: [] }),
        kernel.hints.size,
      );
    }
  });
  assert.ok(narrow > 1_000, `${narrow} passes were narrow`);
  assert.ok(putOff > 20, `${putOff} addresses were put off`);
});
