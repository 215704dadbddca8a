// The random events of a soak: each step is done to the world and reported to the model.
import { Bag, type Random } from '../lib/random.ts';
import type { Model, Place, Vm } from './soak-model.ts';
import type { Announcement, World } from './soak-world.ts';

/** Addresses that hosts share, few enough to be used again and again. */
export const POOL: readonly string[] = [
  ...Array.from({ length: 60 }, (_, n) => `10.1.0.${n + 1}`),
  ...Array.from({ length: 60 }, (_, n) => `2001:db8:1::${(n + 0x10).toString(16)}`),
];

/** Two provisioned addresses and their hosts, which are never removed permanently. */
export const STATICS: ReadonlyMap<string, string> = new Map([
  ['10.1.9.1', '02:00:00:00:99:01'],
  ['2001:db8:1::901', '02:00:00:00:99:02'],
]);

const MOST_VMS = 24;
const SLOTS = 8;
/** Ticks between two changes of the holder of an address, so that they are no moves of a duplicate. */
const REST_TICKS = 3;
/** Ticks after which a run has surely seen where a host is. */
const STEADY_TICKS = 4;

export interface Duplicates {
  readonly moves: number;
  readonly holdMs: number;
}

/** The rule of a fabric with FRR: the last claim of an address counts, on any node. */
export type Sharing = 'per node' | 'per fabric';

/** Returns what it has done; null: nothing, for lack of a suitable host. */
type Step = () => string | null;

export class Steps {
  readonly #random: Random;
  readonly #world: World;
  readonly #model: Model;
  readonly #duplicates: Duplicates;
  readonly #sharing: Sharing;
  readonly #steps: Bag<Step>;
  /** The number of claims in a contest. */
  readonly #contests: Bag<number>;
  /** Tick in which an address last changed hands. */
  readonly #changedHands = new Map<string, number>();
  #announcements: { readonly vm: Vm; readonly ip: string; readonly contest: boolean }[] = [];
  #tick = 0;
  #quietTick = 0;
  #macs = 0;

  constructor(random: Random, world: World, model: Model, duplicates: Duplicates, sharing: Sharing) {
    this.#random = random;
    this.#world = world;
    this.#model = model;
    this.#duplicates = duplicates;
    this.#sharing = sharing;
    const often = (times: number, step: Step): Step[] => Array.from({ length: times }, () => step);
    const shared = [
      ...often(3, () => this.#takeOver()),
      ...often(1, () => this.#newMac()),
      ...often(2, () => this.#contest()),
    ];
    this.#steps = new Bag(random, [
      ...often(4, () => this.#come()),
      ...often(1, () => this.#vanish()),
      ...often(1, () => this.#unplug()),
      ...often(4, () => this.#move()),
      ...often(3, () => this.#change()),
      ...often(1, () => this.#fallSilent()),
      ...often(1, () => this.#resume()),
      ...often(1, () => this.#impersonate()),
      ...often(1, () => this.#flap()),
      ...(sharing === 'per node' ? shared : []),
    ]);
    // Most contests end in a freeze.
    this.#contests = new Bag(random, [duplicates.moves, duplicates.moves + 2, 2]);
  }

  /** The hosts at the start. */
  begin(): void {
    for (const node of [0, 1]) for (const slot of [1, 2, 3]) this.#plug({ node, port: `tap${slot}` });
    for (const [ip, mac] of STATICS) this.#add(mac, { node: 0, port: 'tap1' }, [ip]);
    for (let count = 0; count < 8; count++) this.#come();
  }

  /** At most this many steps; returns what was done. */
  take(tick: number, most: number): string[] {
    this.#tick = tick;
    const done: string[] = [];
    const wanted = this.#random.between(0, most);
    for (let tries = 0; tries < 4 * wanted && done.length < wanted; tries++) {
      const what = this.#steps.draw()();
      if (what !== null) done.push(what);
    }
    return done;
  }

  /** Sends the announcements that the steps of this tick have left, and those of all hosts that send. */
  announce(): void {
    const sending = [...this.#model.vms.values()].filter(({ behavior }) => behavior === 'sends');
    const answering = [...this.#model.vms.values()].filter(({ behavior }) => behavior !== 'dead');
    // Before any host sends: a host that has given an address up no longer answers for it.
    this.#world.setAnswers(answering.flatMap(announcementsOf));
    const alive = this.#announcements.filter(({ vm }) => this.#model.vms.has(vm.mac));
    this.#announcements = [];
    this.#world.announce([
      ...alive.map(({ vm, ip }) => ({ place: vm.place, mac: vm.mac, ip })),
      ...sending.flatMap(announcementsOf),
    ]);
    for (const { vm, ip, contest } of alive) if (!contest) this.#model.announced(vm, ip);
    for (const vm of sending) {
      for (const ip of vm.addresses) this.#model.announced(vm, ip);
      vm.seen = this.#model.isAttached(vm.place);
    }
  }

  quieted(tick: number): void {
    this.#quietTick = tick;
    this.#model.quieted();
  }

  // Choice

  /** A host that sends, was seen where it is, and had no recent event. */
  #anyone(fits: (vm: Vm) => boolean = () => true): Vm | undefined {
    const steady = [...this.#model.vms.values()].filter(
      (vm) => vm.behavior === 'sends' && vm.seen && vm.touched + 1 < this.#tick && fits(vm),
    );
    return this.#random.pick(steady);
  }

  #freePorts(node: number): string[] {
    const slots = Array.from({ length: SLOTS }, (_, n) => `tap${n + 1}`);
    return slots.filter((port) => !this.#model.ports(node).includes(port));
  }

  /** A port of any node, often a new one; not `but`. */
  #anyPlace(but?: Place): Place {
    const node = this.#random.below(2);
    const fresh = this.#random.pick(this.#freePorts(node));
    if (fresh !== undefined && this.#random.chance(0.4)) return this.#plug({ node, port: fresh });
    const ports = this.#model.ports(node).filter((port) => but?.node !== node || but.port !== port);
    const port = this.#random.pick(ports);
    if (port !== undefined) return { node, port };
    return this.#plug({ node, port: fresh ?? 'tap1' });
  }

  #plug(place: Place): Place {
    this.#world.addPort(place);
    this.#model.portCreated(place);
    return place;
  }

  /** Addresses that no host has; in a fabric none that any node still has a host for. */
  #freeAddresses(count: number): string[] {
    const owned = new Set([...this.#model.vms.values()].flatMap(({ addresses }) => [...addresses]));
    const isFree = (ip: string): boolean =>
      !owned.has(ip) && this.#isRested(ip) && (this.#sharing === 'per node' || !this.#model.isClaimed(ip));
    const chosen = this.#random.shuffle(POOL.filter(isFree)).slice(0, count);
    for (const ip of chosen) this.#changedHands.set(ip, this.#tick);
    return chosen;
  }

  /** Whether a claim to an address that was just frozen is accepted depends on the clock. */
  #isRested(ip: string): boolean {
    if (this.#model.isContested(ip)) return false;
    return (this.#changedHands.get(ip) ?? Number.NEGATIVE_INFINITY) + REST_TICKS <= this.#tick;
  }

  // Events

  #add(mac: string, place: Place, ips: readonly string[]): Vm {
    const vm: Vm = {
      mac,
      place,
      addresses: new Set(ips),
      behavior: 'sends',
      touched: this.#tick,
      seen: false,
    };
    this.#model.vms.set(mac, vm);
    return vm;
  }

  #freshMac(): string {
    this.#macs += 1;
    const bytes = [this.#macs >> 8, this.#macs & 0xff].map((byte) => byte.toString(16).padStart(2, '0'));
    return `02:00:00:01:${bytes.join(':')}`;
  }

  #touch(vm: Vm): void {
    vm.touched = this.#tick;
  }

  #come(): string | null {
    if (this.#model.vms.size >= MOST_VMS) return null;
    const vm = this.#add(this.#freshMac(), this.#anyPlace(), this.#freeAddresses(this.#random.between(1, 4)));
    return `${nameOf(vm)} comes with ${[...vm.addresses].join(' ')}`;
  }

  /** Its port stays, and nothing more is seen of it. */
  #vanish(): string | null {
    const vm = this.#anyone((each) => !isProvisioned(each));
    if (vm === undefined) return null;
    this.#touch(vm);
    vm.behavior = 'dead';
    vm.addresses.clear();
    return `${nameOf(vm)} vanishes`;
  }

  /** A port is deleted with all hosts behind it, but not during a contest, which would end in another way. */
  #unplug(): string | null {
    const contestants = new Set(this.#announcements.flatMap(({ vm, contest }) => (contest ? [vm] : [])));
    const places = [0, 1].flatMap((node) => this.#model.ports(node).map((port) => ({ node, port })));
    const place = this.#random.pick(
      places.filter((each) => !this.#model.at(each).some((vm) => isProvisioned(vm) || contestants.has(vm))),
    );
    if (place === undefined) return null;
    this.#world.deletePort(place);
    this.#model.portDeleted(place);
    return `${textOf(place)} is deleted`;
  }

  #move(): string | null {
    // Where probes are off, whether an address that was given up on the way is still accepted would depend on the
    // timing of runs.
    const vm = this.#anyone((each) => !this.#model.hasGhosts(each));
    if (vm === undefined) return null;
    this.#touch(vm);
    const from = vm.place;
    vm.place = this.#anyPlace(from);
    vm.seen = false;
    const gone = this.#model.at(from).length === 0 && this.#random.chance(0.5);
    if (gone) {
      this.#world.deletePort(from);
      this.#model.portDeleted(from);
    }
    return `${vm.mac} moves from ${textOf(from)}${gone ? ', which is deleted,' : ''} to ${textOf(vm.place)}`;
  }

  #change(): string | null {
    const vm = this.#anyone((each) => !isProvisioned(each));
    if (vm === undefined) return null;
    this.#touch(vm);
    const old = this.#random.pick([...vm.addresses]);
    const fresh = this.#freeAddresses(this.#random.between(0, 2));
    for (const ip of fresh) vm.addresses.add(ip);
    if (old === undefined || vm.addresses.size === 1) return null;
    vm.addresses.delete(old);
    this.#changedHands.set(old, this.#tick);
    return `${nameOf(vm)} gives ${old} up for ${fresh.join(' ') || 'nothing'}`;
  }

  /** As keepalived does: one host announces the address, and the other no longer does. */
  #takeOver(): string | null {
    // No host gives its last address away: it would have nothing left to announce.
    const rested = (vm: Vm): string[] =>
      vm.addresses.size > 1 ? [...vm.addresses].filter((ip) => this.#isRested(ip)) : [];
    const giver = this.#anyone((each) => !isProvisioned(each) && rested(each).length > 0);
    const taker = this.#anyone((each) => each !== giver);
    const ip = giver && this.#random.pick(rested(giver));
    if (giver === undefined || taker === undefined || ip === undefined) return null;
    this.#touch(giver);
    this.#touch(taker);
    giver.addresses.delete(ip);
    taker.addresses.add(ip);
    this.#changedHands.set(ip, this.#tick);
    return `${nameOf(taker)} takes ${ip} from ${nameOf(giver)}`;
  }

  #newMac(): string | null {
    const isRested = (vm: Vm): boolean => [...vm.addresses].every((ip) => this.#isRested(ip));
    const vm = this.#anyone((each) => !isProvisioned(each) && isRested(each));
    if (vm === undefined) return null;
    const next = this.#add(this.#freshMac(), vm.place, [...vm.addresses]);
    for (const ip of vm.addresses) this.#changedHands.set(ip, this.#tick);
    this.#touch(vm);
    vm.behavior = 'dead';
    vm.addresses.clear();
    return `${nameOf(vm)} has another MAC: ${next.mac}`;
  }

  #fallSilent(): string | null {
    const vm = this.#anyone((each) => each.touched + STEADY_TICKS <= this.#tick);
    if (vm === undefined) return null;
    this.#touch(vm);
    vm.behavior = 'answers';
    return `${nameOf(vm)} falls silent`;
  }

  /** Not before the effect of the silence is certain. */
  #resume(): string | null {
    const silent = [...this.#model.vms.values()].filter(
      ({ behavior, touched }) => behavior === 'answers' && touched < this.#quietTick,
    );
    const vm = this.#random.pick(silent);
    if (vm === undefined) return null;
    this.#touch(vm);
    vm.behavior = 'sends';
    vm.seen = false;
    return `${nameOf(vm)} sends again`;
  }

  /** Two hosts claim one address in turn: often enough for a duplicate, or less often, which does nothing. */
  #contest(): string | null {
    const holds = (vm: Vm): string[] =>
      [...vm.addresses].filter(
        (ip) => this.#isRested(ip) && this.#model.holder(vm.place.node, ip) === vm.mac,
      );
    const owner = this.#anyone((each) => !isProvisioned(each) && holds(each).length > 0);
    const other = this.#anyone((each) => each !== owner && each.place.node === owner?.place.node);
    const ip = owner && this.#random.pick(holds(owner));
    if (owner === undefined || other === undefined || ip === undefined) return null;
    this.#touch(owner);
    this.#touch(other);
    const { moves, holdMs } = this.#duplicates;
    const claims = this.#contests.draw();
    for (let turn = 0; turn < claims; turn++) {
      this.#announcements.push({ vm: turn % 2 === 0 ? other : owner, ip, contest: true });
    }
    this.#changedHands.set(ip, this.#tick);
    if (claims >= moves) this.#model.contested(owner.place.node, ip, performance.now() + holdMs);
    return `${nameOf(other)} and ${nameOf(owner)} contest ${ip}: ${claims} claims`;
  }

  /** A host claims a provisioned address. */
  #impersonate(): string | null {
    const vm = this.#anyone((each) => !isProvisioned(each));
    const ip = this.#random.pick([...STATICS.keys()]);
    if (vm === undefined || ip === undefined) return null;
    this.#announcements.push({ vm, ip, contest: false });
    return `${nameOf(vm)} claims ${ip}`;
  }

  #flap(): string | null {
    const node = this.#random.below(2);
    const port = this.#random.pick(this.#model.ports(node));
    if (port === undefined) return null;
    this.#world.flapPort({ node, port });
    return `${textOf({ node, port })} goes down and up`;
  }
}

function announcementsOf({ place, mac, addresses }: Vm): Announcement[] {
  return [...addresses].map((ip) => ({ place, mac, ip }));
}

function isProvisioned({ mac }: Vm): boolean {
  return [...STATICS.values()].includes(mac);
}

function textOf({ node, port }: Place): string {
  return `n${node + 1}/${port}`;
}

function nameOf({ mac, place }: Vm): string {
  return `${mac} at ${textOf(place)}`;
}
