// The versions in manifests, changelogs and documents agree; and where they do not, that is found.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readTexts, unreleased, versionProblems } from '../../packaging/release.ts';
import { ROOT } from './golden.ts';

const texts = readTexts(ROOT);

/** The problems when the first `from` in a file is `to`. */
function problemsWith(path: string, from: string, to: string): string[] {
  const text = texts.get(path) ?? '';
  assert.ok(text.includes(from), `${path} has ${from}`);
  return versionProblems(new Map([...texts, [path, text.replace(from, to)]]));
}

test('the versions of the project agree', () => {
  assert.deepEqual(versionProblems(texts), []);
});

test('a version that differs is found, with its file', () => {
  const { version } = JSON.parse(texts.get('package.json') ?? '') as { version: string };
  const collection = /^version: (.*)$/m.exec(texts.get('ansible/galaxy.yml') ?? '')?.[1] ?? '';
  for (const [path, from, to] of [
    ['package-lock.json', `"version": "${version}"`, '"version": "9.9.9"'],
    ['CHANGELOG.md', `## [${version}]`, '## [9.9.9]'],
    ['README.md', `snoopy-evpn_${version}_amd64.deb`, 'snoopy-evpn_9.9.9_amd64.deb'],
    ['README.md', `snoopy-evpn-${version}.tgz`, 'snoopy-evpn-9.9.9.tgz'],
    ['docs/running.md', `snoopy-evpn-${version}-1.el9`, 'snoopy-evpn-9.9.9-1.el9'],
    ['ansible/README.md', `snoopy-evpn-${collection}.tar.gz`, 'snoopy-evpn-9.9.9.tar.gz'],
    ['ansible/CHANGELOG.md', `## ${collection}`, '## 9.9.9'],
    ['ansible/examples/inventory.yml', `snoopy-evpn_${version}`, 'snoopy-evpn_9.9.9'],
  ] as const) {
    const problems = problemsWith(path, from, to);
    assert.equal(problems.length, 1, problems.join('\n'));
    assert.match(problems[0] ?? '', new RegExp(`^${path} has 9\\.9\\.9, and not \\d+\\.\\d+\\.\\d+$`));
  }
  assert.ok(problemsWith('package.json', `"version": "${version}"`, '"version": "9.9.9"').length > 5);
  assert.deepEqual(problemsWith('CHANGELOG.md', `## [${version}]`, '## [Unreleased]'), [
    `CHANGELOG.md has no version, and not ${version}`,
  ]);
});

test('lines of the changelog that belong to no version are found', () => {
  const released = '# Changelog\n\n## [0.2.0] - 2026-11-30\n\n- A line.\n';
  assert.deepEqual(unreleased(released), []);
  const section = '## [Unreleased]\n\n### Fixed\n\n- Another.\n\n## [0.2.0]';
  assert.deepEqual(unreleased(released.replace('## [0.2.0]', section)), ['### Fixed', '- Another.']);
  assert.deepEqual(unreleased('## [Unreleased]\n\n- The last.\n'), ['- The last.']);
});
