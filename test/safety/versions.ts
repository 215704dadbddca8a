// Other versions of the product: one that was in use, and those that are built with another program and layout.
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { SNOOPY_ABI as ABI, BINDING } from '../../src/generated/layouts.ts';
import { run } from '../lib/run.ts';
import type { Scope } from '../lib/scope.ts';
import { PRODUCT } from '../lib/snoopy.ts';
import { createTempDir } from '../lib/temp.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

/** A version of the product. */
export interface Version {
  readonly abi: number;
  /** Path of its bundle. */
  readonly bundle: string;
}

/** The product of this tree. */
export const THIS: Version = { abi: ABI, bundle: PRODUCT };

/** The last version of an earlier ABI, as it was built then (see the READMEs). */
export function earlierVersion(scope: Scope, abi: 1 | 2): Version {
  const bundle = gunzipSync(readFileSync(join(ROOT, `test/safety/abi${abi}/snoopy.cjs.gz`)));
  return { abi, bundle: writeBundle(scope, abi, bundle.toString()) };
}

/** This version with another digest: the effect of a change to the program alone. */
export function otherBuild(scope: Scope): Version {
  return makeVersion(scope, {
    abi: ABI,
    binding: BINDING.size,
    object: Buffer.concat([ownObject(), Buffer.alloc(8)]),
  });
}

/** A later version, whose bindings have one field more. */
export function nextVersion(scope: Scope): Version {
  return makeVersion(scope, { abi: ABI + 1, binding: BINDING.size + 8, object: compileNext(scope) });
}

/** A later version that has changed something other than its bindings. */
export function alikeVersion(scope: Scope): Version {
  return makeVersion(scope, {
    abi: ABI + 1,
    binding: BINDING.size,
    object: Buffer.concat([ownObject(), Buffer.alloc(8)]),
  });
}

function ownObject(): Buffer {
  return objectOf(THIS);
}

/** The program of a version, as an ELF object. */
export function objectOf({ bundle }: Version): Buffer {
  const base64 = /OBJECT_BASE64 = "([^"]+)"/.exec(readFileSync(bundle, 'utf8'))?.[1];
  if (base64 === undefined) throw new Error(`${bundle} has no object in it`);
  return Buffer.from(base64, 'base64');
}

/** Writes a bundle where it finds what it needs; returns its path. */
function writeBundle(scope: Scope, abi: number, text: string): string {
  const dir = createTempDir(scope, `abi${abi}`);
  symlinkSync(join(ROOT, 'node_modules'), join(dir, 'node_modules'));
  const bundle = join(dir, 'snoopy.cjs');
  writeFileSync(bundle, text);
  return bundle;
}

function makeVersion(
  scope: Scope,
  { abi, binding, object }: { abi: number; binding: number; object: Buffer },
): Version {
  const digest = createHash('sha256').update(object).digest('hex');
  const replacements: readonly [RegExp, string][] = [
    [/(?<=SNOOPY_ABI = )\d+(?=;)/g, String(abi)],
    [/(?<=\bBINDING = \{\s*size: )\d+(?=,)/g, String(binding)],
    [/(?<=\bbindings: \{ type: 1, keySize: 24, valueSize: )\d+(?=,)/g, String(binding)],
    [/(?<=OBJECT_DIGEST = ")[0-9a-f]{64}(?=";)/g, digest],
    [/(?<=OBJECT_BASE64 = ")[^"]+(?=";)/g, object.toString('base64')],
  ];
  let text = readFileSync(PRODUCT, 'utf8');
  for (const [pattern, value] of replacements) {
    const found = text.match(pattern)?.length ?? 0;
    if (found !== 1) throw new Error(`${pattern} is ${found} times in ${PRODUCT}, not once`);
    text = text.replace(pattern, value);
  }
  return { abi, bundle: writeBundle(scope, abi, text) };
}

function compileNext(scope: Scope): Buffer {
  const dir = createTempDir(scope, 'next');
  for (const name of ['snoopy.bpf.c', 'snoopy.h']) {
    const text = readFileSync(join(ROOT, 'bpf', name), 'utf8')
      .replace(`#define SNOOPY_ABI ${ABI}`, `#define SNOOPY_ABI ${ABI + 1}`)
      .replace('\t__u32 pad2; /* zero */\n', '\t__u32 pad2; /* zero */\n\t__u64 future;\n')
      .replace(
        `SNOOPY_SIZE(snoopy_binding, ${BINDING.size});`,
        `SNOOPY_SIZE(snoopy_binding, ${BINDING.size + 8});`,
      );
    mkdirSync(join(dir, 'bpf'), { recursive: true });
    writeFileSync(join(dir, 'bpf', name), text);
  }
  const object = join(dir, 'snoopy.bpf.o');
  const triple = run(['clang', '-dumpmachine']).trim().replace('-pc-', '-').replace('-unknown-', '-');
  const options = ['-target', 'bpf', '-mcpu=v2', '-O2', '-g', '-idirafter', `/usr/include/${triple}`];
  run(['clang', ...options, '-c', join(dir, 'bpf/snoopy.bpf.c'), '-o', object]);
  run(['llvm-strip', '-g', object]);
  return readFileSync(object);
}
