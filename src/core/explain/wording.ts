// The words of `explain`: a table for each step. A row takes the data that the step found.

import type { IpAddress, Mac } from '../../base/address.ts';
import { some } from '../../base/text.ts';
import { formatAge, formatDuration } from '../../base/units.ts';
import { makeVlanDevice } from '../doctor/wording-routes.ts';
import type { NeighborEntry } from '../report.ts';
import { ok, unknown, wrong } from './finding.ts';
import { describeHint, getItProbed, letItSend } from './hint-wording.ts';
import type { RefusedReport, StepId, StoryState } from './report.ts';

interface Address {
  readonly ip: IpAddress;
}

interface Seen {
  readonly port: string;
  readonly mac: Mac;
  readonly firstAge: number;
  readonly lastAge: number;
  readonly moves: number;
  /** True when the address is static, but not for that MAC. */
  readonly isOtherThanStatic: boolean;
}

interface Frozen extends Address {
  readonly frozenSeconds: number;
  readonly owner: { readonly mac: Mac; readonly port: string } | null;
}

export const SEEN = {
  seen: ok(describeSeen),
  withoutProgram: ok(
    (seen: Seen) => `${describeSeen(seen)}; ${seen.port} has no program now, and no further message is seen`,
    () => 'snoopy reconcile',
  ),
  static: ok(() => 'not yet; a static entry needs no message of its host'),
  remote: ok(() => 'on no local port: the host is at another node'),
  proxied: ok(() => 'not by this node: the host sends through another node of its Ethernet segment'),
  otherOwner: ok(() => 'never on a local port; an entry of another owner serves it'),
  reserved: ok(() => 'never on a local port: no host here may have it'),
  never: wrong(() => 'never on a local port', letItSend),
  rejected: wrong(
    ({ count, lastAge, port, source, because }: RefusedReport) => {
      const often = count === 1 ? 'one message, rejected,' : `${count} messages, all rejected, the last`;
      return `${often} ${formatAge(lastAge)} ago on ${port} from ${source}: ${because}`;
    },
    ({ remedy }) => remedy,
  ),
  excluded: wrong(
    ({ mac, ...port }: { readonly mac: Mac } & ExcludedPort) => `${mac} is on ${describeExcluded(port)}`,
    includePort,
  ),
  arrived: wrong(describeHint, getItProbed),
  hinted: wrong(describeHint, getItProbed),
  frozen: wrong(
    ({ frozenSeconds, owner }: Frozen) => {
      const before = owner === null ? '' : ` (before: ${owner.mac} on ${owner.port})`;
      return `frozen for ${formatAge(frozenSeconds)} more because its MAC changed too often${before}: two hosts use it`;
    },
    ({ ip }) =>
      `find both hosts by their MACs and change the address of one; then: snoopy reconcile --unfreeze ${ip}`,
  ),
};

/** A local port that `ports` leaves out. */
interface ExcludedPort {
  readonly port: string;
  /** False: no glob of `ports.include` matches it. */
  readonly isExcluded: boolean;
}

function describeExcluded({ port, isExcluded }: ExcludedPort): string {
  return `${port}, which "ports" ${isExcluded ? 'excludes' : 'does not include'}`;
}

/** How to learn from a port that `ports` leaves out. */
export function includePort({ port, isExcluded }: ExcludedPort): string {
  const change = isExcluded ? `take ${port} out of ports.exclude` : `add ${port} to ports.include`;
  return `${change} if its hosts belong to this node; then: snoopy reconcile`;
}

function describeSeen({ port, mac, firstAge, lastAge, moves, isOtherThanStatic }: Seen): string {
  const times = moves === 1 ? 'once' : `${moves} times`;
  return [
    `on ${port} from ${mac}, first ${formatAge(firstAge)}, last ${formatAge(lastAge)} ago`,
    ...(moves === 0 ? [] : [`its MAC changed ${times} recently`]),
    ...(isOtherThanStatic ? ['the static entry has another MAC'] : []),
  ].join('; ');
}

export const RULE = {
  unconfigured: wrong(
    ({ bridge }: { readonly bridge: string }) => `${bridge} is not in the configuration`,
    () => 'add it under "bridges", or do nothing: the next run deletes what was learned there',
  ),
  static: ok(({ macs }: { readonly macs: readonly Mac[] }) => `static, for ${macs.join(', ')}`),
  ending: wrong(
    ({ because }: { readonly because: string; readonly fix: string }) =>
      `the next run ends the binding: ${because}`,
    ({ fix }) => fix,
  ),
  reserved: wrong(describeReserved, () => "none needed if the address is the node's"),
  reservedClaimed: wrong(
    (_: { readonly mac: Mac }) => describeReserved(),
    ({ mac }) => `find the host ${mac}, which claims it`,
  ),
  remote: ok(() => 'no rule applies: the host is at another node'),
  unfit: wrong(
    ({ unfit }: { readonly unfit: string }) => `${unfit}: it is not learned`,
    () => 'see "subnets" and "link_local"',
  ),
  allowed: ok(({ allowed }: { readonly allowed: string }) => allowed),
  allowedWhileSeen: ok(
    ({ allowed, maxAgeMs }: { readonly allowed: string; readonly maxAgeMs: number | null }) =>
      maxAgeMs === null
        ? allowed
        : `${allowed}; the binding ends after ${formatDuration(maxAgeMs)} without a message`,
  ),
};

function describeReserved(): string {
  return "the node's own address, or a broadcast address of its prefixes: not learned";
}

interface Prefixes {
  readonly prefixes: readonly string[];
}

/** Why an address may be learned. */
export const ALLOWED = {
  linkLocal: () => 'link-local, which is learned here',
  everything: () => 'any address is learned, by "subnets"',
  noPrefix: ({ device, ip }: Address & { readonly device: string }) => {
    const family = ip.includes(':') ? 'IPv6' : 'IPv4';
    return `any ${family} address is learned: ${device} has no ${family} address of its own ("subnets: auto")`;
  },
  connected: ({ prefixes, device }: Prefixes & { readonly device: string }) =>
    `within ${some(prefixes, 3)} of ${device}`,
  listed: ({ prefixes }: Prefixes) => `within ${some(prefixes, 3)} of "subnets"`,
};

/** What to do so that the next run keeps an address. */
export const ENDING_FIXES = {
  noPort: ({ bridge }: { readonly bridge: string }) =>
    `bridge link show master ${bridge}; see "ports"; the host is learned again when it sends ARP or ND`,
  noVlan: ({ port, vlan }: { readonly port: string; readonly vlan: number }) =>
    `bridge vlan add dev ${port} vid ${vlan}`,
  unfit: () => 'see "subnets" and "link_local", and the address of the host',
  silent: letItSend,
};

interface FdbEntry extends Address {
  readonly bridge: string;
  readonly mac: Mac;
  /** Seconds since the bridge saw the MAC. */
  readonly age: number | null;
}

interface LocalEntry extends FdbEntry {
  readonly port: string;
}

interface LostEntry extends FdbEntry {
  /** Null on a bridge that is not VLAN-aware. */
  readonly vlan: number | null;
}

export const BRIDGE = {
  noMac: unknown(() => 'the MAC is not known'),
  local: ok(describeLocal),
  twoNodes: wrong(
    (entry: LocalEntry & { readonly otherMac: Mac | null }) =>
      `${describeLocal(entry)}, and another node has the address with ${entry.otherMac ?? 'another MAC'}`,
    (entry) =>
      `if the host moved here, ${letItSend(entry)}; otherwise two hosts have the address: change that of one`,
  ),
  twoPorts: wrong(
    (entry: LocalEntry & { readonly seenOn: string }) =>
      `${describeLocal(entry)}, and ${entry.ip} was seen on ${entry.seenOn}`,
    ({ mac }) => `find out where ${mac} is: two ports have it, or the host moved and has been silent since`,
  ),
  inactive: ok(describeInactive),
  silent: wrong((entry: LocalEntry) => `${describeInactive(entry)}: the host is silent or gone`, letItSend),
  otherPort: ok(describeOtherPort),
  wrongPort: wrong(describeOtherPort, includePort),
  tunnel: ok(describeTunnel),
  movedToTunnel: wrong((entry: FdbEntry) => `${describeTunnel(entry)}: the host is at another node`, showFdb),
  nowhere: ok(describeNowhere),
  down: wrong(
    ({ name }: { readonly name: string }) => `${name} is down: it forwards nothing`,
    ({ name }) => `ip link set ${name} up`,
  ),
  outOfBridge: wrong(
    ({ bridge, port }: { readonly bridge: string; readonly port: string }) =>
      `${port} is not a port of ${bridge} now`,
    ({ bridge, port }) => `ip link set ${port} master ${bridge}`,
  ),
  lost: wrong((entry: LostEntry) => `${describeNowhere(entry)}: the host is silent or gone`, letItSend),
};

function describeLocal({ bridge, mac, port, age }: LocalEntry): string {
  return `${bridge} forwards ${mac} to ${port}${describeSeenAge(age)}`;
}

/** EVPN multihoming: zebra keeps the entry. */
function describeInactive({ bridge, mac, port, age }: LocalEntry): string {
  return `${bridge} keeps ${mac} on ${port}, an Ethernet segment, and has seen nothing of it${age === null ? '' : ` for ${formatAge(age)}`}`;
}

function describeOtherPort({ bridge, mac, age, ...port }: FdbEntry & ExcludedPort): string {
  return `${bridge} forwards ${mac} to ${describeExcluded(port)}${describeSeenAge(age)}`;
}

function describeTunnel({ bridge, mac }: FdbEntry): string {
  return `${bridge} forwards ${mac} into the tunnel`;
}

function describeNowhere({ bridge, mac, vlan }: LostEntry): string {
  return `${bridge} does not know ${mac}${vlan === null ? '' : ` in VLAN ${vlan}`} now`;
}

function describeSeenAge(age: number | null): string {
  return age === null ? '' : `, seen ${formatAge(age)} ago`;
}

function showFdb({ bridge, mac }: Pick<FdbEntry, 'bridge' | 'mac'>): string {
  return `bridge fdb show br ${bridge} | grep ${mac}`;
}

interface Found {
  readonly found: string;
}

export const NEIGHBOR = {
  noDevice: wrong(
    ({ bridge, vlan }: { readonly bridge: string; readonly vlan: number }) =>
      `no device for VLAN ${vlan} above ${bridge}: the neighbor cannot be written`,
    makeVlanDevice,
  ),
  due: wrong(
    ({ found, because }: Found & { readonly because: string }) =>
      `${found}; the next run writes it${because === 'new' ? '' : ` (${because})`}`,
    () => 'snoopy reconcile; is the timer running?',
  ),
  there: ok(({ found }: Found) => found),
  notAdvertised: wrong(
    ({ found }: Found & Address & { readonly mac: Mac | null }) => `${found}: no node advertises the address`,
    ({ ip, mac }) => `snoopy explain ${ip} on the node that has ${mac ?? 'the MAC'}`,
  ),
  ended: wrong(({ found }: Found) => found, null),
  ending: wrong(({ found }: Found) => `${found}; the next run removes it`, null),
  none: wrong(({ found }: Found & Address) => found, letItSend),
  unanswered: wrong(
    ({ found }: Found & Address) => `${found}: the node sent requests, and no host answered`,
    letItSend,
  ),
  missing: wrong(describeReason, null),
  doubtful: wrong((data: Reason & Address) => describeReason(data), letItSend),
  otherEntry: wrong(
    (data: Reason & Address & { readonly device: string }) => describeReason(data),
    ({ ip, device }) => `if it is wrong: ip neigh del ${ip} dev ${device}; snoopy reconcile`,
  ),
};

interface Reason extends Found {
  readonly because: string;
}

function describeReason({ found, because }: Reason): string {
  return because === '' ? found : `${found}: ${because}`;
}

/** Origins of an entry by NDA_PROTOCOL (RTPROT_* of linux/rtnetlink.h). */
const ORIGINS: Readonly<Record<number, string>> = { 0: 'the kernel', 2: 'the kernel', 11: 'zebra' };

interface Entry extends NeighborEntry {
  /** Seconds. */
  readonly age: number;
  readonly isOurs: boolean;
  /** True for an entry that zebra learned from another node; it may have replaced one of snoopy and kept its number. */
  readonly isRemote: boolean;
}

interface EntryOfDevice {
  readonly entry: Entry | null;
  readonly device: string;
  readonly isDue: boolean;
}

/** An entry of the neighbor table in a few words. */
export function describeNeighbor({ entry, device, isDue }: EntryOfDevice): string {
  if (entry === null) return `none on ${device}${isDue ? ' yet' : ''}`;
  const { mac, state, flags, age } = entry;
  const origin = originOf(entry);
  const words = [state, ...flags].join(' ');
  return `${mac === null ? '' : `${mac}, `}${words}, by ${origin} on ${device}, ${formatAge(age)} old`;
}

function originOf({ protocol, isOurs, isRemote }: Entry): string {
  if (isOurs) return 'snoopy';
  return isRemote ? 'zebra' : (ORIGINS[protocol] ?? `protocol ${protocol}`);
}

interface Subject extends Address {
  readonly bridge: string;
  readonly vlan: number;
}

/** The whole story in one sentence. */
export const VERDICT = {
  wrong: (data: Subject & Found & { readonly state: StoryState; readonly step: StepId }) =>
    `${nameSubject(data)} ${describeLack(data.state, data.step)}: ${data.found}`,
  remote: (data: Subject & { readonly mac: Mac | null; readonly node: string | null }) =>
    `${nameSubject(data)} is at another node${data.node === null ? '' : `, ${data.node}`}: ${data.mac}`,
  /** The step has the message and its fault, which may take several lines. */
  rejected: (subject: Subject) => `${nameSubject(subject)} is not learned: its messages are rejected`,
  unanswered: (data: Subject & Found & { readonly state: StoryState }) =>
    `${nameSubject(data)} ${data.state === 'remote' ? 'is at another node' : 'has its neighbor'}; whether FRR has its route is not known: ${data.found}`,
  unknown: (subject: Subject) =>
    `${nameSubject(subject)} has its neighbor; whether FRR advertises it is unknown`,
  advertised: ({
    vni,
    mac,
    port,
    peers,
    isProxy,
    ...subject
  }: Subject & {
    readonly vni: number | null;
    readonly mac: Mac | null;
    readonly port: string | null;
    readonly peers: number;
    /** True: for another node of its Ethernet segment, where the host is active. */
    readonly isProxy: boolean;
  }) => {
    const to = peers === 1 ? '1 peer' : `${peers} peers`;
    const how = isProxy ? ' as a proxy for another node of its Ethernet segment' : '';
    return `${nameSubject(subject)} is advertised by this node${how}: VNI ${vni}, ${mac} on ${port}, to ${to}`;
  },
};

function nameSubject({ ip, bridge, vlan }: Subject): string {
  return `${ip} on ${bridge}${vlan === 0 ? '' : ` VLAN ${vlan}`}`;
}

function describeLack(state: StoryState, step: StepId): string {
  if (state === 'remote' && step === 'heard') return 'has moved here, and is not learned yet';
  if (state === 'remote') return 'is at another node, and has no route';
  if (state === 'hinted') return 'is not learned yet';
  return step === 'route' ? 'is not advertised' : 'has no route';
}

/** Why the messages of a family are ignored. */
export const NO_HOST_ADDRESS = 'no host can have it';

export const UNLEARNED = ({ kinds }: { readonly kinds: readonly string[] }): string =>
  `"learn" has neither ${kinds.join(' nor ')}`;

/** What to do so that an unknown address is learned. */
export const NEXT = {
  noBridge: () => 'name the bridge of the host under "bridges"; then: snoopy reconcile',
  unfit: () =>
    'correct the address of the host, or "subnets" and "learn" of its bridge; then: snoopy reconcile',
  attach: (address: Address) => `snoopy reconcile; then ${letItSend(address)}`,
  send: (address: Address) => `${letItSend(address)}; then: snoopy reconcile`,
};
