// A listening run looks only at the addresses that something names. Whatever happens, in whatever order: after each such pass
// a look at all hosts finds nothing left to do.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { it } from 'node:test';
import fc from 'fast-check';
import type { IfIndex, IpAddress, Mac } from '../../src/base/address.ts';
import { planAnnouncements } from '../../src/core/announcements.ts';
import { narrowTopology } from '../../src/core/focus.ts';
import type { KnownMachine } from '../../src/core/link-change.ts';
import { addressesOf, machineChange } from '../../src/core/machine-change.ts';
import type { NeighborChange } from '../../src/core/neighbors/plan.ts';
import type { ObservedHosts } from '../../src/core/observed.ts';
import { type HostProbe, planHostProbes } from '../../src/core/probes/ageing.ts';
import type { Bridge, Domain, Topology } from '../../src/core/topology.ts';
import { type PassOutcome, Watchlist } from '../../src/core/watchlist.ts';
import type { Binding } from '../../src/datapath/records/binding.ts';
import { type BindingKey, bindingId } from '../../src/datapath/records/binding-key.ts';
import type { Change } from '../../src/datapath/records/change.ts';
import { type Hint, hintId } from '../../src/datapath/records/hint.ts';
import type { ProbeState } from '../../src/datapath/records/probe.ts';
import { meaningOf } from '../../src/host/watch.ts';
import { type Activity, ForwardingTable } from '../../src/netlink/forwarding-table.ts';
import type { Link } from '../../src/netlink/link.ts';
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

const { topology: START, hosts: EMPTY, desired } = readCase(join(ROOT, 'test/fuzz/narrow'));
const BRIDGE = 1 as IfIndex;
const PORTS = [2, 3] as IfIndex[];
const TUNNEL = 4 as IfIndex;
const PROVISIONED = '10.0.0.9' as IpAddress;
const IPS = ['10.0.0.1', '10.0.0.2', PROVISIONED, '2001:db8::1'] as IpAddress[];
const MACS = ['02:00:00:00:00:01', '02:00:00:00:00:02', '02:00:00:00:00:03'] as Mac[];
const OURS = 115;
const ZEBRA = 11;

const [SERVED] = START.bridges;
assert.ok(SERVED);
const [DOMAIN] = SERVED.domains.values();
const [ONE, OTHER] = SERVED.ports;
assert.ok(DOMAIN && ONE && OTHER);

function domainsWith(change: Partial<Domain>): Pick<Bridge, 'domains'> {
  return { domains: new Map([[0, { ...(DOMAIN as Domain), ...change }]]) };
}

/** How the bridge is; `isExcluded`: the port that it lacks is still in it. */
type BridgeChange = Partial<Bridge> & { readonly isExcluded?: boolean };

/** What the bridge can become while a run listens. */
const CHANGES: readonly BridgeChange[] = [
  {},
  { suppresses: !SERVED.suppresses },
  { ageingMs: 1000 },
  { tunnelPorts: new Set() },
  domainsWith({ reserved: new Set([IPS[0] as IpAddress]) }),
  domainsWith({
    addresses: [
      {
        ifIndex: DOMAIN.device,
        ip: '10.0.0.6' as IpAddress,
        prefixLength: 29,
        connected: { ip: '10.0.0.0' as IpAddress, length: 29 },
        flags: 0,
      },
    ],
  }),
  // One of its ports has left it.
  { ports: [ONE], portsByIndex: new Map([[ONE.ifIndex, ONE]]) },
  // It is still there, and is not learned from any more because of its new name.
  { ports: [ONE], portsByIndex: new Map([[ONE.ifIndex, ONE]]), isExcluded: true },
];

/** The machine with such a bridge. */
function machineOf({ isExcluded, ...change }: BridgeChange): KnownMachine & { readonly topology: Topology } {
  const bridge = { ...(SERVED as Bridge), ...change };
  const gone = PORTS.filter((port) => !isExcluded && !bridge.portsByIndex.has(port));
  const links = new Map(
    PORTS.map((port) => [port, { ifIndex: port, master: gone.includes(port) ? undefined : BRIDGE } as Link]),
  );
  return {
    desired,
    observed: { links },
    topology: { ...START, bridges: [bridge], freePorts: new Set(gone) },
  };
}

/** The kernel, as far as hosts are concerned. Times are of CLOCK_MONOTONIC in milliseconds. */
class Kernel {
  nowMs = EMPTY.nowMs;
  machine = machineOf({});
  /** Ports that have left the bridge and come back. */
  readonly returned = new Set<IfIndex>();
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
    if (this.#lacks(port)) return;
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
    if (this.#lacks(port)) return;
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

  /** The bridge changes; it forgets what it has learned on a port that leaves it. */
  become(change: BridgeChange): void {
    const { freePorts } = this.machine.topology;
    this.machine = machineOf(change);
    for (const port of freePorts) if (!this.#lacks(port)) this.returned.add(port);
    for (const [mac, port] of [...this.fdb]) if (this.#lacks(port)) this.forward(mac, undefined);
  }

  #lacks(port: IfIndex | undefined): boolean {
    return port !== undefined && this.machine.topology.freePorts.has(port);
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
    for (const { kind, ip, mac, ...written } of plan.changes as readonly NeighborChange[]) {
      const state = written.state === 'stale' ? NUD_STALE : NUD_NOARP;
      const entry = { mac: mac ?? undefined, state, flags: 0, protocol: OURS };
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
  fc.constantFrom(...CHANGES).map(
    (change): Event =>
      (kernel) =>
        kernel.become(change),
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

function passOver(kernel: Kernel, seen: ObservedHosts, part = kernel.machine.topology, elsewhere = 0) {
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

function endedBy({ memory }: PassOutcome): ReadonlySet<IpAddress> {
  return new Set(memory.remember.filter(({ kind }) => kind === 'ended').map(({ ip }) => ip));
}

it('a look at all hosts finds nothing that passes over named hosts have left', () => {
  let narrow = 0;
  let putOff = 0;
  let changed = 0;
  check(fc.array(fc.array(event, { minLength: 1, maxLength: 4 }), { maxLength: 12 }), 5_000, (history) => {
    const kernel = new Kernel();
    let watchlist = new Watchlist(passOver(kernel, kernel.observe()).outcome);
    let wholeMs = kernel.nowMs;
    let { machine } = kernel;
    for (const events of history) {
      kernel.nowMs += 1;
      for (const happen of events) happen(kernel);
      // What is due is put off to such times.
      kernel.nowMs = Math.ceil(kernel.nowMs / 10_000) * 10_000;
      const named = kernel.messages
        .splice(0)
        .flatMap((one) => meaningOf(one, { watchlist, machine: undefined }, 1).names ?? []);
      const records = kernel.records.splice(0);
      const { topology } = kernel.machine;
      /** The hosts that get a neighbor in this pass, and may be probed from then on. */
      let written: ReadonlySet<IpAddress>;
      let ended: ReadonlySet<IpAddress>;
      if (kernel.nowMs - wholeMs >= 600_000) {
        const { outcome } = passOver(kernel, kernel.observe());
        watchlist = new Watchlist(outcome);
        written = writtenBy(outcome);
        ended = endedBy(outcome);
        wholeMs = kernel.nowMs;
        kernel.returned.clear();
      } else {
        const due = watchlist.due(kernel.nowMs).filter((key) => {
          const binding = kernel.bindings.get(bindingId(key));
          const isPutOff = binding !== undefined && watchlist.isPutOffBy(binding, kernel.nowMs);
          putOff += isPutOff ? 1 : 0;
          return !isPutOff;
        });
        const change = machineChange(machine, kernel.machine);
        assert.ok(change);
        const concerned = addressesOf(change, watchlist);
        changed += concerned.length > 0 ? 1 : 0;
        watchlist.renew(topology);
        const focus = watchlist.focusOn([...named, ...due, ...concerned], records);
        narrow += focus.addresses.size < IPS.length ? 1 : 0;
        const part = narrowTopology(topology, focus);
        const seen = kernel.observe(focus.addresses);
        const { outcome } = passOver(kernel, seen, part, watchlist.hintsBeside(focus));
        watchlist.update(focus, outcome);
        written = writtenBy(outcome);
        ended = endedBy(outcome);
      }

      ({ machine } = kernel);
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
      // The memory has those that have ended in this pass from now on, and the next one looks at them. A port that comes is no
      // reason to announce what its hosts have not known from here.
      const announced = planAnnouncements(topology, all, left.plan.decisions).due.filter(
        ({ entry, outlets }) =>
          !ended.has(entry.ip) && outlets.some(({ port }) => !kernel.returned.has(port.ifIndex)),
      );
      assert.deepEqual(announced, [], 'announcements');
      const remembered = new Set([...kernel.hints.values()].map((hint) => hint.ip));
      const unknown = left.memory.remember.filter(
        ({ ip: one, mac: of }) =>
          !remembered.has(one) && one !== PROVISIONED && kernel.fdb.get(of) === TUNNEL,
      );
      assert.deepEqual(unknown, [], 'addresses of other nodes that are not in the memory');
      assert.equal(
        watchlist.hintsBeside({ addresses: new Map(), hints: [], seenHints: [] }),
        kernel.hints.size,
      );
    }
  });
  assert.ok(narrow > 1_000, `${narrow} passes were narrow`);
  assert.ok(changed > 500, `${changed} changes of the bridge concerned hosts`);
  assert.ok(putOff > 20, `${putOff} addresses were put off`);
});
