// The house style, as far as a program can check it: layers, cycles, and where things may be used.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { test } from 'node:test';
import { ROOT } from './golden.ts';

/** From the bottom to the top. Imports point down, or sideways within a line. */
const LAYERS: readonly (readonly string[])[] = [
  ['base/'],
  ['ffi/', 'generated/layouts.ts'],
  ['netlink/'],
  ['datapath/'],
  ['core/'],
  ['config/', 'generated/'],
  ['host/'],
  ['render/'],
  ['commands/'],
  ['cli.ts', 'cli-invocation.ts', 'cli-options.ts'],
  ['main.ts'],
];

/** A file of more lines has more than one job. */
const MOST_LINES = 400;

/** Files that are longer, each with the reason. */
const LONG_FILES: ReadonlyMap<string, string> = new Map();

const files = readdirSync(`${ROOT}src`, { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.ts') && !path.startsWith('generated/'))
  .sort();

const sources = new Map(files.map((path) => [path, readFileSync(`${ROOT}src/${path}`, 'utf8')]));

/** The text without comments and without the content of strings; of a template the expressions in it are left. */
function codeOf(source: string): string {
  const skipped = /\/\*[\s\S]*?\*\/|\/\/[^\n]*|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`/g;
  return source.replace(skipped, (text) => {
    if (text.startsWith('/')) return ' ';
    const expressions = text.startsWith('`') ? [...text.matchAll(/\$\{([^}]*)/g)] : [];
    return ["''", ...expressions.map(([, code]) => `(${codeOf(code ?? '')})`)].join(' + ');
  });
}

/** The imports of a file: specifiers of import and export declarations, including types. */
function importsOf(source: string): string[] {
  const found = source.matchAll(/^(?:import|export)\s(?:[^;'"]*?\sfrom\s)?\s*['"]([^'"]+)['"]/gm);
  return [...found].map(([, specifier]) => specifier ?? '');
}

function localImports(path: string): string[] {
  return importsOf(sources.get(path) ?? '')
    .filter((specifier) => specifier.startsWith('.'))
    .map((specifier) => normalize(join(dirname(path), specifier)));
}

function layerOf(path: string): number {
  return LAYERS.findIndex((names) =>
    names.some((name) => (name.endsWith('/') ? path.startsWith(name) : path === name)),
  );
}

test('every file belongs to a layer', () => {
  for (const path of files) assert.ok(layerOf(path) >= 0, path);
  assert.ok(files.length > 20);
});

test('imports point down', () => {
  for (const path of files) {
    for (const target of localImports(path)) {
      assert.ok(layerOf(target) >= 0, `${path} imports ${target}, which is in no layer`);
      assert.ok(layerOf(target) <= layerOf(path), `${path} imports ${target}, which is above it`);
      assert.ok(target.endsWith('.ts'), `${path} imports ${target} without .ts`);
    }
  }
});

test('imports make no circle', () => {
  const done = new Set<string>();
  const visit = (path: string, trail: readonly string[]): void => {
    assert.ok(!trail.includes(path), `circle: ${[...trail, path].join(' -> ')}`);
    if (done.has(path)) return;
    for (const target of localImports(path)) visit(target, [...trail, path]);
    done.add(path);
  };
  for (const path of files) visit(path, []);
});

test('koffi is loaded in ffi only', () => {
  for (const [path, source] of sources) {
    if (!path.startsWith('ffi/')) assert.doesNotMatch(source, /['"]koffi['"]/, path);
  }
});

test('the host uses only system calls of ffi: maps and programs come from the data path', () => {
  for (const path of files.filter((file) => file.startsWith('host/'))) {
    const bindings = localImports(path).filter((target) => target.startsWith('ffi/'));
    assert.deepEqual(
      bindings.filter((target) => target !== 'ffi/libc.ts'),
      [],
      path,
    );
  }
});

test('the host computes no offset in bytes', () => {
  for (const [path, source] of sources) {
    if (!path.startsWith('host/')) continue;
    assert.ok(!localImports(path).includes('base/bytes.ts'), path);
    assert.doesNotMatch(codeOf(source), /\bDataView\b|\bsubarray\b/, path);
  }
});

test('core and render are pure', () => {
  for (const [path, source] of sources) {
    if (!path.startsWith('core/') && !path.startsWith('render/')) continue;
    assert.doesNotMatch(codeOf(source), /\bMath\.random\b|\bWeakMap\b|^let /m, path);
    assert.deepEqual(
      importsOf(source).filter(
        (target) => target.startsWith('node:') || /^\.\.\/(?:\.\.\/)?(?:ffi|host)\//.test(target),
      ),
      [],
      path,
    );
  }
});

test('only netlink sees the messages of a dump, whose bytes are reused', () => {
  for (const [path, source] of sources) {
    if (!path.startsWith('netlink/')) assert.doesNotMatch(codeOf(source), /\.dump(?:Into)?\(/, path);
  }
});

test('only main uses the process and its streams', () => {
  for (const [path, source] of sources) {
    if (path === 'main.ts') continue;
    assert.doesNotMatch(codeOf(source), /\b(?:console|process)\b(?!\s*[:?])/, path);
    assert.ok(!importsOf(source).includes('node:process'), path);
  }
});

test('the clock comes in as an argument', () => {
  for (const [path, source] of sources) {
    if (path !== 'main.ts') assert.doesNotMatch(codeOf(source), /\bDate\b|\bperformance\b/, path);
  }
});

test('features of a kernel are tried: only doctor reads its version, to show it', () => {
  const matching = (pattern: RegExp): string[] =>
    [...sources].filter(([, source]) => pattern.test(source)).map(([path]) => path);
  const asks = /import \{[^}]*\b(?:release|version)\b[^}]*\} from 'node:os'|osrelease|\/proc\/version/;
  assert.deepEqual(matching(asks), ['host/inspect.ts']);
  assert.deepEqual(matching(/\bhost\.kernel\b/), ['core/doctor/host.ts']);
  assert.equal(sources.get('core/doctor/host.ts')?.match(/\bhost\.kernel\b/g)?.length, 1);
});

test('no async, any, enum or non-null assertion', () => {
  const forbidden: Readonly<Record<string, RegExp>> = {
    async: /\b(?:async|await|Promise|setTimeout|setInterval|setImmediate)\b/,
    any: /[:<,|&(=]\s*any\b|\bas any\b|\bany\[\]/,
    enum: /\benum\s+\w+\s*\{/,
    'non-null': /[\w)\]]!(?![=\w])/,
  };
  for (const [path, source] of sources) {
    for (const [name, pattern] of Object.entries(forbidden)) {
      assert.doesNotMatch(codeOf(source), pattern, `${name} in ${path}`);
    }
  }
});

test('a file begins with a line on its job and has a kebab-case name', () => {
  for (const [path, source] of sources) {
    assert.match(source, /^\/\/ \S.+\n/, path);
    assert.match(path, /^(?:[a-z0-9]+\/)*[a-z0-9]+(?:-[a-z0-9]+)*\.ts$/, path);
  }
});

test('a file has at most 400 lines, or a reason to have more', () => {
  const long = [...sources].filter(([, source]) => source.split('\n').length - 1 > MOST_LINES);
  assert.deepEqual(long.map(([path]) => path).sort(), [...LONG_FILES.keys()].sort());
});

test('a switch on kind ends in satisfies never', () => {
  for (const [path, source] of sources) {
    const code = codeOf(source);
    const switches = code.match(/\bswitch \([\w.?]+\.kind\)/g)?.length ?? 0;
    const ends = code.match(/satisfies never/g)?.length ?? 0;
    assert.ok(ends >= switches, `${path}: ${switches} switches on kind, ${ends} ends`);
  }
});

test('the checks of this file find what they forbid', () => {
  assert.match(codeOf('let a = b!.c;'), /[\w)\]]!(?![=\w])/);
  assert.doesNotMatch(codeOf("if (a !== b) say('no!'); // yes!"), /[\w)\]]!(?![=\w])/);
  const template = (expression: string): string => codeOf(`const a = \`no! \${${expression}}\`;`);
  assert.match(template('b!.c'), /[\w)\]]!(?![=\w])/);
  assert.match(template("b ? 'no!' : process.pid"), /\bprocess\b/);
  assert.doesNotMatch(template("b ? 'no!' : c"), /!/);
  assert.deepEqual(
    importsOf("import { a } from './a.ts';\nexport type { B } from './b.ts';\nimport './c.ts';"),
    ['./a.ts', './b.ts', './c.ts'],
  );
});
