// Errors of system calls: errno names, permissions and fixes. Importing a module must not load koffi.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { errnoName, systemError } from '../../../src/ffi/libc.ts';

describe('errors of system calls', () => {
  it('have the errno as the kernel spells it', () => {
    assert.deepEqual([1, 2, 11, 17, 95, 105, 524, 9999].map(errnoName), [
      'EPERM',
      'ENOENT',
      'EAGAIN',
      'EEXIST',
      'EOPNOTSUPP',
      'ENOBUFS',
      'ENOTSUPP',
      'errno 9999',
    ]);
  });

  it('name the missing capability, whatever the code', () => {
    const error = systemError({ operation: 'mount bpffs', object: '/x', code: 'bpffs_unusable' }, 1);
    assert.equal(error.code, 'not_permitted');
    assert.equal(error.message, 'Cannot mount bpffs: EPERM; run as root or with CAP_SYS_ADMIN');
  });

  it('have a detail and a fix', () => {
    const context = {
      operation: 'pin "/x"',
      object: '/x',
      code: 'pin_unusable',
      fix: 'mount bpffs',
    } as const;
    const error = systemError(context, 22, 'no bpffs');
    assert.equal(error.code, 'pin_unusable');
    assert.equal(error.errno, 'EINVAL');
    assert.equal(error.message, 'Cannot pin "/x": EINVAL (no bpffs); mount bpffs');
  });
});

describe('koffi', () => {
  it('is not loaded by importing the modules that use it', () => {
    const modules = [
      '../../../src/ffi/libc.js',
      ...['info', 'libbpf', 'link', 'map', 'object', 'pin'].map((name) => `../../../src/ffi/${name}.js`),
      '../../../src/netlink/socket.js',
    ];
    const script = `
      ${modules.map((path) => `await import(${JSON.stringify(new URL(path, import.meta.url).href)});`).join('\n')}
      const count = () => process.report.getReport().sharedObjects.filter((path) => path.includes('koffi')).length;
      const before = count();
      const { pageSize } = await import(${JSON.stringify(new URL(modules[0] ?? '', import.meta.url).href)});
      pageSize();
      console.log(before, count());`;
    const child = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
    assert.equal(child.stdout.trim(), '0 1', child.stderr);
  });
});
