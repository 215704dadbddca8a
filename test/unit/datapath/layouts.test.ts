// src/generated/layouts.ts agrees with snoopy.h: the compiler checks its sizes, this test its fields.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { it } from 'node:test';
import * as layouts from '../../../src/generated/layouts.ts';
import { ROOT } from '../golden.ts';

const header = readFileSync(`${ROOT}bpf/snoopy.h`, 'utf8');

const SIZES: Readonly<Record<string, number>> = { __u8: 1, __u16: 2, __u32: 4, __u64: 8 };

/** `struct snoopy_port_state` is PORT_STATE. */
function layoutOf(struct: string): Readonly<Record<string, number>> & { readonly size: number } {
  const found = Object.entries(layouts).find(([name]) => name === struct.toUpperCase());
  assert.ok(found !== undefined && typeof found[1] === 'object', struct);
  return found[1] as ReturnType<typeof layoutOf>;
}

it('every structure has the size that the compiler asserts', () => {
  const asserted = [...header.matchAll(/^SNOOPY_SIZE\(snoopy_(\w+), (\d+)\);/gm)];
  assert.ok(asserted.length >= 10);
  for (const [, struct = '', size] of asserted) assert.equal(layoutOf(struct).size, Number(size), struct);
});

it('every field starts where the one before it ends', () => {
  const structs = [...header.matchAll(/^struct snoopy_(\w+) \{\n([\s\S]*?)^\};/gm)];
  assert.ok(structs.length >= 10);
  for (const [, struct = '', body = ''] of structs) {
    const fields = [...body.matchAll(/^\t(?:struct snoopy_)?(\w+) (\w+)(?:\[(\d+)\])?;/gm)];
    let offset = 0;
    const expected = fields.map(([, type = '', name = '', count = '1']) => {
      const at = offset;
      offset += (SIZES[type] ?? layoutOf(type).size) * Number(count);
      return [name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase()), at];
    });
    assert.deepEqual(layoutOf(struct), Object.fromEntries([['size', offset], ...expected]), struct);
  }
});

it('every constant has its number', () => {
  assert.equal(layouts.SNOOPY_LEARN_NS, 1 << 3);
  assert.equal(layouts.SNOOPY_CHANGE_DUPLICATE, 3);
  assert.equal(layouts.SNOOPY_HINT_ENDED, 17);
  assert.match(header, new RegExp(`#define SNOOPY_ABI\\s+${layouts.SNOOPY_ABI}\\b`));
  const counters = [...header.matchAll(/^#define SNOOPY_COUNTER_(\w+)\s+(\d+)/gm)];
  assert.deepEqual(
    counters.map(([, name = '', value]) => [name.toLowerCase(), Number(value)]),
    layouts.COUNTERS.map((name, i) => [name, i]),
  );
});

it('every map has its type, its sizes and its capacity', () => {
  assert.deepEqual(layouts.MAPS.bindings, {
    type: 1,
    keySize: layouts.BINDING_KEY.size,
    valueSize: layouts.BINDING.size,
    maxEntries: 65_536,
    flags: 0,
  });
  // BPF_MAP_TYPE_LPM_TRIE with BPF_F_NO_PREALLOC.
  assert.deepEqual([layouts.MAPS.prefixes.type, layouts.MAPS.prefixes.flags], [11, 1]);
  assert.equal(layouts.MAPS.counters.maxEntries, layouts.COUNTERS.length);
  assert.deepEqual([layouts.MAPS.changes.keySize, layouts.MAPS.changes.valueSize], [0, 0]);
});
