// The words of `explain`: a table for each step. A row takes the data that the step found.

import type { IpAddress, Mac } from '../../base/address.ts';
import { some } from '../../base/text.ts';
import { formatAge, formatDuration } from '../../base/units.ts';
import { makeVlanDevice } from '../doctor/wording-routes.ts';
import type { NeighborEntry } from '../report.ts';
import type { Complaint } from './complaint.ts';
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
  otherOwner: ok(() => 'never on a local port; an entry of another owner serves it'),
  never: wrong(() => 'never on a local port', letItSend),
  rejected: wrong(
    ({ count, lastAge, port, source, because }: RefusedReport) => {
      const often = count === 1 ? 'one message, rejected,' : `${count} messages, all rejected, the last`;
      return `${often} ${formatAge(lastAge)} ago on ${port} from ${source}: ${because}`;
    },
    ({ remedy }) => remedy,
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
  noPrefix: ({ device }: { readonly device: string }) =>
    `any address is learned, because ${device} has none of that family`,
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
  otherPort: ok(describeOtherPort),
  wrongPort: wrong(describeOtherPort, ({ bridge, mac }) => `${showFdb({ bridge, mac })}; see "ports"`),
  tunnel: ok(describeTunnel),
  movedToTunnel: wrong((entry: FdbEntry) => `${describeTunnel(entry)}: the host is at another node`, showFdb),
  nowhere: ok(describeNowhere),
  lost: wrong((entry: LostEntry) => `${describeNowhere(entry)}: the host is silent or gone`, letItSend),
};

function describeLocal({ bridge, mac, port, age }: LocalEntry): string {
  return `${bridge} forwards ${mac} to ${port}${describeSeenAge(age)}`;
}

function describeOtherPort({ bridge, mac, age }: FdbEntry): string {
  return `${bridge} forwards ${mac} to a port that is not learned from${describeSeenAge(age)}`;
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
  unanswered: wrong(
    ({ found }: Found & Address) => `${found}: the node sent requests, and no host answered`,
    letItSend,
  ),
  missing: wrong(describeReason, null),
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

interface Vni {
  readonly vni: number;
}

export const ZEBRA = {
  absent: unknown(
    () => 'vtysh is not installed here: FRR was not checked',
    () => 'apt install frr',
  ),
  silent: wrong(
    ({ message }: { readonly message: string }) => message,
    () => 'systemctl status frr; systemctl restart frr',
  ),
  noMac: unknown(({ vni }: Vni) => `VNI ${vni}: the MAC is not known`),
  active: ok(({ vni }: Vni) => `VNI ${vni}: local, active`),
  activeAndMarked: ok(
    ({ vni, found }: Vni & Complaint) => `VNI ${vni}: local; ${found}`,
    ({ fix }) => fix,
  ),
  blocked: wrong(
    ({ found }: Complaint) => found,
    ({ fix }) => fix,
  ),
  blockedInVni: wrong(
    ({ vni, found }: Vni & Complaint) => `VNI ${vni}: ${found}`,
    ({ fix }) => fix,
  ),
  remote: ok(
    ({ vni, node }: Vni & { readonly node: string | null }) =>
      `VNI ${vni}: learned from ${node ?? 'another node'}`,
  ),
  noNode: wrong(({ vni }: Vni & Address) => `VNI ${vni}: no node advertises it`, showArpCache),
  ownThoughRemote: wrong(
    ({ vni }: Vni & Address) => `VNI ${vni}: local, though the host is not here`,
    showArpCache,
  ),
};

function showArpCache({ vni, ip }: Vni & Address): string {
  return `vtysh -c "show evpn arp-cache vni ${vni} ip ${ip}"`;
}

interface RouteKey extends Vni, Address {
  readonly mac: Mac | null;
  /** What doctor finds wrong. */
  readonly complaint?: Complaint | undefined;
}

export const ROUTE = {
  sent: ok(({ peers }: { readonly peers: readonly string[] }) => `best path, sent to ${some(peers)}`),
  unsent: wrong(
    ({ complaint }: RouteKey) => withComplaint('best path, sent to no peer', complaint),
    fixRoute,
  ),
  none: wrong(({ complaint }: RouteKey) => withComplaint('bgpd has no route', complaint), fixRoute),
  otherIsBetter: wrong(
    ({ node, complaint }: RouteKey & { readonly node: string | null }) =>
      withComplaint(`the route of ${node ?? 'another node'} is better`, complaint),
    fixRoute,
  ),
  remote: ok(({ node }: { readonly node: string | null }) => `best path to ${node ?? 'another node'}`),
  ownThoughRemote: wrong((_: RouteKey) => "the node's own, though the host is not here", fixRoute),
};

function withComplaint(found: string, complaint: Complaint | undefined): string {
  return complaint === undefined ? found : `${found}: ${complaint.found}`;
}

function fixRoute({ vni, mac, ip, complaint }: RouteKey): string {
  return complaint?.fix ?? `vtysh -c "show bgp l2vpn evpn route vni ${vni} mac ${mac} ip ${ip}"`;
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
  unknown: (subject: Subject) =>
    `${nameSubject(subject)} has its neighbor; whether FRR advertises it is unknown`,
  advertised: ({
    vni,
    mac,
    port,
    peers,
    ...subject
  }: Subject & {
    readonly vni: number | null;
    readonly mac: Mac | null;
    readonly port: string | null;
    readonly peers: number;
  }) => {
    const to = peers === 1 ? '1 peer' : `${peers} peers`;
    return `${nameSubject(subject)} is advertised by this node: VNI ${vni}, ${mac} on ${port}, to ${to}`;
  },
};

function nameSubject({ ip, bridge, vlan }: Subject): string {
  return `${ip} on ${bridge}${vlan === 0 ? '' : ` VLAN ${vlan}`}`;
}

function describeLack(state: StoryState, step: StepId): string {
  if (state === 'remote' && step === 'heard') return 'has moved here, and is not learned yet';
  if (state === 'remote') return 'is at another node, and has no route';
  if (state === 'refused') return 'is not learned';
  if (state === 'hinted') return 'is not learned yet';
  return step === 'route' ? 'is not advertised' : 'has no route';
}

/** Why the messages of a family are ignored. */
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
