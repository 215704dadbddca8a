// The required neighbor tables, derived only from the events at the hosts by the rules of the README. Pure.

/** A host sends all the time, answers when it is probed, or neither. */
export type Behavior = 'sends' | 'answers' | 'dead';

export interface Place {
  /** 0 or 1. */
  readonly node: number;
  readonly port: string;
}

export interface Vm {
  readonly mac: string;
  readonly addresses: Set<string>;
  place: Place;
  behavior: Behavior;
  /** Tick of the latest event at this host. */
  touched: number;
  /** True once a port that was attached for sure has seen everything that it sends from where it is. */
  seen: boolean;
}

/** The choices for a node, which hold for a whole soak. */
export interface NodeRules {
  /** True where silent hosts are probed. */
  readonly probes: boolean;
  /** Provisioned addresses and their hosts. */
  readonly statics: ReadonlyMap<string, string>;
  /** Addresses with an entry of another owner: never ours. */
  readonly ofOthers: ReadonlySet<string>;
}

/**
 * Neighbors that must exist, and those that may exist until everything has been quiet for long enough. No others may
 * exist.
 */
export interface Expectation {
  readonly must: ReadonlyMap<string, string>;
  readonly may: ReadonlyMap<string, ReadonlySet<string>>;
}

/** The last claim of an address that a node has accepted. */
interface Claim {
  mac: string;
  port: string;
  /** Until then it is frozen as a duplicate. */
  frozenUntilMs: number;
  /** Since it was frozen: its claimants, for the end of the freeze is not known to the millisecond. */
  readonly claimants: Set<string>;
  /** True when the test cannot know whether it has outlived a time in which the host was not seen. */
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
  /** Announced in this tick on a port that may not have been attached yet. */
  readonly unsure = new Map<string, Set<string>>();

  constructor(rules: NodeRules) {
    this.rules = rules;
  }

  see(mac: string, port: string, ip: string): void {
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

  /** True where a node still has the host for an address that it has given up. */
  hasGhosts(vm: Vm): boolean {
    return this.#nodes.some(({ claims }) =>
      [...claims].some(([ip, { mac }]) => mac === vm.mac && !vm.addresses.has(ip)),
    );
  }

  /** True when some node has a claim of the address, of any host. */
  isClaimed(ip: string): boolean {
    return this.#nodes.some(({ claims }) => claims.has(ip));
  }

  /** True when the address was contested since the last quiet time. */
  isContested(ip: string): boolean {
    return this.#nodes.some(({ claims }) => (claims.get(ip)?.frozenUntilMs ?? 0) > 0);
  }

  /** The MAC that a node has for an address. */
  holder(node: number, ip: string): string | undefined {
    return this.#node(node).claims.get(ip)?.mac;
  }

  // Events.

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

  /** A host announces an address. */
  announced(vm: Vm, ip: string): void {
    this.#node(vm.place.node).see(vm.mac, vm.place.port, ip);
  }

  /** Two hosts have claimed an address in turn so often that it counts as a duplicate; it is its holder's again. */
  contested(node: number, ip: string, frozenUntilMs: number): void {
    const claim = this.#node(node).claims.get(ip);
    if (claim === undefined) throw new Error(`no host had ${ip} before the contest`);
    claim.frozenUntilMs = frozenUntilMs;
    claim.claimants.add(claim.mac);
  }

  /** Hosts were unseen for so long that addresses that are no longer announced may have been forgotten. */
  wasLate(): void {
    for (const { claims } of this.#nodes) {
      for (const [ip, claim] of claims) {
        if (this.vms.get(claim.mac)?.addresses.has(ip) !== true) claim.doubtful = true;
      }
    }
  }

  /** It was quiet for so long that all ages, hold times and owner checks are over. */
  quieted(): void {
    for (const [mac, vm] of this.vms) if (vm.behavior === 'dead') this.vms.delete(mac);
    for (const [at, { claims }] of this.#nodes.entries()) {
      for (const [ip, claim] of claims) {
        if (this.#lives(at, ip, claim) === 'no') claims.delete(ip);
        claim.frozenUntilMs = 0;
        claim.claimants.clear();
      }
    }
  }

  // Consequences.

  /** Addresses of the bindings that a node must have after a quiet time, and of those that it may have. */
  boundIps(node: number): { readonly must: ReadonlySet<string>; readonly may: ReadonlySet<string> } {
    const alive = [...this.#node(node).claims].filter(([ip, claim]) => this.#lives(node, ip, claim) !== 'no');
    const ipsOf = (doubtful: boolean): string[] =>
      alive.flatMap(([ip, claim]) => (claim.doubtful === doubtful ? [ip] : []));
    return { must: new Set(ipsOf(false)), may: new Set(ipsOf(true)) };
  }

  /** The neighbors of a node after a run; `quiet`: after a quiet time. */
  expect(node: number, nowMs: number, quiet: boolean): Expectation {
    const { claims, unsure, rules } = this.#node(node);
    const must = new Map<string, string>();
    const may = new Map<string, Set<string>>();
    for (const [ip, mac] of rules.statics) {
      // Once installed it stays, even while the host is silent.
      if (this.vms.get(mac)?.place.node === node) must.set(ip, mac);
    }
    for (const [ip, claim] of claims) {
      if (rules.ofOthers.has(ip)) continue;
      if (claim.frozenUntilMs > 0 && !quiet) {
        if (nowMs > claim.frozenUntilMs - FREEZE_SLACK_MS) may.set(ip, new Set(claim.claimants));
        continue;
      }
      const lives = this.#lives(node, ip, claim);
      if (claim.doubtful && lives !== 'no') addTo(may, ip, claim.mac);
      else if (lives === 'yes' || (lives === 'if probed' && quiet)) must.set(ip, claim.mac);
      else if (!quiet && this.vms.get(claim.mac)?.place.node === node) addTo(may, ip, claim.mac);
    }
    for (const [ip, macs] of unsure) {
      if (rules.ofOthers.has(ip)) continue;
      const known = must.get(ip);
      must.delete(ip);
      for (const mac of known === undefined ? macs : [known, ...macs]) addTo(may, ip, mac);
    }
    return { must, may };
  }

  /**
   * Whether a claim is good for a neighbor: the host is on that node, behind that port, and is seen with that very
   * address, by itself or when it is probed. A host that has given an address up keeps it where probes are off, as
   * long as the host is seen at all.
   */
  #lives(node: number, ip: string, claim: Claim): 'yes' | 'if probed' | 'no' {
    const vm = this.vms.get(claim.mac);
    if (vm === undefined || vm.place.node !== node || vm.place.port !== claim.port) return 'no';
    const { probes } = this.#node(node).rules;
    const owns = vm.addresses.has(ip);
    switch (vm.behavior) {
      case 'sends':
        return owns || !probes ? 'yes' : 'no';
      case 'answers':
        return owns && probes ? 'if probed' : 'no';
      case 'dead':
        return 'no';
      default:
        return vm.behavior satisfies never;
    }
  }
}

/** The differences between a neighbor table and the required one; empty when there are none. */
export function differences(found: ReadonlyMap<string, string>, { must, may }: Expectation): string[] {
  const missing = [...must].flatMap(([ip, mac]) =>
    found.get(ip) === mac ? [] : [`${ip} must be ${mac}, and is ${found.get(ip) ?? 'missing'}`],
  );
  const extra = [...found].flatMap(([ip, mac]) =>
    must.has(ip) || may.get(ip)?.has(mac) === true ? [] : [`${ip} is ${mac}, and must be missing`],
  );
  return [...missing, ...extra];
}

function addTo(sets: Map<string, Set<string>>, key: string, value: string): void {
  const set = sets.get(key);
  if (set === undefined) sets.set(key, new Set([value]));
  else set.add(value);
}
