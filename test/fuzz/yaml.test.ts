// Hostile configuration files: read or rejected, in time, with a message, and with their place.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import fc from 'fast-check';
import { formatProblem } from '../../src/base/errors.ts';
import { parseConfig } from '../../src/config/config.ts';
import { deepTest } from '../lib/depth.ts';
import { run, tryRun } from '../lib/run.ts';
import { Scope } from '../lib/scope.ts';
import { outputOf, PRODUCT } from '../lib/snoopy.ts';
import { createTempDir } from '../lib/temp.ts';
import { ROOT } from '../unit/golden.ts';
import { anyDamage, check, damaged } from './property.ts';

const scope = new Scope();
const dir = createTempDir(scope, 'yaml');
after(() => scope.close());

/** Far more than it takes on a busy machine. A fault here takes minutes, or never ends. */
const LIMIT_MS = 30_000;

/** `snoopy validate` of a path. It ends in time, with little memory, with 0 or 78, and with a message. */
function validate(path: string): { readonly code: number; readonly stderr: string } {
  const argv = [process.execPath, '--max-old-space-size=512', PRODUCT, 'validate', '--config', path];
  const result = tryRun(argv, { timeoutMs: LIMIT_MS });
  const context = outputOf({ ...result, stdout: '', stderr: result.stderr.slice(0, 2000) });
  assert.ok(result.code === 0 || result.code === 78, context);
  assert.equal(result.code === 0, result.stderr === '', context);
  assert.doesNotMatch(result.stderr, /internal error|RangeError|call stack|heap|\n\s+at /i, context);
  assert.ok(result.stderr.length < 50_000, `${result.stderr.length} bytes of errors${context}`);
  for (const line of result.stderr.split('\n').filter(Boolean)) {
    const isAboutText =
      line.startsWith(`${path}:`) && /^:\d+:\d+: .+: .+; allowed: .+$/.test(line.slice(path.length));
    const isAboutFile = line.startsWith(`snoopy: Cannot read the configuration "${path}": `);
    assert.ok(isAboutText || isAboutFile, line.slice(0, 500));
  }
  return result;
}

function file(name: string, content: string | Uint8Array): string {
  const path = join(dir, name);
  writeFileSync(path, content);
  return path;
}

const many = (count: number, line: (i: number) => string): string =>
  Array.from({ length: count }, (_, i) => line(i)).join('');

const LAUGHS = many(9, (i) =>
  i === 0
    ? 'a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n'
    : `a${i}: &a${i} [${Array.from({ length: 10 }, () => `*a${i - 1}`).join(', ')}]\n`,
);

/** Texts by their defect, and what the first line of the answer must contain; null: they are valid. */
const TEXTS: Readonly<Record<string, readonly [text: string | Uint8Array, answer: RegExp | null]>> = {
  'a billion laughs': [`version: 1\n${LAUGHS}`, /repeats too much by aliases|unknown key/],
  'an anchor within itself': ['version: 1\nbridges: &a [*a]\n', /names the anchor "a", which is not defined/],
  'aliases without anchors': [`version: 1\nbridges: [${many(100_000, () => '*a,')}]`, /:2:11: .*the anchor/],
  'flow lists without end': ['['.repeat(100_000), /:1:\d+: document: is nested too deeply/],
  'flow mappings without end': ['{a: '.repeat(100_000), /:1:\d+: document: is nested too deeply/],
  'lists in lists': [`${'- '.repeat(100_000)}a`, /:1:\d+: document: is nested too deeply/],
  'keys of keys': [`${'? '.repeat(100_000)}a`, /:1:\d+: document: is nested too deeply/],
  'deep indentation': [many(1300, (i) => `${' '.repeat(i)}a:\n`), /:\d+:\d+: document: is nested too deeply/],
  'a key twice': ['version: 1\nversion: 1\n', /:2:1: version: is given twice, first in line 1/],
  'a key repeated very often, on separate lines': [
    `version: 1\n${'#\n'.repeat(250_000)}${'b:\n'.repeat(150_000)}`,
    /:250002:1: b: is an unknown key/,
  ],
  'a key repeated very often, in one line': [
    `{version: 1, ${'bridges: [],'.repeat(80_000)}}`,
    /:1:26: bridges: is given twice/,
  ],
  'many unknown keys': [`version: 1\n${many(60_000, (i) => `k${i}:\n`)}`, /:2:1: k0: is an unknown key/],
  'many unknown keys in one line': [
    `{version: 1, ${many(60_000, (i) => `k${i}: 1,`)}}`,
    /:1:14: k0: is an unknown/,
  ],
  'many wrong items': [
    `version: 1\nbridges:\n${'- 1\n'.repeat(100_000)}`,
    /:3:3: bridges\[0\]: is the number 1/,
  ],
  'many wrong items in one line': [
    `{version: 1, bridges: [${'1,'.repeat(150_000)}]}`,
    /:1:24: bridges\[0\]: is the/,
  ],
  'one bridge repeated very often': [
    `version: 1\nbridges:\n${'- {name: a}\n'.repeat(40_000)}`,
    /:4:10: bridges\[1\]\.name: is "a", like/,
  ],
  'a key of a megabyte': [
    `version: 1\n${'k'.repeat(1_000_000)}: 1\n`,
    /^.{1,200}: "k{40}\.\.\.": is an unknown key/,
  ],
  'a value of a megabyte': [`version: "${'1'.repeat(1_000_000)}"\n`, /version: is "1{40}\.\.\."/],
  'an escape for no character': ['version: "\\x4"\n', /is not valid YAML/],
  'a tag of JavaScript': [
    'version: 1\nbridges: !!js/function "process.exit(3)"\n',
    /:2:\d+: bridges: has the tag "!!js/,
  ],
  'a tag for bytes': ['version: 1\nbridges: !!binary "aGFsbG8="\n', /has the tag "!!binary"/],
  'a tag for times': ['version: 1\nbridges: !!timestamp 2024-01-01\n', /has the tag "!!timestamp"/],
  'a tag repeated very often': [`version: 1\nbridges: [${'!x a,'.repeat(100_000)}]`, /has the tag "!x"/],
  'a merge key': ['version: 1\ndefaults: {<<: {required: false}}\n', /:2:12: defaults\."<<": is a merge key/],
  'a key named __proto__': ['version: 1\n__proto__: {version: 2}\n', /:2:1: __proto__: is an unknown key/],
  'a key named constructor': [
    'version: 1\nconstructor: {prototype: {}}\n',
    /:2:1: constructor: is an unknown key/,
  ],
  'a bridge with a key __proto__': [
    'version: 1\nbridges: [{name: br0, __proto__: {required: false}}]\n',
    /:2:23: bridges\[0\]\.__proto__: is an unknown key/,
  ],
  'only __proto__': ['__proto__: {version: 1}\n', /:1:1: (version: is missing|__proto__: is an unknown key)/],
  'a NUL': ['version: 1\nbridges: [{name: "a\0b"}]\n', /:2:\d+: document: is not valid YAML: .*null byte/],
  'a NUL by an escape': ['version: 1\nbridges: [{name: "a\\0b"}]\n', /bridges\[0\]\.name: is "a\\u0000b"/],
  'bytes that are not UTF-8': [Uint8Array.of(0x76, 0x3a, 0x20, 0xff, 0xfe, 0x0a), /is not UTF-8 text/],
  'half a character': [Uint8Array.of(0x76, 0x3a, 0x20, 0xe2, 0x82), /is not UTF-8 text/],
  'UTF-16 with a byte order mark': [Buffer.from('\uFEFFversion: 1\n', 'utf16le'), /is not UTF-8 text/],
  'UTF-16 without a byte order mark': [Buffer.from('version: 1\n', 'utf16le'), /null byte/],
  'a byte order mark alone': ['\uFEFF', /:1:1: document: is empty/],
  'a byte order mark in the middle': ['version: 1\n\uFEFFbridges: []\n', /:2:1: /],
  'tabs for indentation': [
    'version: 1\ndefaults:\n\trequired: true\n',
    /:3:1: document: is not valid YAML: .*tab/i,
  ],
  'tabs alone': ['\t'.repeat(1_000_000), /:1:1: document: is empty/],
  'one line of 10 MB': [
    `version: 1 #${'x'.repeat(10_000_000)}`,
    /is longer than 1MiB; allowed: at most 1MiB/,
  ],
  'bridges of 10 MB': [
    `version: 1\nbridges:\n${many(400_000, (i) => `- {name: "b${i}"}\n`)}`,
    /is longer than 1MiB/,
  ],
  'comments of 10 MB': [`version: 1\n${'# a comment\n'.repeat(900_000)}`, /is longer than 1MiB/],
  'comments of nearly 1 MiB': [`version: 1\n${'#\n'.repeat(520_000)}`, null],
  'as many static entries as fit': [
    `version: 1\nbridges:\n- name: a\n  static:\n${many(
      8_000,
      (i) => `  - {ip: 10.0.${i >> 8}.${i & 255}, mac: "02:00:00:00:00:01"}\n`,
    )}`,
    null,
  ],
  'many documents': ['--- a\n'.repeat(170_000), /document: /],
  'many directives': ['%YAML 1.2\n'.repeat(90_000), /duplication of %YAML directive/],
  'colons alone': [':'.repeat(1_000_000), /version: is missing/],
};

describe('validate', () => {
  for (const [i, [what, [text, answer]]] of Object.entries(TEXTS).entries()) {
    const declare = i % 4 === 0 ? it : deepTest;
    declare(what, () => {
      const path = file(`${what.replaceAll(/\W+/g, '-')}.yaml`, text);
      const { code, stderr } = validate(path);
      assert.equal(code, answer === null ? 0 : 78);
      const [first = ''] = stderr.split('\n');
      if (answer !== null) assert.match(first, answer);
    });
  }

  deepTest('a path that is no file ends at once', () => {
    const fifo = join(dir, 'fifo');
    run(['mkfifo', fifo]);
    const loop = join(dir, 'loop');
    run(['ln', '-s', loop, loop]);
    mkdirSync(join(dir, 'directory'));
    const cases: readonly (readonly [string, RegExp])[] = [
      [join(dir, 'directory'), /EISDIR; name a file, not a directory/],
      [loop, /ELOOP; name a file that can be read/],
      [join(file('plain', ''), 'below'), /ENOTDIR/],
      ['/dev/zero', /it is a device/],
      ['/dev/null', /it is a device/],
      ['/dev/full', /it is a device/],
      [fifo, /nothing was written to it for 5 s/],
    ];
    for (const [path, answer] of cases) {
      const { code, stderr } = validate(path);
      assert.equal(code, 78, path);
      assert.match(stderr, answer);
    }
  });

  it('a slow pipe is read to its end, and an endless one to the size limit', () => {
    const shell = (script: string): ReturnType<typeof tryRun> =>
      tryRun(['sh', '-c', script, process.execPath, PRODUCT], { timeoutMs: LIMIT_MS });
    const slow = shell(
      '(sleep 0.3; echo "version: 1"; sleep 0.3; echo "bridges: [{name: br7}]") | "$0" "$1" validate -c /dev/stdin',
    );
    assert.equal(slow.code, 0, outputOf(slow));
    assert.match(slow.stdout, /name: br7/);
    const endless = shell('yes | "$0" "$1" validate -c /dev/stdin');
    assert.equal(endless.code, 78, outputOf(endless));
    assert.match(endless.stderr, /is longer than 1MiB/);
    const redirected = shell(`"$0" "$1" validate -c /dev/stdin < ${file('redirected.yaml', 'version: 1\n')}`);
    assert.equal(redirected.code, 0, outputOf(redirected));
  });
});

/** Parses a text as a run does. Every problem has one line and a place within the text. */
function parseAny(text: string): boolean {
  const result = parseConfig(text, 'f');
  if ('configuration' in result) return true;
  assert.ok(result.problems.length > 0 && result.problems.length <= 101);
  const lines = text.split(/\r\n|\n|\r/);
  for (const problem of result.problems) {
    const { line, column } = problem;
    const message = formatProblem(problem);
    assert.ok(line >= 1 && line <= lines.length, `line ${line}`);
    assert.ok(
      column >= 1 && column <= [...(lines[line - 1] ?? '')].length + 1,
      `column ${column} of line ${line}`,
    );
    assert.match(message, /^f:\d+:\d+: .+: .+; allowed: .+$/s);
    assert.doesNotMatch(message, /\n/);
  }
  return false;
}

const FULL = readFileSync(join(ROOT, 'test/unit/config/cases/full.config'));

describe('parsing', () => {
  it('a damaged configuration is read or rejected with its place', () => {
    let refused = 0;
    check(anyDamage, 1_500, (damage) => {
      if (!parseAny(Buffer.from(damaged(FULL, damage)).toString())) refused++;
    });
    assert.ok(refused > 100, `${refused}`);
  });

  it('any pieces of YAML in any order are read or rejected with their place', () => {
    const piece = fc.oneof(
      fc.constantFrom(
        ...[
          'version: 1\n',
          'bridges:',
          '- ',
          '  ',
          '\n',
          '\r\n',
          '\r',
          '\t',
          ': ',
          '? ',
          '#',
          '[',
          ']',
          '{',
          '}',
          ',',
        ],
        ...[
          '&a ',
          '*a ',
          '&b ',
          '*b ',
          '!',
          '!!str ',
          '!!map ',
          '!<x> ',
          '|',
          '>',
          '|2-\n',
          '"',
          "'",
          '\\',
          '\\x0',
        ],
        ...[
          '---\n',
          '...\n',
          '%YAML 1.2\n',
          '%TAG ! x\n',
          '<<: ',
          '__proto__: ',
          'constructor: ',
          'name: br0',
        ],
        ...[
          'null',
          '~',
          '.nan',
          '-.inf',
          '1e999',
          '0x',
          '0o7',
          '20m',
          'never',
          '\0',
          '\uFEFF',
          '\u2028',
          '😀',
          '@',
          '`',
        ],
      ),
      fc.string({ unit: 'binary', maxLength: 4 }),
    );
    check(
      fc.array(piece, { maxLength: 40 }).map((pieces) => pieces.join('')),
      6_000,
      (text) => parseAny(text),
    );
  });

  it('any value at any key is read or rejected with its place', () => {
    const keys = [
      'version',
      'runtime',
      'defaults',
      'bridges',
      'metrics',
      'name',
      'ports',
      'static',
      'probe',
      'x',
    ];
    const value = fc.letrec((tie) => ({
      value: fc.oneof(
        { depthSize: 'small' },
        fc.constantFrom<unknown>(null, true, 0, -1, 1.5, 1e99, '', 'auto', '10.0.0.0/8', '20m', '1MiB', '*'),
        fc.string(),
        fc.array(tie('value'), { maxLength: 3 }),
        fc.dictionary(fc.constantFrom(...keys, '__proto__'), tie('value'), { maxKeys: 4 }),
      ),
    })).value;
    check(fc.dictionary(fc.constantFrom(...keys), value), 2_000, (config) => {
      parseAny(JSON.stringify({ ...config, version: 1 }));
    });
  });
});
