import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { IfIndex, IpAddress } from '../../../src/base/address.ts';
import type { Pins } from '../../../src/datapath/pins.ts';
import { type BindingKey, bindingId } from '../../../src/datapath/records/binding-key.ts';
import { recountBindings } from '../../../src/host/bindings.ts';

const BACK = 7 as IfIndex;
const OTHER = 8 as IfIndex;

function key(n: number): BindingKey {
  return { bridge: 2 as IfIndex, vlan: 0, ip: `10.1.0.${n}` as IpAddress };
}

/** Maps with these bindings, by port, and a port that has just come back; the program may have learned there since. */
function pinsWith(ports: readonly IfIndex[], gained: number): { pins: Pins; released: () => number } {
  const bindings = new Map(ports.map((port, n) => [bindingId(key(n)), { ...key(n), port }]));
  let policy = { released: 0 };
  const tables = {
    bindings: {
      valuesOf: (keys: readonly BindingKey[]) => keys.flatMap((one) => bindings.get(bindingId(one)) ?? []),
    },
    state: { entriesOf: () => [[BACK, { gained, lost: 0 }]] },
    ports: {
      entriesOf: () => [[BACK, policy]],
      get: (port: IfIndex) => (port === BACK ? policy : undefined),
      set: (_: IfIndex, next: typeof policy) => {
        policy = next;
      },
    },
  };
  return { pins: { tables, oldBindings: [] } as unknown as Pins, released: () => policy.released };
}

test('the bindings of a port that has come back are added to what the program has counted since', () => {
  for (const gained of [0, 4]) {
    const { pins, released } = pinsWith([BACK, BACK, OTHER], gained);
    recountBindings(pins, [BACK], [0, 1, 2, 3].map(key));
    // gained - lost - released: two that were there, and those that are new.
    assert.equal(gained - released(), gained + 2);
  }
});
