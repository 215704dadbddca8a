// The records that the eBPF program and user space share: bpf/snoopy.h in TypeScript (same ABI number).

import {
  AF_INET,
  AF_INET6,
  decodeIp,
  decodeMac,
  encodeMac,
  type Family,
  familyOf,
  type IfIndex,
  type IpAddress,
  type Mac,
  type Prefix,
  writeIp,
} from '../base/address.ts';
import { SnoopyError } from '../base/errors.ts';

export const SNOOPY_ABI = 2;

export const SNOOPY_LEARN_ARP_REQUEST = 1 << 0;
export const SNOOPY_LEARN_ARP_REPLY = 1 << 1;
export const SNOOPY_LEARN_NA = 1 << 2;
export const SNOOPY_LEARN_NS = 1 << 3;

/** First word of struct snoopy_change. */
export const SNOOPY_CHANGE_NEW = 1;

const SNOOPY_PORT_LINK_LOCAL = 1 << 0;
const SNOOPY_PORT_OWNS_CLSACT = 1 << 1;
const SNOOPY_PORT_VLAN_AWARE = 1 << 2;
const SNOOPY_BINDING_ROUTER = 1 << 0;

/** Sizes of the structures in bytes, as asserted in snoopy.h. */
export const SIZE = {
  bindingKey: 24,
  binding: 64,
  ifIndex: 4,
  port: 560,
  vlans: 512,
  portState: 32,
  prefixKey: 28,
  staticKey: 32,
  change: 56,
  probe: 16,
  rejection: 48,
  layout: 48,
  counter: 8,
} as const;

/** Size of struct snoopy_binding in ABI 1: none is smaller, and a later version only adds to its end. */
export const FIRST_BINDING_SIZE = 48;

/** Offsets of times in struct snoopy_binding. */
export const BINDING_TIMES = { lastSeen: 24, frozenUntil: 40 } as const;

/** Where an address lives: a bridge and a VLAN of it. */
export interface BindingKey {
  readonly bridge: IfIndex;
  /** 0: untagged on a port without a PVID. */
  readonly vlan: number;
  readonly ip: IpAddress;
}

/** A key as text, for maps and sets. */
export function bindingId({ bridge, vlan, ip }: BindingKey): string {
  return `${bridge} ${vlan} ${ip}`;
}

/** struct snoopy_binding with its key. Times are CLOCK_MONOTONIC in milliseconds. */
export interface Binding extends BindingKey {
  readonly mac: Mac;
  readonly router: boolean;
  /** The port that spoke last. */
  readonly port: IfIndex;
  /** Changes of the MAC within the current window (RFC 9161, section 3.7). */
  readonly moves: number;
  readonly firstSeenMs: number;
  readonly lastSeenMs: number;
  /** Start of the window in which moves are counted; 0: no move yet. */
  readonly windowMs: number;
  /** 0: not frozen. */
  readonly frozenUntilMs: number;
  /** Who had it when that window began; null: not known. */
  readonly owner: { readonly mac: Mac; readonly port: IfIndex } | null;
}

/** struct snoopy_port: how a port is learned from. */
export interface PortPolicy {
  readonly bridge: IfIndex;
  /** 0: none. */
  readonly pvid: number;
  /** SNOOPY_LEARN_* bits. */
  readonly learn: number;
  readonly linkLocal: boolean;
  /** True when snoopy made the clsact qdisc of the port, and so may delete it. */
  readonly ownsClsact: boolean;
  readonly maxBindings: number;
  readonly newIntervalNs: number;
  readonly newBurst: number;
  readonly duplicateMoves: number;
  readonly duplicateWindowMs: number;
  readonly duplicateHoldMs: number;
  /** Bindings of this port deleted by user space, ever (modulo 2^64, signed). */
  readonly released: number;
  /** The VLANs the port is in, a bit each; null on a bridge that is not VLAN-aware. */
  readonly vlans: Uint8Array | null;
}

/** struct snoopy_port_state: what the program counts for a port. */
export interface PortState {
  readonly gained: number;
  readonly lost: number;
  readonly limited: number;
}

/** An entry of the prefixes trie: a whole bridge (`prefix` null), or a prefix in one VLAN of it. */
export interface PrefixRule {
  readonly bridge: IfIndex;
  readonly vlan: number;
  readonly prefix: Prefix | null;
  readonly allow: boolean;
}

/** An entry of the statics map: that an address is provisioned (`mac` null), or a MAC that may have it. */
export interface StaticRule extends BindingKey {
  readonly mac: Mac | null;
}

/** struct snoopy_change: a record of the ring. */
export interface Change extends BindingKey {
  readonly kind: 'new' | 'move' | 'duplicate';
  readonly port: IfIndex;
  readonly oldPort: IfIndex | 0;
  readonly mac: Mac;
  readonly oldMac: Mac;
}

/** struct snoopy_probe: what a silent host was asked. */
export interface ProbeState {
  /** CLOCK_MONOTONIC in milliseconds. */
  readonly lastMs: number;
  /** Probes since the host was heard. */
  readonly count: number;
}

/** struct snoopy_rejection: the last message about an address that was rejected, or ignored. */
export interface Rejection extends BindingKey {
  readonly reason: RejectionReason;
  /** The port that it came in by. */
  readonly port: IfIndex;
  /** Its Ethernet source. */
  readonly source: Mac;
  /** The MAC that it says the address has; null: it was not read so far. */
  readonly claimed: Mac | null;
  /** Rejected messages since `firstMs`, for any reason. */
  readonly count: number;
  /** CLOCK_MONOTONIC in milliseconds. */
  readonly firstMs: number;
  readonly lastMs: number;
}

/** struct snoopy_layout: what is pinned. */
export interface Layout {
  readonly abi: number;
  /** Inode of the network namespace. */
  readonly netns: number;
  /** SHA-256 of the object in hex; only zeroes when the load did not finish. */
  readonly digest: string;
}

/** Names of the counters by index: SNOOPY_COUNTER_* in lower case. */
export const COUNTERS = [
  'sightings',
  'ignored',
  'ring_dropped',
  'created',
  'moved',
  'duplicates',
  'vlan',
  'truncated',
  'arp_header',
  'spoofed',
  'mac',
  'ip',
  'link_local',
  'fragment',
  'hop_limit',
  'checksum',
  'nd_header',
  'nd_option',
  'override',
  'subnet',
  'static',
  'frozen',
  'port_limit',
  'rate_limit',
  'table_full',
] as const;

export type CounterName = (typeof COUNTERS)[number];

/** Counters of messages that are believed, or of what these did. */
type Believed = 'sightings' | 'ring_dropped' | 'created' | 'moved' | 'duplicates';

/** Why a message is not believed. */
export type RejectionReason = Exclude<CounterName, Believed>;

/** The first counter that names a reason for rejecting a message; all after it do too. */
export const FIRST_REASON = COUNTERS.indexOf('vlan');

const NO_MAC = '00:00:00:00:00:00' as Mac;
const NS_PER_MS = 1e6;
const TWO_32 = 2 ** 32;

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** A __u64 as a number: exact below 2^53, nearest above. */
function readU64(data: DataView, offset: number): number {
  return data.getUint32(offset + 4, true) * TWO_32 + data.getUint32(offset, true);
}

function readNsAsMs(data: DataView, offset: number): number {
  return readU64(data, offset) / NS_PER_MS;
}

function writeMsAsNs(data: DataView, offset: number, ms: number): void {
  data.setBigUint64(offset, BigInt(Math.floor(ms)) * 1_000_000n, true);
}

function readFamily(data: DataView, offset: number, what: string): Family {
  const family = data.getUint16(offset, true);
  if (family === AF_INET || family === AF_INET6) return family;
  throw new SnoopyError(
    'malformed',
    what,
    `A record of ${what} has the address family ${family}, not 2 or 10`,
  );
}

/** The key at `offset`. Throws RangeError when it is cut short, SnoopyError `malformed` for a wrong family. */
function decodeBindingKey(bytes: Uint8Array, data: DataView, offset: number, what: string): BindingKey {
  return {
    bridge: data.getUint32(offset, true) as IfIndex,
    vlan: data.getUint16(offset + 4, true),
    ip: decodeIp(bytes, offset + 8, readFamily(data, offset + 6, what)),
  };
}

function writeBindingKey(key: BindingKey, bytes: Uint8Array, offset: number): void {
  const data = view(bytes);
  data.setUint32(offset, key.bridge, true);
  data.setUint16(offset + 4, key.vlan, true);
  data.setUint16(offset + 6, familyOf(key.ip), true);
  writeIp(key.ip, bytes, offset + 8);
}

/** struct snoopy_binding_key as bytes. */
export function encodeBindingKey(key: BindingKey): Uint8Array {
  const bytes = new Uint8Array(SIZE.bindingKey);
  writeBindingKey(key, bytes, 0);
  return bytes;
}

/**
 * All bindings of a map that was read as one buffer of keys and one of values. Throws RangeError when they are cut
 * short, SnoopyError `malformed` for a wrong family.
 */
export function decodeBindings(keys: Uint8Array, values: Uint8Array, count: number): Binding[] {
  if (values.length < count * SIZE.binding) throw new RangeError('The bindings are cut short');
  const keyData = view(keys);
  const data = view(values);
  const bindings: Binding[] = [];
  for (let i = 0; i < count; i++) {
    const key = i * SIZE.bindingKey;
    const at = i * SIZE.binding;
    // Field by field: to spread the key would make each object by way of a dictionary.
    bindings.push({
      bridge: keyData.getUint32(key, true) as IfIndex,
      vlan: keyData.getUint16(key + 4, true),
      ip: decodeIp(keys, key + 8, readFamily(keyData, key + 6, 'bindings')),
      mac: decodeMac(values, at),
      router: (data.getUint8(at + 6) & SNOOPY_BINDING_ROUTER) !== 0,
      moves: data.getUint8(at + 7),
      port: data.getUint32(at + 8, true) as IfIndex,
      firstSeenMs: readNsAsMs(data, at + 16),
      lastSeenMs: readNsAsMs(data, at + 24),
      windowMs: readNsAsMs(data, at + 32),
      frozenUntilMs: readNsAsMs(data, at + 40),
      owner: decodeOwner(values, data, at + 48),
    });
  }
  return bindings;
}

/**
 * Whether a binding was heard, or frozen, since it was read; `value` is its entry now, of any version. A claim that
 * freezes it does not count as seeing the host.
 */
export function isHeardSince(value: Uint8Array, { lastSeenMs, frozenUntilMs }: Binding): boolean {
  const data = view(value);
  const { lastSeen, frozenUntil } = BINDING_TIMES;
  return readNsAsMs(data, lastSeen) > lastSeenMs || readNsAsMs(data, frozenUntil) > frozenUntilMs;
}

/** owner_mac and owner_port of struct snoopy_binding. */
function decodeOwner(values: Uint8Array, data: DataView, offset: number): Binding['owner'] {
  if (data.getUint32(offset, true) === 0 && data.getUint16(offset + 4, true) === 0) return null;
  return { mac: decodeMac(values, offset), port: data.getUint32(offset + 8, true) as IfIndex };
}

/** struct snoopy_binding as bytes; the window of moves begins anew. */
export function encodeBinding(binding: Binding): Uint8Array {
  const bytes = new Uint8Array(SIZE.binding);
  const data = view(bytes);
  encodeMac(binding.mac, bytes, 0);
  data.setUint8(6, binding.router ? SNOOPY_BINDING_ROUTER : 0);
  data.setUint32(8, binding.port, true);
  writeMsAsNs(data, 16, binding.firstSeenMs);
  writeMsAsNs(data, 24, binding.lastSeenMs);
  writeMsAsNs(data, 40, binding.frozenUntilMs);
  return bytes;
}

/** A set of VLAN IDs as snoopy_port.vlans has it: on a little-endian machine bit v % 8 of byte v / 8. */
export function encodeVlans(ranges: readonly { readonly start: number; readonly end: number }[]): Uint8Array {
  const bits = new Uint8Array(SIZE.vlans);
  for (const { start, end } of ranges) {
    for (let vlan = start; vlan <= end; vlan++) bits[vlan >> 3] = (bits[vlan >> 3] ?? 0) | (1 << (vlan & 7));
  }
  return bits;
}

export function encodePortPolicy(policy: PortPolicy): Uint8Array {
  const bytes = new Uint8Array(SIZE.port);
  const data = view(bytes);
  data.setUint32(0, policy.bridge, true);
  data.setUint16(4, policy.pvid, true);
  data.setUint8(6, policy.learn);
  data.setUint8(
    7,
    (policy.linkLocal ? SNOOPY_PORT_LINK_LOCAL : 0) |
      (policy.ownsClsact ? SNOOPY_PORT_OWNS_CLSACT : 0) |
      (policy.vlans === null ? 0 : SNOOPY_PORT_VLAN_AWARE),
  );
  data.setUint32(8, policy.maxBindings, true);
  data.setUint32(12, policy.newIntervalNs, true);
  data.setUint32(16, policy.newBurst, true);
  data.setUint32(20, policy.duplicateMoves, true);
  writeMsAsNs(data, 24, policy.duplicateWindowMs);
  writeMsAsNs(data, 32, policy.duplicateHoldMs);
  data.setBigInt64(40, BigInt(policy.released), true);
  if (policy.vlans !== null) bytes.set(policy.vlans, 48);
  return bytes;
}

/** The policy at `offset`. Throws RangeError when it is cut short. */
export function decodePortPolicy(bytes: Uint8Array, offset: number): PortPolicy {
  const data = view(bytes);
  const flags = data.getUint8(offset + 7);
  return {
    bridge: data.getUint32(offset, true) as IfIndex,
    pvid: data.getUint16(offset + 4, true),
    learn: data.getUint8(offset + 6),
    linkLocal: (flags & SNOOPY_PORT_LINK_LOCAL) !== 0,
    ownsClsact: (flags & SNOOPY_PORT_OWNS_CLSACT) !== 0,
    maxBindings: data.getUint32(offset + 8, true),
    newIntervalNs: data.getUint32(offset + 12, true),
    newBurst: data.getUint32(offset + 16, true),
    duplicateMoves: data.getUint32(offset + 20, true),
    duplicateWindowMs: readNsAsMs(data, offset + 24),
    duplicateHoldMs: readNsAsMs(data, offset + 32),
    released: Number(data.getBigInt64(offset + 40, true)),
    vlans: (flags & SNOOPY_PORT_VLAN_AWARE) === 0 ? null : bytes.slice(offset + 48, offset + 48 + SIZE.vlans),
  };
}

/** The state at `offset`. Throws RangeError when it is cut short. */
export function decodePortState(bytes: Uint8Array, offset: number): PortState {
  const data = view(bytes);
  return {
    gained: readU64(data, offset),
    lost: readU64(data, offset + 8),
    limited: readU64(data, offset + 24),
  };
}

export function encodeIfIndex(ifIndex: IfIndex): Uint8Array {
  const bytes = new Uint8Array(SIZE.ifIndex);
  view(bytes).setUint32(0, ifIndex, true);
  return bytes;
}

export function decodeIfIndex(bytes: Uint8Array, offset: number): IfIndex {
  return view(bytes).getUint32(offset, true) as IfIndex;
}

/** Bits of a prefix key that come before the address: bridge (32), VLAN (16), family (16). */
const DOMAIN_BITS = 64;
const BRIDGE_BITS = 32;

/** struct snoopy_prefix_key. */
export function encodePrefixKey(rule: PrefixRule): Uint8Array {
  const bytes = new Uint8Array(SIZE.prefixKey);
  const data = view(bytes);
  data.setUint32(4, rule.bridge, true);
  if (rule.prefix === null) {
    data.setUint32(0, BRIDGE_BITS, true);
    return bytes;
  }
  data.setUint32(0, DOMAIN_BITS + rule.prefix.length, true);
  writeBindingKey({ bridge: rule.bridge, vlan: rule.vlan, ip: rule.prefix.ip }, bytes, 4);
  return bytes;
}

/** The rule of a trie entry: key at `offset` of `keys`, and its value. */
export function decodePrefixRule(keys: Uint8Array, offset: number, value: number | undefined): PrefixRule {
  const data = view(keys);
  const bits = data.getUint32(offset, true);
  const allow = value === 1;
  if (bits === BRIDGE_BITS) {
    return { bridge: data.getUint32(offset + 4, true) as IfIndex, vlan: 0, prefix: null, allow };
  }
  const { bridge, vlan, ip } = decodeBindingKey(keys, data, offset + 4, 'prefixes');
  return { bridge, vlan, prefix: { ip, length: bits - DOMAIN_BITS }, allow };
}

/** struct snoopy_static_key. */
export function encodeStaticKey(rule: StaticRule): Uint8Array {
  const bytes = new Uint8Array(SIZE.staticKey);
  writeBindingKey(rule, bytes, 0);
  if (rule.mac !== null) encodeMac(rule.mac, bytes, SIZE.bindingKey);
  return bytes;
}

/** The rule at `offset`. Throws RangeError when it is cut short. */
export function decodeStaticRule(bytes: Uint8Array, offset: number): StaticRule {
  const mac = decodeMac(bytes, offset + SIZE.bindingKey);
  return {
    ...decodeBindingKey(bytes, view(bytes), offset, 'statics'),
    mac: mac === NO_MAC ? null : mac,
  };
}

/** A record of the ring. Throws SnoopyError `malformed` when it is none of ours. */
export function decodeChange(bytes: Uint8Array): Change {
  if (bytes.length < SIZE.change) {
    throw new SnoopyError(
      'malformed',
      'changes',
      `A ring record has ${bytes.length} bytes, not ${SIZE.change}`,
    );
  }
  const data = view(bytes);
  return {
    kind: decodeChangeKind(data.getUint32(0, true)),
    port: data.getUint32(4, true) as IfIndex,
    oldPort: data.getUint32(8, true) as IfIndex,
    mac: decodeMac(bytes, 12),
    oldMac: decodeMac(bytes, 18),
    ...decodeBindingKey(bytes, data, 24, 'changes'),
  };
}

function decodeChangeKind(kind: number): Change['kind'] {
  switch (kind) {
    case SNOOPY_CHANGE_NEW:
      return 'new';
    case 2:
      return 'move';
    case 3:
      return 'duplicate';
    default:
      throw new SnoopyError('malformed', 'changes', `A ring record has the kind ${kind}, not 1 to 3`);
  }
}

/** The probes map, by bindingId. */
export function decodeProbes(keys: Uint8Array, values: Uint8Array, count: number): Map<string, ProbeState> {
  const keyData = view(keys);
  const data = view(values);
  const probes = new Map<string, ProbeState>();
  for (let i = 0; i < count; i++) {
    const key = decodeBindingKey(keys, keyData, i * SIZE.bindingKey, 'probes');
    const at = i * SIZE.probe;
    probes.set(bindingId(key), { lastMs: readNsAsMs(data, at), count: data.getUint32(at + 8, true) });
  }
  return probes;
}

export function encodeProbe(state: ProbeState): Uint8Array {
  const bytes = new Uint8Array(SIZE.probe);
  const data = view(bytes);
  writeMsAsNs(data, 0, state.lastMs);
  data.setUint32(8, state.count, true);
  return bytes;
}

/** The map of rejections. Throws SnoopyError `malformed` for a wrong family, or for what is no reason. */
export function decodeRejections(keys: Uint8Array, values: Uint8Array, count: number): Rejection[] {
  const keyData = view(keys);
  const data = view(values);
  return Array.from({ length: count }, (_, i): Rejection => {
    const at = i * SIZE.rejection;
    const claimed = decodeMac(values, at + 14);
    return {
      ...decodeBindingKey(keys, keyData, i * SIZE.bindingKey, 'rejections'),
      reason: decodeReason(data.getUint32(at, true)),
      port: data.getUint32(at + 4, true) as IfIndex,
      source: decodeMac(values, at + 8),
      claimed: claimed === NO_MAC ? null : claimed,
      count: readU64(data, at + 24),
      firstMs: readNsAsMs(data, at + 32),
      lastMs: readNsAsMs(data, at + 40),
    };
  });
}

function isReason(name: CounterName): name is RejectionReason {
  return name === 'ignored' || COUNTERS.indexOf(name) >= FIRST_REASON;
}

function decodeReason(index: number): RejectionReason {
  const name = COUNTERS[index];
  if (name !== undefined && isReason(name)) return name;
  throw new SnoopyError('malformed', 'rejections', `A record of rejections has the reason ${index}`);
}

const NO_DIGEST = '0'.repeat(64);

export function encodeLayout(layout: Layout): Uint8Array {
  const bytes = new Uint8Array(SIZE.layout);
  const data = view(bytes);
  data.setUint32(0, layout.abi, true);
  data.setBigUint64(8, BigInt(layout.netns), true);
  bytes.set(Buffer.from(layout.digest, 'hex'), 16);
  return bytes;
}

/** Throws RangeError when the record is cut short. */
export function decodeLayout(bytes: Uint8Array): Layout {
  const data = view(bytes);
  return {
    abi: data.getUint32(0, true),
    netns: readU64(data, 8),
    digest: Buffer.from(bytes.subarray(16, SIZE.layout)).toString('hex'),
  };
}

/** True when the load that wrote this record came to its end. */
export function isComplete(layout: Layout): boolean {
  return layout.digest !== NO_DIGEST;
}

/** A layout record that says: a load is under way. */
export function unfinishedLayout(netns: number): Layout {
  return { abi: SNOOPY_ABI, netns, digest: NO_DIGEST };
}
