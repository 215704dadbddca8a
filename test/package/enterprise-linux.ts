// An Enterprise Linux 9 as far as rpm, dnf and Ansible see one, of the root `rpm`, which is a Debian 12 with rpm and dnf.
import { copyFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from '../lib/run.ts';
import type { Scope } from '../lib/scope.ts';
import { createTempDir } from '../lib/temp.ts';

const SPEC = fileURLToPath(new URL('../../../test/package/enterprise-linux.spec', import.meta.url));

/** Packages without a program that stand for those of the system: what they provide, with a version of Node.js. */
export function systemPackages(scope: Scope, node: string): string[] {
  const top = createTempDir(scope, 'system');
  run(['rpmbuild', '-bb', '--define', `_topdir ${top}`, '--define', `node ${node}`, SPEC]);
  const directory = join(top, 'RPMS/noarch');
  return readdirSync(directory).map((name) => join(directory, name));
}

/** Installs these packages in a root that has not booted yet, and gives it the name of a Rocky Linux. */
export function makeEnterpriseLinux(scope: Scope, root: string, node = '18.20.8'): void {
  const files = systemPackages(scope, node).map((file) => {
    copyFileSync(file, join(root, 'root', basename(file)));
    return join('/root', basename(file));
  });
  // The database belongs to the user who starts rpm.
  const argv = ['env', 'HOME=/root', 'rpm', '--force-debian', '--install', ...files];
  run(['chroot', root, ...argv]);
  for (const file of files) rmSync(join(root, file));
  rmSync(join(root, 'etc/debian_version'));
  rmSync(join(root, 'etc/os-release'));
  writeFileSync(
    join(root, 'etc/os-release'),
    'NAME="Rocky Linux"\nID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.5"\n',
  );
  writeFileSync(join(root, 'etc/redhat-release'), 'Rocky Linux release 9.5 (Blue Onyx)\n');
}
