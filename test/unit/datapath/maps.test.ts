// Shapes of maps, and decoding their entries without a kernel.

import assert from 'node:assert/strict';
import { it } from 'node:test';
import { malformed } from '../../../src/base/errors.ts';
import { mismatchesOf, shapeOf } from '../../../src/datapath/maps.ts';
import { holdsBindings, holdsLayout } from '../../../src/datapath/older-versions.ts';
import { decodeAll } from '../../../src/datapath/table.ts';

it('a map of the right shape has no mismatch, a wrong one lists every mismatch at once', () => {
  const shape = shapeOf('bindings', 1000);
  assert.deepEqual(mismatchesOf({ ...shape }, shape), []);
  assert.deepEqual(mismatchesOf({ ...shape, maxEntries: 999 }, shape), ['maxEntries']);
  const other = { name: 'x', type: 2, keySize: 1, valueSize: 1, flags: 1, maxEntries: 1 };
  assert.deepEqual(mismatchesOf(other, shape), Object.keys(other));
});

it('bindings and layout records of other versions differ only in the size of their values', () => {
  const bindings = shapeOf('bindings', 1000);
  for (const [valueSize, holds] of [
    [47, false],
    [48, true],
    [64, true],
    [80, true],
  ] as const) {
    assert.equal(holdsBindings({ ...bindings, valueSize, maxEntries: 5 }), holds, `${valueSize}`);
  }
  assert.equal(holdsBindings({ ...bindings, keySize: 20 }), false);
  assert.equal(holdsBindings({ ...bindings, name: 'snoopy_probes' }), false);
  const layout = shapeOf('layout', 1);
  assert.deepEqual(
    [40, 48, 64].map((valueSize) => holdsLayout({ ...layout, valueSize })),
    [false, true, true],
  );
});

it('a malformed entry is left out, and any other error is thrown', () => {
  const entries = { keys: Uint8Array.of(1, 2, 3), values: Uint8Array.of(10, 11, 20, 21, 30, 31), count: 3 };
  const read = (refusal: Error): number[] =>
    decodeAll(entries, {
      decode: (values, at, keys, keyAt) => {
        if (keys[keyAt] === 2) throw refusal;
        return values[at + 1] ?? 0;
      },
    });
  assert.deepEqual(read(malformed('bytes', 'decode a record', 'it is none')), [11, 31]);
  assert.throws(() => read(new RangeError('a mistake of ours')), RangeError);
  const none = { keys: new Uint8Array(0), values: new Uint8Array(0), count: 0 };
  assert.deepEqual(decodeAll(none, { decode: () => 1 }), []);
});
