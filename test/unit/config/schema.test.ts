// The schema agrees with the code: defaults, examples, and a description of every key.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { parseConfig } from '../../../src/config/config.ts';
import { SCHEMA_TEXT } from '../../../src/generated/schema.ts';
import { schemaErrors } from '../../../src/generated/validate-config.ts';
import { validateReport } from '../../../src/render/validate.ts';
import { ROOT } from '../golden.ts';

/** A JSON object, checked key by key. */
interface Schema {
  readonly [key: string]: unknown;
  readonly $ref?: unknown;
  readonly properties?: unknown;
  readonly items?: unknown;
  readonly default?: unknown;
  readonly examples?: unknown;
  readonly defaults?: unknown;
  readonly runtime?: unknown;
  readonly metrics?: unknown;
  readonly bridges?: unknown;
  readonly static?: unknown;
  readonly vlan?: unknown;
}

const schema = asSchema(JSON.parse(SCHEMA_TEXT));

function asSchema(value: unknown): Schema {
  assert.ok(typeof value === 'object' && value !== null && !Array.isArray(value), `no schema: ${value}`);
  return { ...value };
}

function resolve(node: Schema): Schema {
  const ref = node.$ref;
  if (typeof ref !== 'string') return node;
  let target = schema;
  for (const part of ref.split('/').slice(1)) target = asSchema(target[part]);
  return { ...resolve(target), ...node };
}

/** Calls `visit` for every key of every object that the schema describes. */
function forEachKey(
  node: Schema,
  path: string,
  visit: (path: string, key: Schema, required: boolean) => void,
): void {
  const { properties, required, items, anyOf } = resolve(node);
  const needed: readonly unknown[] = Array.isArray(required) ? required : [];
  for (const [name, key] of Object.entries(asSchema(properties ?? {}))) {
    visit(`${path}.${name}`, asSchema(key), needed.includes(name));
    forEachKey(asSchema(key), `${path}.${name}`, visit);
  }
  if (items !== undefined) forEachKey(asSchema(items), `${path}[]`, visit);
  if (Array.isArray(anyOf)) for (const branch of anyOf) forEachKey(asSchema(branch), path, visit);
}

test('the schema that is printed is the file', () => {
  assert.equal(SCHEMA_TEXT, readFileSync(`${ROOT}schema/snoopy.schema.json`, 'utf8'));
});

test('every key has a title, a description, examples and, unless it is required, a default', () => {
  let keys = 0;
  forEachKey(schema, '', (path, key, required) => {
    keys++;
    for (const note of ['title', 'description', 'examples']) assert.ok(note in key, `${path} has no ${note}`);
    assert.equal('default' in key, !required, `default of ${path}`);
  });
  assert.ok(keys > 50, `only ${keys} keys were visited`);
});

test('no object accepts keys that the schema does not describe', () => {
  const check = (node: Schema, path: string): void => {
    const { type, properties, additionalProperties, items, anyOf } = resolve(node);
    if (type === 'object') assert.equal(additionalProperties, false, path);
    for (const [name, key] of Object.entries(asSchema(properties ?? {})))
      check(asSchema(key), `${path}.${name}`);
    if (items !== undefined) check(asSchema(items), `${path}[]`);
    if (Array.isArray(anyOf)) for (const branch of anyOf) check(asSchema(branch), path);
  };
  check(schema, '');
});

test('every default and every example is valid in its place', () => {
  const ajv = new Ajv2020({ strict: false });
  ajv.addSchema(schema, 'config');
  const at = (node: Schema, path: string): void => {
    const { $ref, ...own } = node;
    const pointer = typeof $ref === 'string' ? { $ref: `config${$ref}` } : rebase(own);
    const validate = ajv.compile(asSchema(pointer));
    const values = [...('default' in node ? [node.default] : []), ...[node.examples ?? []].flat()];
    for (const value of node.examples === undefined ? [] : values) {
      assert.ok(validate(value), `${path}: ${JSON.stringify(value)}: ${ajv.errorsText(validate.errors)}`);
    }
  };
  at(schema, 'root');
  forEachKey(schema, '', (path, key) => at(key, path));
});

/** The schema with its references resolved against the whole schema. */
function rebase(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(rebase);
  if (typeof node !== 'object' || node === null) return node;
  const isRef = (key: string, value: unknown): value is string => key === '$ref' && typeof value === 'string';
  return Object.fromEntries(
    Object.entries(node)
      .filter(([key]) => key !== '$id' && key !== '$schema')
      .map(([key, value]) => [key, isRef(key, value) ? `config${value}` : rebase(value)]),
  );
}

test('the example in the schema is a valid configuration', () => {
  const [example] = [schema.examples].flat();
  const result = parseConfig(JSON.stringify(example), 'example');
  assert.ok('configuration' in result, JSON.stringify(result));
});

test('an omitted key has the default that the schema names', () => {
  const result = parseConfig(
    'version: 1\nbridges: [{name: vmbr0, static: [{ip: 10.0.0.1, mac: "02:00:00:00:00:01"}]}]',
    'f',
  );
  assert.ok('configuration' in result);
  const report = asSchema(validateReport('f', result.configuration));
  const [bridge] = [report.bridges].flat();
  const spelled = (value: unknown): unknown =>
    JSON.parse(JSON.stringify(value).replace('"arp"', '"arp-request","arp-reply"'));
  const properties = asSchema(schema.properties);
  const defaultOf = (node: unknown): unknown => spelled(resolve(asSchema(node)).default);
  assert.deepEqual(report.runtime, defaultOf(properties.runtime));
  assert.deepEqual(report.metrics, defaultOf(properties.metrics));
  const bridges = asSchema(properties.bridges);
  for (const settings of [asSchema(properties.defaults).properties, asSchema(bridges.items).properties]) {
    for (const [key, node] of Object.entries(asSchema(settings))) {
      if (key !== 'name' && key !== 'static') assert.deepEqual(asSchema(bridge)[key], defaultOf(node), key);
    }
  }
  const [entry] = [asSchema(bridge).static].flat();
  assert.equal(asSchema(entry).vlan, 0);
});

test('the default of a mapping is made of the defaults of its keys', () => {
  forEachKey(schema, '', (path, key) => {
    const { properties, default: whole } = resolve(key);
    if (properties === undefined || path === '.defaults') return;
    const parts = Object.entries(asSchema(properties)).map(([name, node]) => [
      name,
      resolve(asSchema(node)).default,
    ]);
    assert.deepEqual(whole, Object.fromEntries(parts), path);
  });
});

test('the compiled validator and the schema agree', () => {
  const ajv = new Ajv2020({ strict: true });
  const validate = ajv.compile(schema);
  const samples: unknown[] = [
    { version: 1 },
    { version: 1, bridges: [{ name: 'a', max_age: 'never', subnets: ['10.0.0.0/8'] }] },
    { version: 1, bridges: [{ name: 'a', subnets: 'some' }] },
    { version: 1, runtime: { neighbor_protocol: 11 } },
    { version: 1, defaults: { name: 'a' } },
    { version: 1, extra: 1 },
    { bridges: {} },
    [],
    null,
    'text',
  ];
  for (const sample of samples) {
    assert.equal(schemaErrors(sample).length === 0, validate(sample), JSON.stringify(sample));
  }
});
