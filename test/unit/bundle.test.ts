// The bundle runs on the oldest Node.js that the packages take. The compiler holds `src` to its types; libraries in the
// bundle, and what packages and the role demand, are held here.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { transformSync } from 'esbuild';
import { PRODUCT } from '../lib/snoopy.ts';
import { ROOT } from './golden.ts';

/** Methods of ECMAScript 2023 that Node.js 18 has. */
const IN_NODE_18 = ['findLast', 'findLastIndex'];
/** Methods of the bundle's own classes with the name of a newer one. */
const OWN = ['grow'];

const bundle = readFileSync(PRODUCT, 'utf8');
const manifest = JSON.parse(readFileSync(`${ROOT}package.json`, 'utf8')) as {
  readonly engines: { readonly node: string };
  readonly devDependencies: Readonly<Record<string, string>>;
};
const oldest = manifest.engines.node.replace('>=', '');

/** The members of ECMAScript's objects in the declarations of TypeScript whose editions `pick` takes. */
function membersOf(pick: (edition: number) => boolean): Set<string> {
  const platform = `@typescript/typescript-${process.platform}-${process.arch}/package.json`;
  const typescript = createRequire(`${ROOT}node_modules/typescript/package.json`);
  const directory = join(dirname(typescript.resolve(platform)), 'lib');
  const files = readdirSync(directory).filter((name) => {
    const [, edition] = /^lib\.es(\d+|next)\.\w+\.d\.ts$|^lib\.es5\.d\.ts$/.exec(name) ?? [];
    const isEs5 = name === 'lib.es5.d.ts';
    return (isEs5 || edition !== undefined) && pick(isEs5 ? 5 : edition === 'next' ? 9999 : Number(edition));
  });
  assert.ok(files.length > 0, directory);
  const text = files.map((name) => readFileSync(join(directory, name), 'utf8')).join('\n');
  return new Set([...text.matchAll(/^ {4}([a-z]\w+)[<(]/gm)].map(([, name]) => name ?? ''));
}

test('the bundle has no syntax that the oldest Node.js lacks', () => {
  const lowered = (target: string): string => transformSync(bundle, { target }).code;
  assert.equal(lowered(`node${oldest}`), lowered('esnext'));
});

test('the bundle calls no method that the oldest Node.js lacks', () => {
  const known = membersOf((edition) => edition <= 2022);
  const newer = [...membersOf((edition) => edition > 2022)].filter((name) => !known.has(name));
  for (const name of ['toSorted', 'groupBy', 'withResolvers', 'union', 'fromAsync', ...IN_NODE_18, ...OWN])
    assert.ok(newer.includes(name), `${name} is found in the declarations`);
  const allowed = new Set([...IN_NODE_18, ...OWN]);
  const called = newer.filter((name) => new RegExp(`[^.]\\.${name}\\(`).test(bundle));
  assert.deepEqual(
    called.filter((name) => !allowed.has(name)),
    [],
  );
});

test('compiler, bundler, .deb and role agree on the oldest Node.js', () => {
  assert.match(manifest.devDependencies['@types/node'] ?? '', new RegExp(`^${oldest}\\.`));
  for (const [path, text] of [
    ['src/bundle.mjs', `target: 'node${oldest}'`],
    ['schema/build.mjs', `target: 'node${oldest}'`],
    ['packaging/build.ts', `nodejs (>= ${oldest})`],
    ['ansible/roles/snoopy/vars/main.yml', `snoopy__node_needed: "${oldest}"`],
    ['README.md', `Node.js ${oldest} or later`],
  ] as const)
    assert.ok(readFileSync(`${ROOT}${path}`, 'utf8').includes(text), `${path} lacks ${text}`);
});
