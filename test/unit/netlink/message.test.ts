// Messages and attributes.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SnoopyError } from '../../../src/base/errors.ts';
import {
  AttributeIndex,
  Attributes,
  decodeMessages,
  encodeMessage,
  PayloadWriter,
} from '../../../src/netlink/message.ts';
import { LINK_BRIDGE, NEIGHBORS_IPV4 } from './captures.ts';

function isMalformed(thrown: unknown): boolean {
  return thrown instanceof SnoopyError && thrown.code === 'malformed';
}

describe('messages', () => {
  it('are all found in a datagram', () => {
    assert.deepEqual(
      decodeMessages(NEIGHBORS_IPV4).map(({ type }) => type),
      [28, 28, 28, 3],
    );
  });

  it('decode to what was encoded, several in one datagram', () => {
    const datagram = new Uint8Array(256);
    const payloads = [[], [1], [1, 2, 3, 4], [5, 6, 7, 8, 9]].map((bytes) => Uint8Array.from(bytes));
    let end = 0;
    for (const [index, payload] of payloads.entries()) {
      end = encodeMessage({ type: 40 + index, flags: 0x400, payload }, 5, 100 + index, datagram, end);
    }
    assert.equal(end, 16 + 20 + 20 + 24);
    const messages = decodeMessages(datagram.subarray(0, end));
    assert.deepEqual(
      messages.map(({ type, flags, sequence }) => [type, flags, sequence]),
      [
        [40, 0x405, 100],
        [41, 0x405, 101],
        [42, 0x405, 102],
        [43, 0x405, 103],
      ],
    );
    assert.deepEqual(
      messages.map(({ payload }) => [...payload]),
      payloads.map((payload) => [...payload]),
    );
  });

  it('do not write past the end of the buffer', () => {
    const request = { type: 1, flags: 0, payload: new Uint8Array(10) };
    assert.throws(() => encodeMessage(request, 0, 1, new Uint8Array(27), 0), isMalformed);
    assert.equal(encodeMessage(request, 0, 1, new Uint8Array(28), 0), 28);
  });

  it('with a length below the header are malformed', () => {
    const bytes = NEIGHBORS_IPV4.slice();
    for (const length of [0, 1, 15]) {
      bytes.set([length, 0, 0, 0]);
      assert.throws(() => decodeMessages(bytes), isMalformed);
    }
  });
});

describe('attributes', () => {
  it('of unknown types are kept', () => {
    const [message] = decodeMessages(LINK_BRIDGE);
    assert.ok(message !== undefined);
    const attributes = new Attributes(message.payload, 16);
    let length = 16;
    for (const { payload } of attributes) length += 4 + ((payload.length + 3) & ~3);
    assert.equal(length, message.payload.length);
  });

  it('are read by type, the last of each', () => {
    const writer = new PayloadWriter(4);
    writer.u8(1, 0xab);
    writer.u16(2, 0xabcd);
    writer.be16(3, 0xabcd);
    writer.u32(4, 0xabcdef01);
    writer.text(5, 'clsact');
    writer.u32(4, 7);
    writer.nest(6, () => writer.nest(1, () => writer.u32(9, 99)));
    writer.fill(1000, 3, (bytes, offset) => bytes.set([1, 2, 3], offset));
    const attributes = new Attributes(writer.finish(), 0);
    assert.equal(attributes.u8(1), 0xab);
    assert.equal(attributes.u16(2), 0xabcd);
    assert.equal(attributes.be16(3), 0xabcd);
    assert.equal(attributes.u32(4), 7);
    assert.equal(attributes.text(5), 'clsact');
    assert.equal(attributes.nested(6)?.nested(1)?.u32(9), 99);
    assert.deepEqual([...(attributes.bytes(1000) ?? [])], [1, 2, 3]);
    assert.deepEqual(
      [...attributes].map(({ type }) => type),
      [1, 2, 3, 4, 5, 4, 6, 1000],
    );
    assert.equal(attributes.has(7), false);
    assert.equal(attributes.u32(7), undefined);
    assert.equal(attributes.nested(7), undefined);
  });

  it('are read the same through an index that is reused for many messages', () => {
    const index = new AttributeIndex(4);
    const read = (write: (writer: PayloadWriter) => void, indexed?: AttributeIndex) => {
      const writer = new PayloadWriter(4);
      write(writer);
      const payload = writer.finish();
      const attributes = new Attributes(payload, 0, payload.length, indexed);
      const found = [0, 1, 2, 3, 4].map((type) => attributes.u8(type));
      return { found, all: [...attributes].map(({ type }) => type) };
    };
    const messages: ((writer: PayloadWriter) => void)[] = [
      (writer) => {
        for (const [type, value] of [
          [1, 10],
          [4, 40],
          [1, 11],
          [1000, 5],
          [3, 30],
        ] as const)
          writer.u8(type, value);
      },
      () => undefined,
      (writer) => writer.nest(2, () => writer.u8(1, 99)),
      (writer) => writer.u8(4, 41),
    ];
    for (const write of messages) assert.deepEqual(read(write, index), read(write));

    // A malformed message leaves nothing in the index for the next one.
    const cut = Uint8Array.from([5, 0, 1, 0, 7, 0, 0, 0, 9, 0, 2, 0]);
    assert.throws(() => new Attributes(cut, 0, cut.length, index), isMalformed);
    assert.deepEqual(read(() => undefined, index).found, Array(5).fill(undefined));
    const whole = cut.subarray(0, 8);
    const beyond = new Attributes(whole, 0, whole.length, new AttributeIndex(0));
    assert.equal(beyond.has(1), false, 'a type beyond the index');
  });

  it('that are shorter than the value read from them are malformed', () => {
    const writer = new PayloadWriter(8);
    writer.u16(1, 5);
    const attributes = new Attributes(writer.finish(), 0);
    assert.throws(() => attributes.u32(1), isMalformed);
  });

  it('with a wrong length are malformed', () => {
    for (const length of [0, 3, 9, 0xffff]) {
      const bytes = new Uint8Array(8);
      new DataView(bytes.buffer).setUint16(0, length, true);
      assert.throws(() => new Attributes(bytes, 0), isMalformed);
    }
    assert.throws(() => new Attributes(new Uint8Array(3), 0), isMalformed);
    assert.throws(() => new Attributes(new Uint8Array(4), 8), isMalformed);
  });

  it('that are texts without a NUL end with the attribute', () => {
    const writer = new PayloadWriter(8);
    writer.fill(1, 4, (bytes, offset) => bytes.set([0x61, 0x62, 0x63, 0x64], offset));
    assert.equal(new Attributes(writer.finish(), 0).text(1), 'abcd');
  });
});
