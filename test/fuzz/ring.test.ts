// The ring of changes over mapped memory with any content: a file stands in for the kernel's pages.
import assert from 'node:assert/strict';
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { after, it } from 'node:test';
import fc from 'fast-check';
import { openRing, type Ring } from '../../src/datapath/ring.ts';
import { pageSize } from '../../src/ffi/libc.ts';
import { Scope } from '../lib/scope.ts';
import { createTempDir } from '../lib/temp.ts';
import { anyDamage, check, damaged } from './property.ts';

const PAGE = pageSize();
const SIZE = 4096;
/** sizeof(struct snoopy_change), and its length in the ring with its header. */
const RECORD = 56;
const STRIDE = 64;
const SLOTS = SIZE / STRIDE;
const BUSY = 0x8000_0000;
const DISCARD = 0x4000_0000;

const scope = new Scope();
const fd = openSync(join(createTempDir(scope, 'ring'), 'ring'), 'w+');
scope.defer(() => closeSync(fd));
// Consumer, producer, and the data as often as the kernel maps them.
writeSync(fd, new Uint8Array(2 * PAGE + 2 * SIZE), 0, undefined, 0);
after(() => scope.close());

function writeU64(at: number, value: bigint): void {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(64, value), true);
  writeSync(fd, bytes, 0, 8, at);
}

function consumerPosition(): bigint {
  const bytes = new Uint8Array(8);
  readSync(fd, bytes, 0, 8, 0);
  return new DataView(bytes.buffer).getBigUint64(0, true);
}

/** A ring in the state that these positions and bytes describe. */
function withRing(
  ring: { readonly consumer: bigint; readonly producer: bigint; readonly data: Uint8Array },
  use: (ring: Ring) => void,
): void {
  writeU64(0, ring.consumer);
  writeU64(PAGE, ring.producer);
  writeSync(fd, ring.data, 0, SIZE, 2 * PAGE);
  writeSync(fd, ring.data, 0, SIZE, 2 * PAGE + SIZE);
  const opened = openRing(fd, SIZE);
  try {
    use(opened);
  } finally {
    opened.close();
  }
}

type State = 'whole' | 'discarded' | 'busy';

/** A record in its slot: struct snoopy_change of host `id`. */
function writeRecord(data: Uint8Array, position: number, id: number, state: State): void {
  const view = new DataView(data.buffer, data.byteOffset + (position % SIZE));
  view.setUint32(0, (RECORD | { whole: 0, discarded: DISCARD, busy: BUSY }[state]) >>> 0, true);
  view.setUint32(4, 3, true);
  // The program writes the header last: a busy record has no content yet.
  if (state === 'busy') return;
  view.setUint32(8, 1 + (id % KINDS.length), true);
  view.setUint32(12, id, true);
  view.setUint32(32, 7, true);
  view.setUint16(38, 2, true);
  view.setUint32(40, id, false);
}

const KINDS = ['new', 'move', 'duplicate', 'hint'];

it('is read to its end from any position: discarded records are left out, and reading stops at a busy one', () => {
  const states = fc.array(
    fc.oneof(
      { weight: 8, arbitrary: fc.constant<State>('whole') },
      fc.constant<State>('discarded'),
      fc.constant<State>('busy'),
    ),
    { maxLength: SLOTS },
  );
  const start = fc.oneof(fc.nat(3 * SLOTS), fc.nat(2 ** 40));
  check(fc.tuple(start, states), 1_500, ([first, records]) => {
    const consumer = first * STRIDE;
    const producer = consumer + records.length * STRIDE;
    const data = new Uint8Array(SIZE);
    const idAt = (i: number): number => (first % 1_000_000) + i + 1;
    for (const [i, state] of records.entries()) {
      writeRecord(data, consumer + i * STRIDE, idAt(i), state);
    }
    withRing({ consumer: BigInt(consumer), producer: BigInt(producer), data }, (ring) => {
      assert.equal(ring.pending(), records.length);
      const busyAt = records.indexOf('busy');
      const finished = busyAt < 0 ? records : records.slice(0, busyAt);
      const expected = finished.flatMap((state, i) => (state === 'whole' ? [idAt(i)] : []));
      const { changes, records: count, damaged: isDamaged } = ring.read('all');
      assert.equal(isDamaged, false);
      assert.equal(count, expected.length);
      assert.deepEqual(
        changes.map(({ port }) => port),
        expected,
      );
      for (const { kind, port, bridge, ip } of changes) {
        assert.equal(kind, KINDS[port % KINDS.length] ?? '');
        assert.equal(bridge, 7);
        assert.equal(ip, `${port >>> 24}.${(port >> 16) & 255}.${(port >> 8) & 255}.${port & 255}`);
      }
      // Nothing is consumed before commit; then exactly what was read.
      assert.equal(consumerPosition(), BigInt(consumer));
      ring.commit();
      assert.equal(consumerPosition(), BigInt(consumer + finished.length * STRIDE));
      assert.equal(ring.pending() > 0, busyAt >= 0);
      assert.deepEqual(ring.read('all'), { changes: [], records: 0, damaged: false });
    });
  });
});

/** Any position: near the others, near the limits of its type, anywhere. */
function anyPosition(near: fc.Arbitrary<bigint>): fc.Arbitrary<bigint> {
  return fc.oneof(
    near,
    fc.tuple(near, fc.integer({ min: -2 * SIZE, max: 2 * SIZE })).map(([at, by]) => at + BigInt(by)),
    fc.constantFrom(0n, -1n, -8n, -64n, -4096n, 2n ** 31n, 2n ** 32n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 64n),
    fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  );
}

it('with any positions, headers and records is read in finite time, and continues behind what is malformed', () => {
  const near = fc.nat(4 * SLOTS).map((slot) => BigInt(slot * STRIDE));
  const hostile = fc.record({
    consumer: anyPosition(near),
    // Only the kernel writes it: the count of all bytes ever reserved.
    producer: fc.oneof(
      near,
      fc.nat(2 ** 30).map((slot) => BigInt(slot) * BigInt(STRIDE)),
    ),
    ids: fc.array(fc.tuple(fc.nat(1000), fc.constantFrom<State>('whole', 'discarded', 'busy')), {
      minLength: SLOTS,
      maxLength: SLOTS,
    }),
    headers: fc.array(
      fc.tuple(
        fc.nat(SLOTS - 1),
        fc.oneof(
          fc.constantFrom(0, 8, 55, 57, 64, SIZE, BUSY, DISCARD, BUSY | DISCARD, 0xffff_ffff, 0x3fff_ffff),
          fc.nat(0xffff_ffff),
        ),
      ),
      { maxLength: 6 },
    ),
    damage: anyDamage,
  });
  let passedOver = 0;
  check(hostile, 4_000, ({ consumer, producer, ids, headers, damage }) => {
    const data = new Uint8Array(SIZE);
    for (const [slot, [id, state]] of ids.entries()) writeRecord(data, slot * STRIDE, id, state);
    const view = new DataView(data.buffer);
    for (const [slot, header] of headers) view.setUint32(slot * STRIDE, header >>> 0, true);
    data.set(damaged(data, damage));
    withRing({ consumer, producer, data }, (ring) => {
      ring.pending();
      const { changes, damaged: isDamaged } = ring.read('all');
      assert.ok(changes.length <= SLOTS);
      ring.commit();
      const reached = consumerPosition();
      if (isDamaged) {
        passedOver++;
        assert.equal(reached, producer);
      }
      // Reading stops where the program has a whole record to finish.
      if (reached !== producer) {
        assert.ok(consumer <= reached && reached <= producer - BigInt(STRIDE), `at ${reached}`);
        assert.equal(reached % BigInt(STRIDE), 0n);
        const header = view.getUint32(Number(reached % BigInt(SIZE)), true);
        assert.equal((header & ~DISCARD) >>> 0, (BUSY | RECORD) >>> 0);
      }
      assert.equal(ring.pending() !== 0, reached !== producer);
      assert.equal(ring.read('all').changes.length, 0);
    });
  });
  assert.ok(passedOver > 100, `${passedOver} were damaged`);
});

it('a read of the moves leaves out what is in a map, and consumes it', () => {
  const data = new Uint8Array(SIZE);
  for (let slot = 0; slot < SLOTS; slot++) writeRecord(data, slot * STRIDE, slot, 'whole');
  withRing({ consumer: 0n, producer: BigInt(SIZE), data }, (ring) => {
    const { changes, records } = ring.read('moves');
    assert.equal(records, SLOTS);
    assert.deepEqual(
      changes.map(({ port, kind }) => [port, kind]),
      Array.from({ length: SLOTS }, (_, slot) => [slot, KINDS[slot % KINDS.length]]).filter(
        ([, kind]) => kind === 'move' || kind === 'duplicate',
      ),
    );
    ring.commit();
    assert.equal(consumerPosition(), BigInt(SIZE));
  });
});

it('bytes inside a record that look like a busy record do not stop the reader', () => {
  const data = new Uint8Array(SIZE);
  // Little-endian, 56.0.0.128 reads as a header: busy, 56 bytes.
  for (let slot = 0; slot < 4; slot++) writeRecord(data, slot * STRIDE, 0x3800_0080, 'whole');
  withRing({ consumer: 40n, producer: BigInt(4 * STRIDE), data }, (ring) => {
    assert.deepEqual(ring.read('all'), { changes: [], records: 0, damaged: true });
    ring.commit();
    assert.equal(consumerPosition(), BigInt(4 * STRIDE));
  });
});
