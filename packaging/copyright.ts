// The machine-readable file `copyright` of the packages (DEP-5), with the authors of bundled packages.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** `root` is the project's. Throws if a part is not under the MIT license, which Debian calls Expat. */
export function copyrightText(root: string): string {
  const own = readFileSync(join(root, 'LICENSE'), 'utf8');
  const bundled = bundledPackages(root).flatMap((name) =>
    holdersOf(join(root, 'node_modules', name)).map((holder) => `${holder} (${name})`),
  );
  const [ours, koffi] = [holdersIn(own), holdersOf(join(root, 'node_modules/koffi'))];
  const license = own.slice(own.indexOf('Permission is hereby granted')).trimEnd().split('\n');
  return [
    'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/',
    'Upstream-Name: snoopy',
    '',
    ...paragraph('*', ours),
    ...paragraph('*/snoopy.cjs', [...ours, ...bundled]),
    ...paragraph('*/node_modules/koffi/*', koffi),
    'License: Expat',
    ...license.map((line) => (line === '' ? ' .' : ` ${line}`)),
    'Comment: The eBPF program in snoopy.cjs may also be used under GPL-2.0-only.',
    '',
  ].join('\n');
}

function paragraph(files: string, holders: readonly string[]): string[] {
  return [`Files: ${files}`, `Copyright: ${holders.join('\n           ')}`, 'License: Expat', ''];
}

/** The packages in the bundle: esbuild names each module in a comment. */
function bundledPackages(root: string): string[] {
  const bundle = readFileSync(join(root, 'dist/snoopy.cjs'), 'utf8');
  const found = bundle.matchAll(/^(?:\/\/ | +")node_modules\/((?:@[^/\n]+\/)?[^/\n]+)\//gm);
  return [...new Set([...found].map(([, name]) => name ?? ''))].sort();
}

function holdersOf(directory: string): string[] {
  const { license } = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8')) as {
    license: string;
  };
  if (license !== 'MIT')
    throw new Error(`${directory} is under ${license}: add that to packaging/copyright.ts`);
  const file = readdirSync(directory).find((name) => /^licen[cs]e/i.test(name));
  const holders = file === undefined ? [] : holdersIn(readFileSync(join(directory, file), 'utf8'));
  if (holders.length === 0) throw new Error(`${directory} names no copyright holder`);
  return holders;
}

/** The text after `Copyright (c)` or `(c)` at the start of a line. */
function holdersIn(license: string): string[] {
  return [...license.matchAll(/^(?:Copyright )?\(c\) +(.*)$/gim)].map(([, holder]) => holder ?? '');
}
