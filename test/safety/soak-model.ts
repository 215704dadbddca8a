// What the neighbor tables must be, from nothing but what was done to the hosts: the rules of the README, pure.

/** A host talks all the time, answers when it is asked, or neither. */
export type Voice = 'talks' | 'answers' | 'dead';

export interface Place {
  /** 0 or 1. */
  readonly node: number;
  readonly port: string;
}

export interface Vm {
  readonly mac: string;
  readonly addresses: Set<string>;
  place: Place;
  voice: Voice;
  /** Tick of the last thing that was done to it. */
  touched: number;
  /** True once a port that was attached for sure has heard all it says from where it is. */
  heard: boolean;
}

/** What was decided for a node, once and for all of a soak. */
export interface NodeRules {
  /** True where silent hosts are asked. */
  readonly probes: boolean;
  /** Provisioned addresses, and whose they are. */
  readonly statics: ReadonlyMap<string, string>;
  /** Addresses with an entry of somebody else: never ours. */
  readonly foreign: ReadonlySet<string>;
}

/** Neighbors that must be there, and those that may be there until things have settled. All others must not. */
export interface Expectation {
  readonly must: ReadonlyMap<string, string>;
  readonly may: ReadonlyMap<string, ReadonlySet<string>>;
}

/** The last claim of an address that a node has believed. */
interface Claim {
  mac: string;
  port: string;
  /** Until then it is frozen as a duplicate. */
  frozenUntilMs: number;
  /** Since it was frozen: those who have claimed it, for the end of that is not known to the millisecond. */
  readonly claimants: Set<string>;
  /** True when nobody can say whether it has outlived a time in which the host was not heard. */
  doubtful: boolean;
}

/** How exactly the test knows when a freeze has ended. */
const FREEZE_SLACK_MS = 1_000;

class NodeModel {
  readonly rules: NodeRules;
  readonly ports = new Set<string>();
  /** Ports on which a run has surely been. */
  readonly attached = new Set<string>();
  readonly claims = new Map<string, Claim>();
  /** Said on a port that may not have been attached yet, in this tick. */
  readonly unsure = new Map<string, Set<string>>();

  constructor(rules: NodeRules) {
    this.rules = rules;
  }

  hear(mac: string, port: string, ip: string): void {
    const owner = this.rules.statics.get(ip);
    if (owner !== undefined) return;
    if (!this.attached.has(port)) {
      addTo(this.unsure, ip, mac);
      return;
    }
    const claim = this.claims.get(ip);
    if (claim === undefined) {
      this.claims.set(ip, { mac, port, frozenUntilMs: 0, claimants: new Set(), doubtful: false });
      return;
    }
    if (claim.frozenUntilMs > 0) claim.claimants.add(mac);
    claim.mac = mac;
    claim.port = port;
    claim.doubtful = false;
  }
}

/** Two nodes, their ports, and the hosts behind them. */
export class Model {
  readonly vms = new Map<string, Vm>();
  readonly #nodes: readonly NodeModel[];

  constructor(rules: readonly NodeRules[]) {
    this.#nodes = rules.map((each) => new NodeModel(each));
  }

  #node(node: number): NodeModel {
    const found = this.#nodes[node];
    if (found === undefined) throw new RangeError(`there is no node ${node}`);
    return found;
  }

  ports(node: number): string[] {
    return [...this.#node(node).ports].sort();
  }

  at({ node, port }: Place): Vm[] {
    return [...this.vms.values()].filter(({ place }) => place.node === node && place.port === port);
  }

  isAttached({ node, port }: Place): boolean {
    return this.#node(node).attached.has(port);
  }

  /** True where a node still believes that the host has an address which it has given up. */
  hasGhosts(vm: Vm): boolean {
    return this.#nodes.some(({ claims }) =>
      [...claims].some(([ip, { mac }]) => mac === vm.mac && !vm.addresses.has(ip)),
    );
  }

  /** True when some node has a claim of the address, of whomever. */
  isClaimed(ip: string): boolean {
    return this.#nodes.some(({ claims }) => claims.has(ip));
  }

  /** True when somebody has fought for the address since things were settled. */
  isDisputed(ip: string): boolean {
    return this.#nodes.some(({ claims }) => (claims.get(ip)?.frozenUntilMs ?? 0) > 0);
  }

  /** The MAC that a node believes to have an address. */
  holder(node: number, ip: string): string | undefined {
    return this.#node(node).claims.get(ip)?.mac;
  }

  // What was done.

  portCreated({ node, port }: Place): void {
    this.#node(node).ports.add(port);
  }

  /** The hosts behind it are gone with it. */
  portDeleted(place: Place): void {
    for (const vm of this.at(place)) this.vms.delete(vm.mac);
    this.#node(place.node).ports.delete(place.port);
    this.#node(place.node).attached.delete(place.port);
  }

  /** A run has been over the whole node. */
  attached(node: number): void {
    for (const port of this.#node(node).ports) this.#node(node).attached.add(port);
  }

  tickBegins(): void {
    for (const { unsure } of this.#nodes) unsure.clear();
  }

  /** A host says that it has an address. */
  said(vm: Vm, ip: string): void {
    this.#node(vm.place.node).hear(vm.mac, vm.place.port, ip);
  }

  /** Two hosts have claimed an address in turn so often that it counts as a duplicate; it is its holder's again. */
  fought(node: number, ip: string, frozenUntilMs: number): void {
    const claim = this.#node(node).claims.get(ip);
    if (claim === undefined) throw new Error(`nobody had ${ip} before the fight`);
    claim.frozenUntilMs = frozenUntilMs;
    claim.claimants.add(claim.mac);
  }

  /** Hosts were not heard for so long that what nobody says any more may have been forgotten. */
  wasLate(): void {
    for (const { claims } of this.#nodes) {
      for (const [ip, claim] of claims) {
        if (this.vms.get(claim.mac)?.addresses.has(ip) !== true) claim.doubtful = true;
      }
    }
  }

  /** So much time has passed in peace that all ages, hold times and questions are over. */
  settled(): void {
    for (const [mac, vm] of this.vms) if (vm.voice === 'dead') this.vms.delete(mac);
    for (const [at, { claims }] of this.#nodes.entries()) {
      for (const [ip, claim] of claims) {
        if (this.#lives(at, ip, claim) === 'no') claims.delete(ip);
        claim.frozenUntilMs = 0;
        claim.claimants.clear();
      }
    }
  }

  // What follows from it.

  /** Addresses of the bindings that a node must have once things have settled, and of those that it may have. */
  boundIps(node: number): { readonly must: ReadonlySet<string>; readonly may: ReadonlySet<string> } {
    const alive = [...this.#node(node).claims].filter(([ip, claim]) => this.#lives(node, ip, claim) !== 'no');
    const ipsOf = (doubtful: boolean): string[] =>
      alive.flatMap(([ip, claim]) => (claim.doubtful === doubtful ? [ip] : []));
    return { must: new Set(ipsOf(false)), may: new Set(ipsOf(true)) };
  }

  /** The neighbors of a node after a run; `settled`: after a time of peace. */
  expect(node: number, nowMs: number, settled: boolean): Expectation {
    const { claims, unsure, rules } = this.#node(node);
    const must = new Map<string, string>();
    const may = new Map<string, Set<string>>();
    for (const [ip, mac] of rules.statics) {
      // Once it was there it stays, even while the host is silent.
      if (this.vms.get(mac)?.place.node === node) must.set(ip, mac);
    }
    for (const [ip, claim] of claims) {
      if (rules.foreign.has(ip)) continue;
      if (claim.frozenUntilMs > 0 && !settled) {
        if (nowMs > claim.frozenUntilMs - FREEZE_SLACK_MS) may.set(ip, new Set(claim.claimants));
        continue;
      }
      const lives = this.#lives(node, ip, claim);
      if (claim.doubtful && lives !== 'no') addTo(may, ip, claim.mac);
      else if (lives === 'yes' || (lives === 'if asked' && settled)) must.set(ip, claim.mac);
      else if (!settled && this.vms.get(claim.mac)?.place.node === node) addTo(may, ip, claim.mac);
    }
    for (const [ip, macs] of unsure) {
      if (rules.foreign.has(ip)) continue;
      const known = must.get(ip);
      must.delete(ip);
      for (const mac of known === undefined ? macs : [known, ...macs]) addTo(may, ip, mac);
    }
    return { must, may };
  }

  /**
   * Whether a claim is good for a neighbor: the host is on that node, behind that port, and gives signs of life
   * for that very address, of itself or when it is asked. A host that has given an address up keeps it where
   * nobody asks, as long as it is heard of at all.
   */
  #lives(node: number, ip: string, claim: Claim): 'yes' | 'if asked' | 'no' {
    const vm = this.vms.get(claim.mac);
    if (vm === undefined || vm.place.node !== node || vm.place.port !== claim.port) return 'no';
    const { probes } = this.#node(node).rules;
    const owns = vm.addresses.has(ip);
    switch (vm.voice) {
      case 'talks':
        return owns || !probes ? 'yes' : 'no';
      case 'answers':
        return owns && probes ? 'if asked' : 'no';
      case 'dead':
        return 'no';
      default:
        return vm.voice satisfies never;
    }
  }
}

/** In what a neighbor table differs from what is expected of it; empty when it does not. */
export function differences(found: ReadonlyMap<string, string>, { must, may }: Expectation): string[] {
  const missing = [...must].flatMap(([ip, mac]) =>
    found.get(ip) === mac ? [] : [`${ip} must be ${mac}, and is ${found.get(ip) ?? 'not there'}`],
  );
  const extra = [...found].flatMap(([ip, mac]) =>
    must.has(ip) || may.get(ip)?.has(mac) === true ? [] : [`${ip} is ${mac}, and must not be there`],
  );
  return [...missing, ...extra];
}

function addTo(sets: Map<string, Set<string>>, key: string, value: string): void {
  const set = sets.get(key);
  if (set === undefined) sets.set(key, new Set([value]));
  else set.add(value);
}
