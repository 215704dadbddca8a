// Whether the files of the project agree on its versions.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** A file of the project: path and text. */
export type Texts = ReadonlyMap<string, string>;

/** A file name of a package, such as snoopy-evpn_0.2.0_amd64.deb. */
const PACKAGE = /snoopy-evpn[_-](\d+\.\d+\.\d+)(?=_(?:amd64|arm64)\.deb|\.tgz|-1\.el9)/g;
/** A file name of the collection. */
const COLLECTION = /snoopy-evpn-(\d+\.\d+\.\d+)(?=\.tar\.gz)/g;

/** The manifests, the changelogs and all documents below `root`. */
export function readTexts(root: string): Texts {
  const documents = ['docs', 'ansible'].flatMap((directory) =>
    readdirSync(join(root, directory), { recursive: true, encoding: 'utf8' })
      .filter((name) => /\.(?:md|yml)$/.test(name))
      .map((name) => join(directory, name)),
  );
  const paths = ['package.json', 'package-lock.json', 'README.md', 'CHANGELOG.md', ...documents];
  return new Map(paths.map((path) => [path, readFileSync(join(root, path), 'utf8')]));
}

/** What disagrees, one line each. `texts` is what readTexts returns. */
export function versionProblems(texts: Texts): string[] {
  const version = manifestOf(texts, 'package.json').version;
  const lock = manifestOf(texts, 'package-lock.json');
  const collection = /^version: (\S+)$/m.exec(textOf(texts, 'ansible/galaxy.yml'))?.[1];
  return [
    ...differing('package-lock.json', version, [lock.version, lock.packages?.['']?.version]),
    ...differing('CHANGELOG.md', version, [releasesOf(textOf(texts, 'CHANGELOG.md'))[0]]),
    ...differing('ansible/CHANGELOG.md', collection, [releasesOf(textOf(texts, 'ansible/CHANGELOG.md'))[0]]),
    ...[...texts].flatMap(([path, text]) => [
      ...differing(path, version, found(text, PACKAGE)),
      ...differing(path, collection, found(text, COLLECTION)),
    ]),
  ];
}

/** The lines of the changelog that belong to no version yet. */
export function unreleased(changelog: string): string[] {
  const [, section = ''] = /^## \[Unreleased\]\n([\s\S]*?)(?=^## |$(?![\s\S]))/m.exec(changelog) ?? [];
  return section.split('\n').filter((line) => line !== '');
}

interface Manifest {
  readonly version?: string;
  readonly packages?: Readonly<Record<string, { readonly version?: string }>>;
}

function manifestOf(texts: Texts, path: string): Manifest {
  return JSON.parse(textOf(texts, path)) as Manifest;
}

function textOf(texts: Texts, path: string): string {
  const text = texts.get(path);
  if (text === undefined) throw new Error(`${path} is missing`);
  return text;
}

/** The versions that a changelog has a section of, newest first. */
function releasesOf(changelog: string): string[] {
  return found(changelog, /^## \[?(\d+\.\d+\.\d+)\]?/gm);
}

function found(text: string, pattern: RegExp): string[] {
  return [...text.matchAll(pattern)].map(([, version]) => version ?? '');
}

function differing(
  path: string,
  expected: string | undefined,
  versions: readonly (string | undefined)[],
): string[] {
  return versions
    .filter((version) => version === undefined || version !== expected)
    .map((version) => `${path} has ${version ?? 'no version'}, and not ${expected ?? 'a version'}`);
}
