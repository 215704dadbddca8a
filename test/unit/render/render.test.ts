// Reports as text and as JSON: snapshots, colors, and one line when nothing is due.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { parseConfig } from '../../../src/config/config.ts';
import { APPLIED, exitCode, PLANNED } from '../../../src/core/report.ts';
import { type Document, errorReport, renderJson } from '../../../src/render/json.ts';
import { renderProblems } from '../../../src/render/problems.ts';
import { renderReconcile, renderRemove } from '../../../src/render/reconcile.ts';
import { renderStatus } from '../../../src/render/status.ts';
import type { RenderOptions } from '../../../src/render/style.ts';
import { renderValidate, validateReport } from '../../../src/render/validate.ts';
import { assertGolden, ROOT } from '../golden.ts';
import {
  ADVERTISED,
  busy,
  large,
  NOT_LOADED,
  NOTHING_TO_REMOVE,
  OUTDATED,
  PROBING,
  QUIET,
  REMOVED,
  SILENT,
  STATUS,
  TROUBLED,
} from './reports.ts';

const PLAIN: RenderOptions = { color: false, diff: false, verbose: false, width: 80 };
const DIFF = { ...PLAIN, diff: true };
const VERBOSE = { ...PLAIN, verbose: true };
const COLOR = { ...PLAIN, color: true };

const SNAPSHOTS: Readonly<Record<string, (options: RenderOptions) => string>> = {
  'reconcile-quiet': (options) => renderReconcile(QUIET, options),
  'reconcile-probing': (options) => renderReconcile(PROBING, options),
  'reconcile-busy': (options) => renderReconcile(busy(APPLIED, false), options),
  'reconcile-check': (options) => renderReconcile(busy(PLANNED, true), options),
  'reconcile-troubled': (options) => renderReconcile(TROUBLED, options),
  'remove-done': (options) => renderRemove(REMOVED, options),
  'remove-nothing': (options) => renderRemove(NOTHING_TO_REMOVE, options),
  status: (options) => renderStatus(STATUS, options),
  'status-advertised': (options) => renderStatus(ADVERTISED, options),
  'status-silent': (options) => renderStatus(SILENT, options),
  'status-outdated': (options) => renderStatus(OUTDATED, options),
  'status-not-loaded': (options) => renderStatus(NOT_LOADED, options),
};

test('the text for a host where nothing is loaded fits the terminal', () => {
  for (const line of renderStatus(NOT_LOADED, PLAIN).split('\n')) assert.ok(line.length <= PLAIN.width, line);
});

for (const [name, render] of Object.entries(SNAPSHOTS)) {
  test(`text of ${name}`, () => {
    assertGolden(`test/unit/render/snapshots/${name}.txt`, render(PLAIN));
  });
}

test('JSON has problems and warnings in words', () => {
  assertGolden('test/unit/render/snapshots/json-reconcile-troubled.txt', renderJson(TROUBLED));
  const invalid = parseConfig('version: 2', 'f');
  assert.ok('problems' in invalid);
  assertGolden(
    'test/unit/render/snapshots/json-config-invalid.txt',
    renderJson(errorReport(invalid.problems)),
  );
});

test('text with --diff', () => {
  assertGolden('test/unit/render/snapshots/diff.txt', renderReconcile(busy(PLANNED, true), DIFF));
  assertGolden('test/unit/render/snapshots/diff-troubled.txt', renderReconcile(TROUBLED, DIFF));
});

test('text with --verbose', () => {
  assertGolden('test/unit/render/snapshots/verbose.txt', renderReconcile(busy(APPLIED, false), VERBOSE));
});

test('similar changes are joined to one line, unless all are requested', () => {
  assertGolden('test/unit/render/snapshots/reconcile-large.txt', renderReconcile(large(), PLAIN));
  for (const options of [DIFF, VERBOSE]) {
    assert.ok(renderReconcile(large(), options).split('\n').length > 750);
  }
});

test('nothing to do is reported in one line', () => {
  assert.equal(renderReconcile(QUIET, PLAIN), '2 bridges, 5 ports, 12 neighbors: nothing to do\n');
  assert.equal(renderReconcile(QUIET, DIFF), renderReconcile(QUIET, PLAIN));
  assert.equal(renderRemove(NOTHING_TO_REMOVE, PLAIN), 'snoopy: nothing to do\n');
});

test('colored output is the same text', () => {
  const start = String.fromCharCode(27);
  const codes = new RegExp(`${start}\\[\\d+m`, 'g');
  for (const [name, render] of Object.entries(SNAPSHOTS)) {
    const colored = render(COLOR);
    assert.equal(colored.replaceAll(codes, ''), render(PLAIN), name);
    assert.ok(!render(PLAIN).includes(start), name);
  }
  assert.ok(renderReconcile(busy(APPLIED, false), COLOR).includes(`${start}[32mattach${start}[0m`));
  assert.ok(renderReconcile(TROUBLED, COLOR).includes(`${start}[31m`));
});

test('status fits 80 columns', () => {
  for (const line of renderStatus(STATUS, PLAIN).split('\n')) assert.ok(line.length <= 80, line);
});

test('a name cannot send escape codes to the terminal', () => {
  const [bridge] = QUIET.bridges;
  assert.ok(bridge !== undefined);
  const evil = `a${String.fromCharCode(27)}]0;x`;
  const report = busy(APPLIED, false);
  const steps = report.steps.map((step) => ({
    ...step,
    action: { ...step.action, bridge: evil, port: evil, path: evil },
  }));
  for (const options of [PLAIN, DIFF, VERBOSE]) {
    assert.ok(!renderReconcile({ ...report, steps }, options).includes(String.fromCharCode(27)));
  }
  const bridges = [
    { ...bridge, name: evil },
    { ...bridge, name: evil, present: false },
  ];
  const ports = STATUS.ports.map((port) => ({ ...port, bridge: evil, name: evil }));
  const bindings = STATUS.bindings.map((binding) => ({ ...binding, bridge: evil, device: evil, port: evil }));
  assert.ok(!renderStatus({ ...STATUS, bridges, ports, bindings }, PLAIN).includes(String.fromCharCode(27)));
  assert.ok(!renderReconcile({ ...QUIET, bridges }, PLAIN).includes(String.fromCharCode(27)));
});

test('exit codes', () => {
  const neighborsOnly = { ...QUIET, neighbors: { ...QUIET.neighbors, changed: true } };
  assert.equal(exitCode(QUIET, false), 0);
  assert.equal(exitCode(QUIET, true), 0);
  assert.equal(exitCode(busy(APPLIED, false), false), 0);
  assert.equal(exitCode(busy(APPLIED, false), true), 2);
  assert.equal(exitCode(busy(PLANNED, true), true), 2);
  assert.equal(exitCode(neighborsOnly, true), 2);
  assert.equal(exitCode(TROUBLED, false), 1);
  assert.equal(exitCode(TROUBLED, true), 1);
});

test('reports are valid by their schema, and their keys do not change', () => {
  const ajv = new Ajv2020({ strict: true, strictRequired: false, allErrors: true });
  ajv.addSchema(JSON.parse(readFileSync(`${ROOT}schema/report.schema.json`, 'utf8')), 'report');
  const valid = (definition: string, report: Document): void => {
    const parsed: unknown = JSON.parse(renderJson(report));
    // What is data in a report and words in a document: see the snapshots.
    const words = { errors: [], warnings: [] };
    assert.deepEqual(Object.assign({}, parsed, words), { ...report, ...words });
    for (const ref of ['report', `report#/$defs/${definition}`]) {
      const validate = ajv.getSchema(ref);
      assert.ok(validate !== undefined);
      assert.ok(validate(parsed), `${definition}: ${ajv.errorsText(validate.errors)}`);
    }
  };
  for (const report of [QUIET, busy(APPLIED, false), busy(PLANNED, true), TROUBLED, large()])
    valid('reconcile', report);
  for (const report of [REMOVED, NOTHING_TO_REMOVE]) valid('remove', report);
  for (const report of [STATUS, NOT_LOADED]) valid('status', report);
  const minimal = parseConfig('version: 1\nbridges: [{name: vmbr0}]', 'f');
  assert.ok('configuration' in minimal);
  valid('validate', validateReport('f', minimal.configuration));
  const invalid = parseConfig('version: 2', 'f');
  assert.ok('problems' in invalid);
  valid('failure', errorReport(invalid.problems));
  const validate = ajv.getSchema('report#/$defs/reconcile');
  assert.ok(validate !== undefined);
  for (const key of Object.keys(QUIET)) {
    const { [key]: _, ...rest }: Record<string, unknown> = { ...QUIET };
    assert.ok(!validate(rest), `${key} is missing`);
  }
  assert.ok(validate({ ...QUIET, more: 1 }), 'a schema must allow more keys');
});

test('validate prints a configuration that means the same', () => {
  const texts = [
    'version: 1',
    'version: 1\nbridges: [{name: vmbr0}]',
    'version: 1\nbridges: [{name: "1e3", ports: {include: ["[a-z]*", "true", "#x", "a\\\\*"]}, max_age: 90s, subnets: ["2001:db8::/64"]}]',
    `version: 1\nbridges: [{name: b, static: [${Array.from({ length: 9 }, (_, n) => `{ip: 10.0.0.${n}, mac: "02:00:00:00:00:0${n}", vlan: ${n}}`).join(', ')}]}]`,
    'version: 1\ndefaults: {required: true}\nbridges: [{name: "br*"}, {name: br5}]',
    'version: 1\nmetrics: {textfile: "/x y/z"}\nruntime: {pin_dir: "0x10"}',
  ];
  for (const text of texts) {
    const result = parseConfig(text, 'f');
    assert.ok('configuration' in result, JSON.stringify(result));
    const printed = renderValidate('f', result.configuration, PLAIN);
    assert.deepEqual(parseConfig(printed, 'f'), result, printed);
  }
});

test('problems on stderr have one line each, which begins with the place in the configuration', () => {
  const invalid = parseConfig('version: 1\nbridge: []\n', 'snoopy.yaml');
  assert.ok('problems' in invalid);
  assert.equal(
    renderProblems([
      ...invalid.problems,
      {
        code: 'locked',
        object: 'x',
        operation: 'lock "x"',
        cause: 'held\u001b[31m',
        fix: 'wait',
      },
    ]),
    'snoopy.yaml:2:1: bridge: is an unknown key, did you mean `bridges`?; allowed: version, runtime, defaults, bridges, frr and metrics\n' +
      'snoopy: Cannot lock "x": held?[31m; wait\n',
  );
});
