// The warnings of a run.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { it } from 'node:test';
import type { IfIndex, IpAddress, Mac } from '../../../src/base/address.ts';
import { planHosts } from '../../../src/core/neighbors/plan.ts';
import type { Warning } from '../../../src/core/warning.ts';
import { distinctWarnings, warningsOf } from '../../../src/core/warnings.ts';
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

it('a port above its limit, which was lowered, has its number of bindings', () => {
  const [bridge] = topology.bridges;
  const [binding] = hosts.bindings;
  assert.ok(bridge !== undefined && binding !== undefined);
  const port = bridge.portsByIndex.get(binding.port)?.name;
  assert.ok(port !== undefined);
  const fullPorts = (bindingsPerPort: number): Warning[] => {
    const desired = {
      ...bridge.desired,
      limits: { ...bridge.desired.limits, bindingsPerPort },
    };
    const bindings = [1, 2, 3].map((n) => ({ ...binding, ip: `192.0.2.${n}` as IpAddress }));
    const plan = planHosts(
      { ...topology, bridges: [{ ...bridge, desired }] },
      { ...hosts, bindings },
      { protocol: 115, whole: true },
    );
    return warningsOf(plan, [], false).filter(({ kind }) => kind === 'full-port');
  };
  assert.deepEqual(fullPorts(2), [{ kind: 'full-port', port, count: 3, limit: 2 }]);
  assert.deepEqual(fullPorts(3), [{ kind: 'full-port', port, count: 3, limit: 3 }]);
  assert.deepEqual(fullPorts(4), []);
});

it('a warning that two passes have is one, with the newer number of bindings', () => {
  const full = (port: string, count: number): Warning => ({ kind: 'full-port', port, count, limit: 8 });
  const damaged: Warning = { kind: 'damaged-ring' };
  assert.deepEqual(
    distinctWarnings([full('tap1', 20), damaged, full('tap2', 8), full('tap1', 19), damaged]),
    [full('tap1', 19), damaged, full('tap2', 8)],
  );
});
