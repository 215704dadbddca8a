// The output of doctor on a terminal of 80 columns.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { failure, ok, warning } from '../../../src/core/doctor/check.ts';
import { renderDoctor } from '../../../src/render/doctor.ts';
import type { RenderOptions } from '../../../src/render/style.ts';
import { assertGolden } from '../golden.ts';

const PLAIN: RenderOptions = { color: false, diff: false, verbose: false, width: 80 };
const LONG = 'a-bridge-whose-name-is-longer-than-any';
const REPORT = {
  version: 1,
  ok: false,
  checks: [
    ok('kernel', null, 'Linux 6.18, loads the program'),
    ok('ports', 'vmbr0', '2 attached'),
    warning('neigh-suppress', {
      subject: 'vxlan100',
      found: 'off',
      remedy: 'bridge link set dev vxlan100 neigh_suppress on',
    }),
    warning('gc-thresh', {
      subject: null,
      found: 'gc_thresh1 is 128 and gc_thresh3 is 1024, and there are 12000 bindings of IPv4 on this host',
      remedy: 'sysctl net.ipv4.neigh.default.gc_thresh1=16384 net.ipv4.neigh.default.gc_thresh3=65536',
    }),
    failure('tunnel', {
      subject: LONG,
      found: 'no VXLAN port\u001b]0;x',
      remedy: `ip link add vxlan100 type vxlan id 100 local ADDRESS nolearning; ip link set vxlan100 master ${LONG} up`,
    }),
  ],
} as const;

test('prose is wrapped to the terminal and indented below its check; a fix can be copied', () => {
  const text = renderDoctor(REPORT, PLAIN);
  assertGolden('test/unit/render/snapshots/doctor.txt', text);
  for (const line of text.split('\n')) assert.ok(line.length <= 80 || /fix: /.test(line), line);
  assert.ok(!text.includes('\u001b'), 'a control character');
});

test('colored output is the same text', () => {
  const codes = new RegExp(`${String.fromCharCode(27)}\\[\\d+m`, 'g');
  assert.equal(
    renderDoctor(REPORT, { ...PLAIN, color: true }).replaceAll(codes, ''),
    renderDoctor(REPORT, PLAIN),
  );
});
