import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { IfIndex, Mac } from '../../../src/base/address.ts';
import { type ForwardingEntry, ForwardingTable } from '../../../src/netlink/forwarding-table.ts';
import { check } from '../../fuzz/property.ts';

function tableOf(entries: readonly ForwardingEntry[]): ForwardingTable {
  const table = new ForwardingTable();
  for (const entry of entries) table.push(entry);
  return table;
}

/** One of few MACs, so that some of them repeat. */
const macs = fc
  .tuple(fc.constantFrom(0x02, 0x06, 0xfe), fc.nat(3), fc.nat(0xff), fc.nat(2))
  .map(([a, b, c, d]) => [a, 0xab, b, c, 0, d].map((byte) => byte.toString(16).padStart(2, '0')).join(':'));
const entries = fc.array(
  fc.record(
    {
      vlan: fc.constantFrom(0, 1, 10, 4094),
      mac: macs.map((mac) => mac as Mac),
      port: fc.integer({ min: 1, max: 0x7fffffff }).map((port) => port as IfIndex),
      activity: fc.constantFrom('active' as const, 'inactive' as const),
    },
    { requiredKeys: ['vlan', 'mac', 'port'] },
  ),
  { maxLength: 2_000, size: 'max' },
);

describe('a forwarding table', () => {
  it('has the last port and activity of each VLAN and MAC, in the order of first insertion', () => {
    check(entries, 50, (pushed) => {
      const model = new Map<string, ForwardingEntry>();
      for (const entry of pushed) model.set(`${entry.vlan} ${entry.mac}`, { ...entry });
      const table = tableOf(pushed);
      assert.deepEqual([...table], [...model.values()]);
      for (const { vlan, mac, port, activity = 'untracked' } of model.values()) {
        assert.equal(table.portOf(vlan, mac), port);
        assert.equal(table.activityOf(vlan, mac), activity);
      }
    });
  });

  it('has nothing for other VLANs and MACs', () => {
    const table = tableOf([
      { vlan: 10, mac: '02:00:00:00:00:01' as Mac, port: 5 as IfIndex },
      { vlan: 0, mac: 'fe:ff:ff:ff:ff:ff' as Mac, port: 6 as IfIndex },
    ]);
    assert.equal(table.portOf(10, '02:00:00:00:00:01' as Mac), 5);
    assert.equal(table.portOf(0, 'fe:ff:ff:ff:ff:ff' as Mac), 6);
    for (const [vlan, mac] of [
      [0, '02:00:00:00:00:01'],
      [11, '02:00:00:00:00:01'],
      [10, '02:00:00:00:00:02'],
      [10, '03:00:00:00:00:01'],
      [10, 'fe:ff:ff:ff:ff:ff'],
      [0, '00:00:00:00:00:00'],
    ] as const) {
      assert.equal(table.portOf(vlan, mac as Mac), undefined, `${vlan} ${mac}`);
    }
    assert.deepEqual([...new ForwardingTable()], []);
  });
});
