// What happens to the hosts of a soak, at random: each step is done to the world and told to the model.
import { Bag, type Random } from '../lib/random.ts';
import type { Model, Place, Vm } from './soak-model.ts';
import type { Speech, World } from './soak-world.ts';

/** Addresses that hosts share among them, few enough to be used again and again. */
export const POOL: readonly string[] = [
  ...Array.from({ length: 60 }, (_, n) => `10.1.0.${n + 1}`),
  ...Array.from({ length: 60 }, (_, n) => `2001:db8:1::${(n + 0x10).toString(16)}`),
];

/** Two provisioned addresses and their hosts, which never go for good. */
export const STATICS: ReadonlyMap<string, string> = new Map([
  ['10.1.9.1', '02:00:00:00:99:01'],
  ['2001:db8:1::901', '02:00:00:00:99:02'],
]);

const MOST_VMS = 24;
const SLOTS = 8;
/** Ticks between two changes of the holder of an address: they are no duplicate's moves then. */
const REST_TICKS = 3;
/** Ticks after which a run has surely seen where a host is. */
const STEADY_TICKS = 4;

export interface Duplicates {
  readonly moves: number;
  readonly holdMs: number;
}

/** What a fabric with FRR allows: there the last claim of an address counts, on whichever node. */
export type Sharing = 'per node' | 'per fabric';

/** Says what it has done; null: nothing, for there was nobody to do it to. */
type Step = () => string | null;

export class Steps {
  readonly #random: Random;
  readonly #world: World;
  readonly #model: Model;
  readonly #duplicates: Duplicates;
  readonly #sharing: Sharing;
  readonly #steps: Bag<Step>;
  /** In how many claims a fight consists. */
  readonly #fights: Bag<number>;
  /** Tick in which an address changed hands last. */
  readonly #changedHands = new Map<string, number>();
  #speeches: { readonly vm: Vm; readonly ip: string; readonly fight: boolean }[] = [];
  #tick = 0;
  #settledTick = 0;
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
      ...often(2, () => this.#fight()),
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
    // Most fights are such that somebody is frozen.
    this.#fights = new Bag(random, [duplicates.moves, duplicates.moves + 2, 2]);
  }

  /** The hosts that are there from the start. */
  begin(): void {
    for (const node of [0, 1]) for (const slot of [1, 2, 3]) this.#plug({ node, port: `tap${slot}` });
    for (const [ip, mac] of STATICS) this.#add(mac, { node: 0, port: 'tap1' }, [ip]);
    for (let count = 0; count < 8; count++) this.#come();
  }

  /** Up to so many steps; returns what was done. */
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

  /** Says what the steps of this tick have left to be said, and lets all hosts that talk say all they are. */
  speak(): void {
    const talking = [...this.#model.vms.values()].filter(({ voice }) => voice === 'talks');
    const answering = [...this.#model.vms.values()].filter(({ voice }) => voice !== 'dead');
    // Before anybody speaks: who has given an address up does not answer for it any more.
    this.#world.setAnswers(answering.flatMap(speechesOf));
    const alive = this.#speeches.filter(({ vm }) => this.#model.vms.has(vm.mac));
    this.#speeches = [];
    this.#world.speak([
      ...alive.map(({ vm, ip }) => ({ place: vm.place, mac: vm.mac, ip })),
      ...talking.flatMap(speechesOf),
    ]);
    for (const { vm, ip, fight } of alive) if (!fight) this.#model.said(vm, ip);
    for (const vm of talking) {
      for (const ip of vm.addresses) this.#model.said(vm, ip);
      vm.heard = this.#model.isAttached(vm.place);
    }
  }

  settled(tick: number): void {
    this.#settledTick = tick;
    this.#model.settled();
  }

  // Choosing

  /** A host that talks, was heard where it is, and to which nothing was done just now. */
  #anyone(fits: (vm: Vm) => boolean = () => true): Vm | undefined {
    const steady = [...this.#model.vms.values()].filter(
      (vm) => vm.voice === 'talks' && vm.heard && vm.touched + 1 < this.#tick && fits(vm),
    );
    return this.#random.pick(steady);
  }

  #freePorts(node: number): string[] {
    const slots = Array.from({ length: SLOTS }, (_, n) => `tap${n + 1}`);
    return slots.filter((port) => !this.#model.ports(node).includes(port));
  }

  /** A port of any node, often a new one; not that of `but`. */
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

  /** Addresses that nobody has; in a fabric none that any node still holds somebody to. */
  #freeAddresses(count: number): string[] {
    const owned = new Set([...this.#model.vms.values()].flatMap(({ addresses }) => [...addresses]));
    const isFree = (ip: string): boolean =>
      !owned.has(ip) && this.#isRested(ip) && (this.#sharing === 'per node' || !this.#model.isClaimed(ip));
    const chosen = this.#random.shuffle(POOL.filter(isFree)).slice(0, count);
    for (const ip of chosen) this.#changedHands.set(ip, this.#tick);
    return chosen;
  }

  /** Who claims an address that was frozen just now is believed or not as the clock will have it. */
  #isRested(ip: string): boolean {
    if (this.#model.isDisputed(ip)) return false;
    return (this.#changedHands.get(ip) ?? Number.NEGATIVE_INFINITY) + REST_TICKS <= this.#tick;
  }

  // Doing

  #add(mac: string, place: Place, ips: readonly string[]): Vm {
    const vm: Vm = { mac, place, addresses: new Set(ips), voice: 'talks', touched: this.#tick, heard: false };
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

  /** Its port stays, and it is not heard of any more. */
  #vanish(): string | null {
    const vm = this.#anyone((each) => !isProvisioned(each));
    if (vm === undefined) return null;
    this.#touch(vm);
    vm.voice = 'dead';
    vm.addresses.clear();
    return `${nameOf(vm)} vanishes`;
  }

  /** A port goes with all who are behind it: but not before a fight is fought, which would end in another way. */
  #unplug(): string | null {
    const fighters = new Set(this.#speeches.flatMap(({ vm, fight }) => (fight ? [vm] : [])));
    const places = [0, 1].flatMap((node) => this.#model.ports(node).map((port) => ({ node, port })));
    const place = this.#random.pick(
      places.filter((each) => !this.#model.at(each).some((vm) => isProvisioned(vm) || fighters.has(vm))),
    );
    if (place === undefined) return null;
    this.#world.deletePort(place);
    this.#model.portDeleted(place);
    return `${textOf(place)} is deleted`;
  }

  #move(): string | null {
    // Where nobody asks, an address that was given up on the way would be believed or not as runs happen to come.
    const vm = this.#anyone((each) => !this.#model.hasGhosts(each));
    if (vm === undefined) return null;
    this.#touch(vm);
    const from = vm.place;
    vm.place = this.#anyPlace(from);
    vm.heard = false;
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

  /** As keepalived does: one says that it has the address now, and the other does not any more. */
  #takeOver(): string | null {
    // Nobody gives his last one away: he would have nothing left to say.
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
    vm.voice = 'dead';
    vm.addresses.clear();
    return `${nameOf(vm)} has another MAC: ${next.mac}`;
  }

  #fallSilent(): string | null {
    const vm = this.#anyone((each) => each.touched + STEADY_TICKS <= this.#tick);
    if (vm === undefined) return null;
    this.#touch(vm);
    vm.voice = 'answers';
    return `${nameOf(vm)} falls silent`;
  }

  /** Not before it is sure what silence has come to. */
  #resume(): string | null {
    const silent = [...this.#model.vms.values()].filter(
      ({ voice, touched }) => voice === 'answers' && touched < this.#settledTick,
    );
    const vm = this.#random.pick(silent);
    if (vm === undefined) return null;
    this.#touch(vm);
    vm.voice = 'talks';
    vm.heard = false;
    return `${nameOf(vm)} speaks again`;
  }

  /** Two hosts claim one address in turn: as often as makes it a duplicate, or less often, which does nothing. */
  #fight(): string | null {
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
    const claims = this.#fights.draw();
    for (let turn = 0; turn < claims; turn++) {
      this.#speeches.push({ vm: turn % 2 === 0 ? other : owner, ip, fight: true });
    }
    this.#changedHands.set(ip, this.#tick);
    if (claims >= moves) this.#model.fought(owner.place.node, ip, performance.now() + holdMs);
    return `${nameOf(other)} and ${nameOf(owner)} fight for ${ip}: ${claims} claims`;
  }

  /** Somebody says that a provisioned address is its own. */
  #impersonate(): string | null {
    const vm = this.#anyone((each) => !isProvisioned(each));
    const ip = this.#random.pick([...STATICS.keys()]);
    if (vm === undefined || ip === undefined) return null;
    this.#speeches.push({ vm, ip, fight: false });
    return `${nameOf(vm)} says that it has ${ip}`;
  }

  #flap(): string | null {
    const node = this.#random.below(2);
    const port = this.#random.pick(this.#model.ports(node));
    if (port === undefined) return null;
    this.#world.flapPort({ node, port });
    return `${textOf({ node, port })} goes down and up`;
  }
}

function speechesOf({ place, mac, addresses }: Vm): Speech[] {
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
