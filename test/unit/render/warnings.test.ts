// The words of each warning: one line, what is so, what it means, what to do.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Warning } from '../../../src/core/warning.ts';
import { formatWarning } from '../../../src/render/warnings.ts';
import { assertGolden } from '../golden.ts';
import { ip, mac } from './reports.ts';

const HOST = { ip: ip('192.168.1.10'), bridge: 'vmbr0', vlan: 0 };
const FIRST = mac('02:00:00:00:00:01');
const SECOND = mac('02:00:00:00:00:02');
const CLAIM = { owner: FIRST, ownerPort: 'tap1', claimant: SECOND, claimantPort: 'tap2' };
const WEAKNESS = { path: '/srv', writer: 'user 1000', fix: 'chown root /srv' };

type Variants<Kind> = readonly Extract<Warning, { kind: Kind }>[];

const WARNINGS: { readonly [Kind in Warning['kind']]: Variants<Kind> } = {
  'no-bridge': [
    { kind: 'no-bridge', isSetUp: false },
    { kind: 'no-bridge', isSetUp: true },
  ],
  unnamed: [
    { kind: 'unnamed', bridges: ['br5'] },
    { kind: 'unnamed', bridges: ['100', 'br5'] },
  ],
  'lost-pins': [{ kind: 'lost-pins' }],
  'other-program': [{ kind: 'other-program', ports: ['tap1', 'tap2'], directory: '/sys/fs/bpf/snoopy' }],
  recovered: [
    { kind: 'recovered', count: 1 },
    { kind: 'recovered', count: 3 },
  ],
  'damaged-ring': [{ kind: 'damaged-ring' }],
  duplicate: [
    { kind: 'duplicate', ...HOST, macs: [FIRST, SECOND] },
    { kind: 'duplicate', ...HOST, vlan: 10, macs: [] },
  ],
  limited: [
    {
      kind: 'limited',
      ports: [
        { name: 'tap1', count: 50 },
        { name: 'tap2', count: 1 },
      ],
    },
  ],
  'full-port': [
    { kind: 'full-port', port: 'tap1', count: 64, limit: 64 },
    { kind: 'full-port', port: 'tap2', count: 1000, limit: 64 },
  ],
  'full-table': [
    {
      kind: 'full-table',
      count: 60_000,
      max: 65_536,
      ports: [
        { name: 'tap1', count: 50_000 },
        { name: 'tap2', count: 64 },
      ],
    },
  ],
  kept: [
    { kind: 'kept', ...HOST, ...CLAIM },
    { kind: 'kept', ...HOST, vlan: 10, ...CLAIM, claimantPort: null },
  ],
  unverified: [
    { kind: 'unverified', message: 'vtysh -c "show evpn vni detail json" fails: no answer in 2 s' },
  ],
  unprobed: [
    { kind: 'unprobed', count: 1 },
    { kind: 'unprobed', count: 3 },
  ],
  'not-frozen': [{ kind: 'not-frozen', ip: HOST.ip }],
  'untrusted-config': [{ kind: 'untrusted-config', path: '/srv/snoopy.yaml', weakness: WEAKNESS }],
};

test('each warning is one line', () => {
  const lines = Object.entries(WARNINGS).flatMap(([kind, warnings]) =>
    warnings.map((warning: Warning) => `${kind}  ${formatWarning(warning)}\n`),
  );
  for (const line of lines) assert.match(line, /^[a-z-]+ {2}\S[^\n]*: [^\n]*[^\n.;]\n$/);
  assertGolden('test/unit/render/snapshots/warnings.txt', lines.join(''));
});
