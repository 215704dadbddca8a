// What the role refuses before it changes anything, and what it installs first, with the facts of other systems.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { Scope } from '../lib/scope.ts';
import { Controller, type PlayResult, refusalOf } from './controller.ts';

const CONFIG = { version: 1, bridges: [{ name: 'vmbr0' }] };

describe('what cannot work is refused before anything is changed', () => {
  const scope = new Scope();
  const controller = new Controller(scope);
  after(() => scope.close());

  const LIBBPF = 'libbpf1:\n  Installed: (none)\n  Candidate: 1:1.1.2-0+deb12u1\n';
  // Of the first Debian 12, and of one with its security updates.
  const NODE_18_13 = `${LIBBPF}nodejs:\n  Installed: (none)\n  Candidate: 18.13.0+dfsg1-1\n`;
  const NODE_18_20 = `${LIBBPF}nodejs:\n  Installed: (none)\n  Candidate: 18.20.4+dfsg-1~deb12u1\n`;
  const NODE_20 = 'nodejs:\n  Installed: (none)\n  Candidate: 20.19.2+dfsg-1\n';
  const OLD_AND_NEW =
    'libbpf1:\n  Installed: 1:1.3.0-2build2\n  Candidate: 1:1.3.0-2build2\nnodejs:\n  Installed: 12.22.9\n  Candidate: 18.19.1+dfsg-6ubuntu5\n';

  interface System {
    readonly distribution: string;
    readonly version: string;
    readonly family?: string;
    /** The output of commands; a command that is not listed is missing. */
    readonly commands?: Readonly<Record<string, string>>;
  }

  const DEBIAN_12: System = { distribution: 'Debian', version: '12', commands: { 'apt-cache': NODE_18_20 } };
  const UBUNTU: System = { ...DEBIAN_12, distribution: 'Ubuntu', version: '24.04' };
  const ROCKY: System = { distribution: 'Rocky', version: '9', family: 'RedHat' };

  /** Only the part of the role that refuses, as on another system: with its facts and its commands. */
  function preflight(system: System, variables: object): PlayResult {
    const bin = controller.makeDir(`bin-${Math.random()}`);
    for (const [name, output] of Object.entries(system.commands ?? {})) {
      writeFileSync(join(bin, name), `#!/bin/sh\necho '${output}'\n`, { mode: 0o755 });
    }
    controller.addLocal('other');
    const { distribution, version, family = 'Debian' } = system;
    const facts = {
      distribution,
      distribution_version: version,
      distribution_major_version: version.split('.')[0],
      os_family: family,
      cacheable: true,
    };
    const vars = { snoopy_config: CONFIG, snoopy_package_checksum: '', ...variables };
    const role = { name: 'snoopy.evpn.snoopy', tasks_from: 'preflight', public: true };
    const tasks = [
      { 'ansible.builtin.set_fact': facts },
      { 'ansible.builtin.include_role': role, vars },
      { name: 'chosen', 'ansible.builtin.debug': { msg: '{{ snoopy__dependencies }}' }, vars },
    ];
    return controller.play([{ hosts: 'other', gather_facts: false, environment: { PATH: bin }, tasks }]);
  }

  for (const [what, system, variables, message] of [
    [
      'a Debian 12 without its updates',
      { ...DEBIAN_12, commands: { 'apt-cache': NODE_18_13 } },
      { snoopy_package: 'x.deb' },
      /Node.js 18\.19 or later.*apt has 18\.13\.0.*apt-get update.*repository/s,
    ],
    [
      'no Node.js at all',
      { ...DEBIAN_12, commands: { 'apt-cache': '' } },
      { snoopy_package: 'x.deb' },
      /knows no package nodejs.*apt-get update/s,
    ],
    [
      'Debian 11',
      { ...DEBIAN_12, version: '11' },
      { snoopy_package: 'x.deb' },
      /This is Debian 11.*Debian 12 and 13/,
    ],
    [
      'Alpine',
      { ...ROCKY, distribution: 'Alpine', family: 'Alpine' },
      { snoopy_package: 'x.tgz' },
      /This is Alpine/,
    ],
    ['a .deb for Enterprise Linux', ROCKY, { snoopy_package: 'x.deb' }, /on Rocky it has to be an \.rpm, or/],
    [
      'a Node.js that is no package for the RPM, and another stream',
      { ...ROCKY, commands: { node: 'v20.9.0\n', rpm: '16.20.2' } },
      { snoopy_package: 'x.rpm' },
      /Here is 16\.20.*dnf module reset nodejs/s,
    ],
    [
      'another stream on Enterprise Linux',
      { ...ROCKY, commands: { node: 'v16.20.2\n' } },
      { snoopy_package: 'x.tgz' },
      /Here is 16\.20.*dnf module reset nodejs/s,
    ],
    [
      'a tarball without npm',
      { ...DEBIAN_12, commands: { 'apt-cache': NODE_18_20, node: 'v22.1.0\n' } },
      { snoopy_package: 'x.tgz' },
      /npm, which is not there.*give the \.deb/s,
    ],
    [
      'a URL without checksum',
      DEBIAN_12,
      { snoopy_package: 'https://example.net/x.deb' },
      /snoopy_package_checksum/,
    ],
    ['no package', DEBIAN_12, {}, /snoopy_package and snoopy_config are needed/],
    ['a package of another kind', DEBIAN_12, { snoopy_package: 'x.rpm' }, /x\.rpm.*has to be a \.deb, or/s],
  ] as const) {
    test(what, () => {
      const refusal = refusalOf(preflight(system, variables));
      assert.match(refusal, message);
    });
  }

  for (const [what, system, snoopy_package, dependencies] of [
    ['Debian 12', DEBIAN_12, 'x.deb', ['libbpf1', 'nodejs=18.20.4+dfsg-1~deb12u1']],
    [
      'Debian 13',
      { ...DEBIAN_12, version: '13', commands: { 'apt-cache': NODE_20 } },
      'x.deb',
      ['libbpf1', 'nodejs=20.19.2+dfsg-1'],
    ],
    [
      'Ubuntu 24.04 with an old Node.js',
      { ...UBUNTU, commands: { 'apt-cache': OLD_AND_NEW } },
      'x.deb',
      ['nodejs=18.19.1+dfsg-6ubuntu5'],
    ],
    ['Enterprise Linux 9', ROCKY, 'x.tgz', ['libbpf', '@nodejs:20']],
    [
      'Enterprise Linux 9 with Node.js beside the packages',
      { ...ROCKY, commands: { node: 'v20.9.0\n', rpm: 'package nodejs is not installed\n' } },
      'x.rpm',
      ['libbpf', '@nodejs:20'],
    ],
    ['Enterprise Linux 9 with its package', { ...ROCKY, commands: { rpm: '18.20.8' } }, 'x.rpm', ['libbpf']],
    [
      'Enterprise Linux 9 with Node.js',
      { ...ROCKY, commands: { node: 'v18.20.4\n', npm: '/usr/local/lib/node_modules\n' } },
      'x.tgz',
      ['libbpf'],
    ],
  ] as const) {
    test(`${what} is accepted: what is installed first`, () => {
      const result = preflight(system, { snoopy_package });
      assert.equal(result.code, 0, result.stdout);
      assert.deepEqual(result.tasks.find(({ task }) => task === 'chosen')?.result.msg, dependencies);
    });
  }
});
