// Values of pinned maps that no program writes: records are decoded or rejected, and never read past their end.
import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { type IfIndex, type IpAddress, type Mac, parsePrefix } from '../../src/base/address.ts';
import { SnoopyError } from '../../src/base/errors.ts';
import { type Binding, bindingCodec } from '../../src/datapath/records/binding.ts';
import { bindingKeyCodec } from '../../src/datapath/records/binding-key.ts';
import { decodeChange } from '../../src/datapath/records/change.ts';
import { type Hint, hintCodec, hintKeyCodec } from '../../src/datapath/records/hint.ts';
import { layoutCodec } from '../../src/datapath/records/layout.ts';
import {
  encodeVlans,
  ifIndexCodec,
  type PortPolicy,
  portPolicyCodec,
  portStateCodec,
} from '../../src/datapath/records/port.ts';
import { prefixKeyCodec, prefixRuleCodec } from '../../src/datapath/records/prefix-rule.ts';
import { probeCodec } from '../../src/datapath/records/probe.ts';
import { type SeenHint, seenHintCodec, seenHintKeyCodec } from '../../src/datapath/records/seen-hint.ts';
import { staticKeyCodec, staticRuleCodec } from '../../src/datapath/records/static-rule.ts';
import {
  BINDING,
  BINDING_KEY,
  CHANGE,
  HINT,
  HINT_KEY,
  LAYOUT,
  MAPS,
  PORT,
  PORT_STATE,
  PREFIX_KEY,
  PROBE,
  SEEN_HINT,
  SEEN_HINT_KEY,
  STATIC_KEY,
} from '../../src/generated/layouts.ts';
import { decodeEntry, keyBytes, valueBytes } from '../lib/records.ts';
import { anyBytes, check } from './property.ts';

const BINDING_ID = [bindingKeyCodec, BINDING_KEY.size] as const;
const BINDINGS = [bindingCodec, BINDING.size] as const;
const POLICIES = [portPolicyCodec, PORT.size] as const;
const STATES = [portStateCodec, PORT_STATE.size] as const;
const PREFIX_KEYS = [prefixKeyCodec, PREFIX_KEY.size] as const;
const PREFIXES = [prefixRuleCodec, MAPS.prefixes.valueSize] as const;
const STATIC_KEYS = [staticKeyCodec, STATIC_KEY.size] as const;
const STATICS = [staticRuleCodec, MAPS.statics.valueSize] as const;
const PROBES = [probeCodec, PROBE.size] as const;
const SEEN_HINT_KEYS = [seenHintKeyCodec, SEEN_HINT_KEY.size] as const;
const SEEN_HINTS = [seenHintCodec, SEEN_HINT.size] as const;
const HINT_KEYS = [hintKeyCodec, HINT_KEY.size] as const;
const HINTS = [hintCodec, HINT.size] as const;
const LAYOUTS = [layoutCodec, LAYOUT.size] as const;
const NONE = new Uint8Array(0);

/** The documented error for a malformed record. */
function isRefusal(thrown: unknown): boolean {
  return thrown instanceof SnoopyError && thrown.code === 'malformed';
}

/** The result of `read`, or undefined when it rejects. Any other exception fails the test. */
function readOrRefuse<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (thrown) {
    if (!isRefusal(thrown)) throw thrown;
    return undefined;
  }
}

const uint32 = fc.nat({ max: 0xffff_ffff });
const ifIndex = uint32.map((value) => value as IfIndex);
const mac = fc
  .uint8Array({ minLength: 6, maxLength: 6 })
  .map((bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(':') as Mac);
const ipv4 = fc.ipV4().map((text) => text as IpAddress);
const ip = fc.oneof(
  ipv4,
  fc.ipV6().map((text) => (parsePrefix(`${text}/128`)?.ip ?? '::') as IpAddress),
);
const vlan = fc.nat(0xffff);
/** Whole milliseconds, as user space writes them, up to 285 years. */
const ms = fc.nat({ max: 9_000_000_000_000 });

it('any bytes as a record of the ring are a change or are rejected', () => {
  const kinds = new Set<string>();
  check(anyBytes(2 * CHANGE.size), 20_000, (bytes) => {
    const change = readOrRefuse(() => decodeChange(bytes, 0));
    if (change === undefined) return;
    assert.ok(bytes.length >= CHANGE.size);
    kinds.add(change.kind);
  });
  // Extremes of the few fields for which a change is rejected.
  const field = fc.constantFrom(0, 1, 2, 3, 4, 10, 0x0200, 0xffff_ffff);
  check(fc.tuple(field, field, fc.nat(CHANGE.size + 8)), 5_000, ([kind, family, length]) => {
    const bytes = new Uint8Array(length);
    const data = new DataView(bytes.buffer);
    if (length >= 4) data.setUint32(0, kind, true);
    if (length >= 32) data.setUint16(30, family & 0xffff, true);
    const change = readOrRefuse(() => decodeChange(bytes, 0));
    const isGood = length >= CHANGE.size && kind >= 1 && kind <= 4 && [2, 10].includes(family & 0xffff);
    assert.equal(change !== undefined, isGood);
    if (change !== undefined) kinds.add(change.kind);
  });
  assert.deepEqual([...kinds].sort(), ['duplicate', 'hint', 'move', 'new']);
});

it('any bytes as entries of a map are decoded or rejected', () => {
  const readers: readonly ((keys: Uint8Array, values: Uint8Array) => unknown)[] = [
    (keys, values) => decodeEntry(BINDINGS, keys, values),
    (keys, values) => decodeEntry(PROBES, keys, values),
    (keys, values) => decodeEntry(SEEN_HINTS, keys, values),
    (keys, values) => decodeEntry(HINTS, keys, values),
    (keys, values) => decodeEntry(PREFIXES, keys, values),
    (keys, values) => decodeEntry(STATICS, keys, values),
    (keys) => bindingKeyCodec.decode(keys, 0),
    (keys) => ifIndexCodec.decode(keys, 0),
    (keys, values) => decodeEntry(POLICIES, keys, values),
    (keys, values) => decodeEntry(STATES, keys, values),
    (keys, values) => decodeEntry(LAYOUTS, keys, values),
  ];
  check(fc.tuple(anyBytes(80), anyBytes(PORT.size + 8)), 5_000, ([keys, values]) => {
    for (const read of readers) readOrRefuse(() => read(keys, values));
  });
});

it('a record that lacks the last byte of its fields is rejected', () => {
  const cut = (size: number): Uint8Array => {
    const bytes = new Uint8Array(size - 1);
    // AF_INET6, whose addresses are the longest, in every place of a family.
    return bytes.map((_, at) => (at % 2 === 0 ? 10 : 0));
  };
  const whole = cut(1024);
  // A kind of hint that exists, where each of the two structures has it.
  const hintBytes = cut(1024);
  hintBytes[SEEN_HINT.kind] = 1;
  hintBytes[HINT.kind] = 1;
  const reads: readonly (() => unknown)[] = [
    () => decodeEntry(BINDINGS, cut(BINDING_KEY.size), whole),
    () => decodeEntry(BINDINGS, whole, cut(BINDING.pad2)),
    () => decodeEntry(PROBES, whole, cut(PROBE.size)),
    () => decodeEntry(SEEN_HINTS, cut(SEEN_HINT_KEY.size), hintBytes),
    () => decodeEntry(SEEN_HINTS, whole, hintBytes.subarray(0, SEEN_HINT.size - 1)),
    () => decodeEntry(HINTS, cut(HINT_KEY.pad), hintBytes),
    () => decodeEntry(HINTS, whole, hintBytes.subarray(0, HINT.size - 1)),
    () => decodeEntry(PREFIXES, cut(PREFIX_KEY.size), whole),
    () => decodeEntry(STATICS, cut(STATIC_KEY.pad), whole),
    () => decodeEntry(POLICIES, NONE, cut(PORT.size)),
    () => decodeEntry(STATES, NONE, cut(PORT_STATE.hintNextNs)),
    () => decodeEntry(LAYOUTS, NONE, cut(LAYOUT.size)),
    () => decodeChange(cut(CHANGE.size), 0),
  ];
  for (const [i, read] of reads.entries()) assert.throws(read, isRefusal, `reader ${i}`);
});

it('an encoded binding decodes to the same binding', () => {
  const binding: fc.Arbitrary<Binding> = fc.record({
    bridge: ifIndex,
    vlan,
    ip,
    mac,
    router: fc.boolean(),
    port: ifIndex,
    moves: fc.constant(0),
    firstSeenMs: ms,
    lastSeenMs: ms,
    windowMs: fc.constant(0),
    frozenUntilMs: ms,
    owner: fc.constant(null),
  });
  check(binding, 5_000, (one) => {
    const found = decodeEntry(BINDINGS, keyBytes(BINDING_ID, one), valueBytes(BINDINGS, one));
    // Nanoseconds above 2^53 are rounded to the nearest number.
    for (const key of ['firstSeenMs', 'lastSeenMs', 'frozenUntilMs'] as const) {
      assert.ok(Math.abs(found[key] - one[key]) < 0.01, key);
    }
    const { firstSeenMs, lastSeenMs, frozenUntilMs } = found;
    assert.deepEqual({ ...one, firstSeenMs, lastSeenMs, frozenUntilMs }, found);
  });
});

it('encoded policies, rules, probes, indexes and layouts decode to the same values', () => {
  const policy: fc.Arbitrary<PortPolicy> = fc.record({
    bridge: ifIndex,
    pvid: vlan,
    learn: fc.nat(15),
    linkLocal: fc.boolean(),
    ownsQdisc: fc.boolean(),
    maxBindings: uint32,
    newIntervalNs: uint32,
    newBurst: uint32,
    duplicateMoves: uint32,
    duplicateWindowMs: fc.nat({ max: 9_000_000 }),
    duplicateHoldMs: fc.nat({ max: 9_000_000 }),
    released: fc.integer({ min: -Number.MAX_SAFE_INTEGER, max: Number.MAX_SAFE_INTEGER }),
    reported: fc.nat({ max: Number.MAX_SAFE_INTEGER }),
    vlans: fc.option(
      fc
        .array(
          fc.tuple(fc.nat(4095), fc.nat(100)).map(([start, more]) => ({
            start,
            end: Math.min(4095, start + more),
          })),
          { maxLength: 5 },
        )
        .map(encodeVlans),
    ),
  });
  check(policy, 2_000, (one) => {
    const found = decodeEntry(POLICIES, NONE, valueBytes(POLICIES, one));
    assert.deepEqual(found, { ...one });
  });
  const prefix = fc.tuple(ip, fc.nat(128)).map(([address, bits]) => {
    const most = address.includes(':') ? 128 : 32;
    const found = parsePrefix(`${address}/${Math.min(bits, most)}`);
    assert.ok(found !== undefined);
    return found;
  });
  check(fc.tuple(ifIndex, vlan, fc.option(prefix), fc.boolean()), 2_000, ([bridge, id, of, allow]) => {
    const rule = { bridge, vlan: of === null ? 0 : id, prefix: of, allow };
    assert.deepEqual(decodeEntry(PREFIXES, keyBytes(PREFIX_KEYS, rule), valueBytes(PREFIXES, rule)), rule);
  });
  check(fc.tuple(ifIndex, vlan, ip, fc.option(mac)), 2_000, ([bridge, id, address, who]) => {
    const rule = { bridge, vlan: id, ip: address, mac: who === '00:00:00:00:00:00' ? null : who };
    assert.deepEqual(decodeEntry(STATICS, keyBytes(STATIC_KEYS, rule), valueBytes(STATICS, rule)), rule);
    const decided = who === null || who === '00:00:00:00:00:00' ? null : { mac: who, atMs: 23_456 };
    const probe = { bridge, vlan: id, ip: address, lastMs: 12_345, count: bridge, decided };
    assert.deepEqual(decodeEntry(PROBES, keyBytes(BINDING_ID, probe), valueBytes(PROBES, probe)), probe);
    assert.equal(ifIndexCodec.decode(keyBytes([ifIndexCodec, 4], bridge), 0), bridge);
  });
  const hint: fc.Arbitrary<Hint> = fc.record({
    bridge: ifIndex,
    vlan,
    ip,
    mac,
    kind: fc.constantFrom<Hint['kind']>(
      'solicitation',
      'unnamed',
      'anycast',
      'tentative',
      'rate',
      'fabric',
      'ended',
    ),
    probes: fc.nat(255),
    seenMs: fc.nat({ max: 9_000_000 }),
    probedMs: fc.nat({ max: 9_000_000 }),
  });
  check(hint, 2_000, (one) => {
    assert.deepEqual(decodeEntry(HINTS, keyBytes(HINT_KEYS, one), valueBytes(HINTS, one)), { ...one });
  });
  const seenHint: fc.Arbitrary<SeenHint> = fc.record({
    port: ifIndex,
    slot: fc.nat(127),
    bridge: ifIndex,
    vlan,
    ip,
    mac,
    kind: fc.constantFrom<SeenHint['kind']>('solicitation', 'unnamed', 'anycast', 'tentative', 'rate'),
    probes: fc.nat(255),
    seenMs: fc.nat({ max: 9_000_000 }),
    probedMs: fc.nat({ max: 9_000_000 }),
  });
  check(seenHint, 2_000, (one) => {
    assert.deepEqual(decodeEntry(SEEN_HINTS, keyBytes(SEEN_HINT_KEYS, one), valueBytes(SEEN_HINTS, one)), {
      ...one,
    });
  });
  const digest = fc
    .uint8Array({ minLength: 32, maxLength: 32 })
    .map((bytes) => Buffer.from(bytes).toString('hex'));
  check(fc.tuple(uint32, uint32, digest), 1_000, ([abi, netns, hex]) => {
    const layout = { abi, netns, digest: hex };
    assert.deepEqual(decodeEntry(LAYOUTS, NONE, valueBytes(LAYOUTS, layout)), layout);
  });
});
