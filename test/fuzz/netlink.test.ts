// Netlink datagrams that no kernel sends: cut short, overlong, nested, damaged. They are decoded or rejected.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { it } from 'node:test';
import fc from 'fast-check';
import type { IfIndex, IpAddress, Mac } from '../../src/base/address.ts';
import { SnoopyError } from '../../src/base/errors.ts';
import { Watchlist } from '../../src/core/watchlist.ts';
import { meaningOf } from '../../src/host/watch.ts';
import { decodeAddress, RTM_NEWADDR } from '../../src/netlink/address.ts';
import { decodeFdbEntry } from '../../src/netlink/fdb.ts';
import { decodeLink, RTM_NEWLINK } from '../../src/netlink/link.ts';
import {
  Attributes,
  decodeMessages,
  encodeMessage,
  type Message,
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
  NLMSG_ERROR,
  PayloadWriter,
} from '../../src/netlink/message.ts';
import { decodeNeighbor, RTM_NEWNEIGH } from '../../src/netlink/neighbor.ts';
import { decodeFailure, failureError } from '../../src/netlink/socket.ts';
import { decodeFilter, decodeQdisc, RTM_NEWQDISC, RTM_NEWTFILTER } from '../../src/netlink/tc.ts';
import { decodePortVlans } from '../../src/netlink/vlan.ts';
import { decodeVlanOptions } from '../../src/netlink/vlan-options.ts';
import { deleteNeighbor, putNeighbor } from '../lib/neighbor-requests.ts';
import { readCase } from '../unit/core/case.ts';
import { outcomeOf } from '../unit/core/outcome.ts';
import { ROOT } from '../unit/golden.ts';
import * as captures from '../unit/netlink/captures.ts';
import { anyBytes, anyDamage, check, damaged } from './property.ts';

const CAPTURES: readonly Uint8Array[] = Object.values(captures);

const { topology, hosts, observed, desired } = readCase(join(ROOT, 'test/unit/core/cases/none'));
const NOTHING_WATCHED = new Watchlist(outcomeOf(topology, hosts));

/** All decoders of a message besides the one for failures. */
const DECODERS: readonly ((message: Message) => unknown)[] = [
  decodeLink,
  decodeAddress,
  decodeNeighbor,
  decodeFdbEntry,
  decodeQdisc,
  decodeFilter,
  decodePortVlans,
  decodeVlanOptions,
  (message) =>
    meaningOf(message, { watchlist: NOTHING_WATCHED, machine: { topology, observed, desired } }, 1),
  // As in the socket: only these messages are decoded as failures.
  (message) => (message.type === NLMSG_ERROR ? decodeFailure(message) : undefined),
];

/** The result; undefined when it is rejected as malformed. Any other exception fails the test. */
function orRefused<T>(decode: () => T): T | undefined {
  try {
    return decode();
  } catch (thrown) {
    if (!(thrown instanceof SnoopyError && thrown.code === 'malformed')) throw thrown;
    assert.match(thrown.message, /^Cannot (decode|read) .{1,120}$/);
    return undefined;
  }
}

/** Decodes a datagram as far as possible; returns the number of messages, or undefined when it is rejected. */
function decodeAll(datagram: Uint8Array): number | undefined {
  const messages = orRefused(() => decodeMessages(datagram));
  for (const message of messages ?? []) for (const decode of DECODERS) orRefused(() => decode(message));
  return messages?.length;
}

it('a datagram cut short at any byte is rejected, or is that many whole messages', () => {
  for (const capture of CAPTURES) {
    const whole = decodeMessages(capture);
    // Where a datagram may end: behind a message, with or without its padding.
    const ends = new Set([0]);
    for (const [i, { payload }] of whole.entries()) {
      const end = payload.byteOffset - capture.byteOffset + payload.length;
      for (let at = end; at <= ((end + 3) & ~3); at++) ends.add(at);
      assert.equal(decodeMessages(capture.subarray(0, end)).length, i + 1);
    }
    for (let length = 0; length < capture.length; length++) {
      assert.equal(decodeAll(new Uint8Array(capture.subarray(0, length))) !== undefined, ends.has(length));
    }
  }
});

it('a message cut short at any byte is decoded up to the cut, or rejected', () => {
  let refused = 0;
  for (const capture of CAPTURES) {
    for (const message of decodeMessages(capture)) {
      for (let length = 0; length < message.payload.length; length++) {
        const short = { ...message, payload: new Uint8Array(message.payload.subarray(0, length)) };
        for (const decode of DECODERS) {
          // A message that is well formed up to here lacks only attributes.
          if (orRefused(() => ({ found: decode(short) })) === undefined) refused++;
        }
      }
    }
  }
  assert.ok(refused > 1000, `${refused} were rejected`);
});

it('damaged datagrams are decoded or rejected', () => {
  let good = 0;
  check(fc.tuple(fc.constantFrom(...CAPTURES), anyDamage), 4_000, ([capture, damage]) => {
    if (decodeAll(damaged(capture, damage)) !== undefined) good++;
  });
  assert.ok(good > 0);
});

const TYPES = [RTM_NEWLINK, RTM_NEWADDR, RTM_NEWNEIGH, RTM_NEWQDISC, RTM_NEWTFILTER, NLMSG_ERROR];
const anyFlags = fc.constantFrom(0, NLM_F_CAPPED, NLM_F_ACK_TLVS, NLM_F_CAPPED | NLM_F_ACK_TLVS, 0xffff);

it('any bytes as a payload of a known type are decoded or rejected', () => {
  check(fc.tuple(fc.constantFrom(...TYPES), anyFlags, anyBytes(120)), 10_000, ([type, flags, payload]) => {
    const message: Message = { type, flags, sequence: 1, portId: 1, payload };
    for (const decode of DECODERS) orRefused(() => decode(message));
  });
});

/** A tree of attributes: of any type, with any bytes, in nests of any depth. */
interface Tree {
  readonly type: number;
  readonly content: Uint8Array | readonly Tree[];
}

const attributeType = fc.oneof(fc.nat(40), fc.nat(0x3fff));
const { tree: anyTree } = fc.letrec<{ tree: Tree }>((tie) => ({
  tree: fc.record({
    type: attributeType,
    content: fc.oneof({ depthSize: 'medium' }, anyBytes(24), fc.array(tie('tree'), { maxLength: 4 })),
  }),
}));

function write(writer: PayloadWriter, { type, content }: Tree): void {
  if (content instanceof Uint8Array) {
    writer.fill(type, content.length, (bytes, offset) => bytes.set(content, offset));
  } else {
    writer.nest(type, () => {
      for (const one of content) write(writer, one);
    });
  }
}

function assertHolds(found: Attributes, expected: readonly Tree[]): void {
  const list = [...found];
  assert.deepEqual(
    list.map(({ type }) => type),
    expected.map(({ type }) => type),
  );
  for (const [i, { type, content }] of expected.entries()) {
    const payload = list[i]?.payload ?? new Uint8Array();
    if (content instanceof Uint8Array) assert.deepEqual([...payload], [...content]);
    else assertHolds(new Attributes(payload, 0), content);
    assert.equal(found.has(type), true);
  }
}

it('attributes of any type decode to what was encoded, including unknown and repeated ones', () => {
  check(fc.tuple(fc.nat(5), fc.array(anyTree, { maxLength: 6 })), 1_500, ([header, trees]) => {
    const writer = new PayloadWriter(8);
    writer.structure(header * 4);
    for (const one of trees) write(writer, one);
    const payload = new Uint8Array(writer.finish());
    assertHolds(new Attributes(payload, header * 4), trees);
    // One byte more than a nest that ends with its message: too long, so it is rejected.
    const last = trees.at(-1);
    if (last === undefined || !(last.content instanceof Uint8Array)) return;
    const start = payload.length - ((4 + last.content.length + 3) & ~3);
    const view = new DataView(payload.buffer);
    for (const length of [0, 3, payload.length - start + 1, 0xffff]) {
      view.setUint16(start, length, true);
      assert.equal(
        orRefused(() => new Attributes(payload, header * 4)),
        undefined,
        `length ${length}`,
      );
    }
  });
});

it('nests that contain themselves to the last byte are decoded in finite time', () => {
  const depth = 8_000;
  const bytes = new Uint8Array(depth * 4);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < depth; i++) {
    view.setUint16(i * 4, Math.min(0xffff, bytes.length - i * 4), true);
    view.setUint16(i * 4 + 2, 18, true);
  }
  const message: Message = { type: RTM_NEWLINK, flags: 0, sequence: 1, portId: 1, payload: bytes };
  for (const decode of DECODERS) orRefused(() => decode(message));
  let nest: Attributes | undefined = new Attributes(bytes, 0);
  let levels = 0;
  for (; nest !== undefined; nest = nest.nested(18)) levels++;
  assert.equal(levels, depth + 1);
});

it('messages in one datagram decode to what was encoded', () => {
  const message = fc.record({
    type: fc.nat(0xffff),
    flags: fc.nat(0xffff),
    sequence: fc.nat({ max: 0xffff_ffff }),
    payload: anyBytes(40),
  });
  check(fc.array(message, { maxLength: 6 }), 2_000, (messages) => {
    const datagram = new Uint8Array(messages.length * 60);
    let end = 0;
    for (const { type, flags, sequence, payload } of messages) {
      end = encodeMessage({ type, flags: 0, payload }, flags, sequence, datagram, end);
    }
    const found = decodeMessages(datagram.subarray(0, end));
    assert.deepEqual(
      found.map(({ type, flags, sequence, payload }) => [type, flags, sequence, ...payload]),
      messages.map(({ type, flags, sequence, payload }) => [type, flags, sequence, ...payload]),
    );
  });
});

const hex = fc.nat(255).map((byte) => byte.toString(16).padStart(2, '0'));
const anyMac = fc.array(hex, { minLength: 6, maxLength: 6 }).map((parts) => parts.join(':') as Mac);
const anyIp = fc.oneof(
  fc.ipV4().map((text) => text as IpAddress),
  // Groups that are never zero have only one spelling.
  fc
    .array(fc.integer({ min: 1, max: 0xffff }), { minLength: 8, maxLength: 8 })
    .map((groups) => groups.map((group) => group.toString(16)).join(':') as IpAddress),
);

it('an encoded neighbor decodes to the same neighbor', () => {
  const entry = fc.record(
    {
      ifIndex: fc.nat({ max: 0x7fff_ffff }).map((value) => value as IfIndex),
      ip: anyIp,
      mac: anyMac,
      state: fc.nat(0xff),
      // Without NTF_PROXY, which marks an entry that is no neighbor.
      flags: fc.nat(0xff).map((flags) => flags & ~0x08),
      extFlags: fc.nat({ max: 0xffff_ffff }),
      protocol: fc.nat(0xff),
    },
    { noNullPrototype: true },
  );
  check(entry, 2_000, (neighbor) => {
    const messageOf = (type: number, payload: Uint8Array): Message => ({
      type,
      flags: 0,
      sequence: 1,
      portId: 1,
      payload,
    });
    for (const mode of ['create', 'replace'] as const) {
      const { type, payload } = putNeighbor(neighbor, mode);
      const found = decodeNeighbor(messageOf(type, payload));
      assert.deepEqual(found, { ...neighbor, confirmedMs: 0, updatedMs: 0 });
    }
    const gone = deleteNeighbor(neighbor.ifIndex, neighbor.ip);
    const found = decodeNeighbor(messageOf(gone.type, gone.payload));
    assert.deepEqual([found?.ifIndex, found?.ip], [neighbor.ifIndex, neighbor.ip]);
  });
});

it('a refusal with any errno, request and text is an error that contains them', () => {
  const request = anyBytes(40);
  const text = fc.string({ unit: 'binary-ascii', maxLength: 60 });
  check(
    fc.tuple(fc.integer(), request, fc.boolean(), fc.option(text)),
    3_000,
    ([error, sent, capped, text]) => {
      const writer = new PayloadWriter(64);
      const header = writer.structure(20);
      const view = new DataView(header.buffer, header.byteOffset);
      view.setInt32(0, error, true);
      view.setUint32(4, 16 + sent.length, true);
      const payload = Buffer.concat([
        writer.finish(),
        ...(capped ? [] : [sent, new Uint8Array(-sent.length & 3)]),
        ...(text === null ? [] : [textAttribute(text)]),
      ]);
      const flags = (capped ? NLM_F_CAPPED : 0) | (text === null ? 0 : NLM_F_ACK_TLVS);
      const failure = decodeFailure({ type: NLMSG_ERROR, flags, sequence: 1, portId: 1, payload });
      assert.equal(failure === undefined, error === 0);
      if (failure === undefined) return;
      assert.equal(failure.errno, -error);
      assert.equal(failure.message, text === null ? undefined : text.split('\0')[0]);
      const shown = failureError(failure, { operation: 'try', object: 'it' });
      assert.ok(shown.message.startsWith(`Cannot try: ${failure.name}`), shown.message);
    },
  );
});

/** NLMSGERR_ATTR_MSG */
function textAttribute(text: string): Uint8Array {
  const writer = new PayloadWriter(64);
  writer.text(1, text);
  return writer.finish();
}
