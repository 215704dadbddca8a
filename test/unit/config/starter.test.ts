// The configuration to begin with: valid, and for the bridges of the node.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseConfig } from '../../../src/config/config.ts';
import { starterConfig } from '../../../src/config/starter.ts';
import { findHostBridges, resolveEntries } from '../../../src/core/entries.ts';
import type { Observed } from '../../../src/core/observed.ts';
import { readCase } from '../core/case.ts';
import { assertGolden, ROOT } from '../golden.ts';

const { observed } = readCase(`${ROOT}test/unit/core/cases/bridges-with-a-tunnel-port-that-no-entry-names`);

/** The configuration for these links, and the names of the bridges that it serves. */
function start(links: Observed['links']): { readonly text: string; readonly served: readonly string[] } {
  const text = starterConfig(findHostBridges(links));
  const result = parseConfig(text, 'f');
  assert.ok('configuration' in result, JSON.stringify(result));
  const { desired } = resolveEntries(result.configuration, links, new Set());
  return { text, served: desired.bridges.map(({ name }) => name) };
}

test('it names the bridges with a tunnel port, and a physical port to think about', () => {
  const links = new Map(observed.links);
  for (const [ifIndex, link] of links) {
    if (link.name === 'tap1') links.set(ifIndex, { ...link, name: 'eno1', kind: undefined });
  }
  const { text, served } = start(links);
  assert.deepEqual(served, ['br0', 'br5', 'br6', 'vnet1']);
  assertGolden('test/unit/render/snapshots/init.txt', text);
});

test('without such a bridge it has a glob for those that get one', () => {
  const { text, served } = start(new Map());
  assert.deepEqual(served, []);
  assertGolden('test/unit/render/snapshots/init-without-bridges.txt', text);
  const parsed = parseConfig(text, 'f');
  assert.ok('configuration' in parsed);
  assert.equal(resolveEntries(parsed.configuration, observed.links, new Set()).desired.bridges.length, 4);
});

test('it quotes names that YAML reads as something else, and escapes those that are globs', () => {
  for (const name of [
    '100',
    '1e3',
    'no',
    'null',
    '~',
    '-',
    '#br',
    'br#',
    'a"b',
    "it's",
    'br*',
    'b[0]',
    'b\\?',
    'b\\d',
  ]) {
    const links = new Map(observed.links);
    for (const [ifIndex, link] of links) {
      if (link.name === 'br5') links.set(ifIndex, { ...link, name });
    }
    assert.ok(start(links).served.includes(name), name);
  }
});
