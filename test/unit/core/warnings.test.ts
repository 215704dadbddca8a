// The warnings of a run.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { it } from 'node:test';
import type { IfIndex, Mac } from '../../../src/base/address.ts';
import { distinct } from '../../../src/base/group.ts';
import { planHosts } from '../../../src/core/neighbors/plan.ts';
import type { Warning } from '../../../src/core/warning.ts';
import { warningsOf } from '../../../src/core/warnings.ts';
import type { Change } from '../../../src/datapath/records/change.ts';
import { ROOT } from '../golden.ts';
import { readCase } from './case.ts';

const { topology, hosts } = readCase(join(ROOT, 'test/unit/core/cases/a-frozen-duplicate-has-no-neighbor'));

it('a duplicate address on two bridges is one warning each, with the MACs of its own bridge', () => {
  const [bridge] = topology.bridges;
  const [binding] = hosts.bindings;
  assert.ok(bridge !== undefined && binding !== undefined);
  const other = {
    ...bridge,
    ifIndex: 99 as IfIndex,
    desired: { ...bridge.desired, name: 'br9' },
    domains: new Map(),
  };
  const both = {
    ...hosts,
    bindings: [binding, { ...binding, bridge: other.ifIndex }],
  };
  const decided = planHosts({ ...topology, bridges: [bridge, other] }, both, { protocol: 115, whole: true });
  const duplicate = (on: IfIndex, mac: string, oldMac: string): Change => ({
    kind: 'duplicate',
    bridge: on,
    vlan: binding.vlan,
    ip: binding.ip,
    port: binding.port,
    oldPort: binding.port,
    mac: mac as Mac,
    oldMac: oldMac as Mac,
  });
  const warnings = warningsOf(
    decided,
    [
      duplicate(bridge.ifIndex, '02:00:00:00:00:01', '02:00:00:00:00:02'),
      duplicate(other.ifIndex, '02:00:00:00:00:03', '02:00:00:00:00:04'),
    ],
    false,
  );
  assert.deepEqual(
    warnings.map((warning) => (warning.kind === 'duplicate' ? [warning.bridge, ...warning.macs] : [])),
    [
      [bridge.desired.name, '02:00:00:00:00:01', '02:00:00:00:00:02'],
      ['br9', '02:00:00:00:00:03', '02:00:00:00:00:04'],
    ],
  );
});

it('a warning that two passes have is one', () => {
  const full = (port: string): Warning => ({ kind: 'full-port', port, limit: 8 });
  assert.deepEqual(distinct([full('tap1'), full('tap2'), full('tap1')]), [full('tap1'), full('tap2')]);
});
