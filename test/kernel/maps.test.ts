// Tables of src/datapath over maps of the real object, in this kernel, and writes of src/host to its hints.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { IfIndex, IpAddress, Mac } from '../../src/base/address.ts';
import { SnoopyError } from '../../src/base/errors.ts';
import {
  bindingTable,
  type MapName,
  mismatchesOf,
  objectMapName,
  shapeOf,
  tablesOf,
} from '../../src/datapath/maps.ts';
import type { Binding } from '../../src/datapath/records/binding.ts';
import { NO_COUNTS } from '../../src/datapath/records/port.ts';
import type { SeenHint } from '../../src/datapath/records/seen-hint.ts';
import { openMap } from '../../src/datapath/table.ts';
import { mapUpdate } from '../../src/ffi/map.ts';
import { loadObject } from '../../src/ffi/object.ts';
import { BINDING_KEY, MAPS } from '../../src/generated/layouts.ts';
import { OBJECT_BASE64 } from '../../src/generated/object.ts';
import { countProbe, deleteSeenHint } from '../../src/host/seen-hints.ts';

const NAMES = Object.keys(MAPS) as MapName[];
const ROOM = 1000;

function withMaps(use: (maps: ReadonlyMap<MapName, ReturnType<typeof openMap>>) => void): void {
  const maxEntries = new Map([[objectMapName('bindings'), ROOM]]);
  const options = { program: 'snoopy', maxEntries, reuse: new Map() };
  const loaded = loadObject(Buffer.from(OBJECT_BASE64, 'base64'), options);
  try {
    use(new Map(NAMES.map((name) => [name, openMap(loaded.maps.get(objectMapName(name)) ?? -1)])));
  } finally {
    loaded.close();
  }
}

function binding(number: number): Binding {
  return {
    bridge: 2 as IfIndex,
    vlan: 0,
    ip: `10.0.${number >> 8}.${number & 255}` as IpAddress,
    mac: '02:00:00:00:00:01' as Mac,
    router: false,
    port: 4 as IfIndex,
    moves: 0,
    firstSeenMs: 1000,
    lastSeenMs: 2000 + number,
    windowMs: 0,
    frozenUntilMs: 0,
    owner: null,
  };
}

describe('the maps that the kernel makes of the object', () => {
  it('have the shapes that the build has read from its BTF', () => {
    withMaps((maps) => {
      for (const [name, { info }] of maps) {
        const room = name === 'bindings' ? ROOM : MAPS[name].maxEntries;
        assert.deepEqual(mismatchesOf(info, shapeOf(name, room)), [], name);
      }
    });
  });
});

describe('a table', () => {
  it('has a value from its write to its deletion', () => {
    withMaps((maps) => {
      const { bindings } = tablesOf(maps);
      assert.ok(bindings !== undefined);
      assert.equal(bindings.get(binding(1)), undefined);
      assert.equal(bindings.set(binding(1), binding(1), 'existing'), false);
      assert.equal(bindings.set(binding(1), binding(1), 'new'), true);
      assert.equal(bindings.set(binding(1), binding(2), 'new'), false);
      assert.deepEqual(bindings.get(binding(1)), binding(1));
      assert.equal(bindings.delete(binding(1)), true);
      assert.equal(bindings.delete(binding(1)), false);
    });
  });

  it('is written and read in batches, without malformed entries', () => {
    withMaps((maps) => {
      const { bindings, state, seen } = tablesOf(maps);
      assert.ok(bindings !== undefined && state !== undefined && seen !== undefined);
      // Port 1, slot 0.
      const { fd, info } = seen.map;
      mapUpdate(fd, new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0]), new Uint8Array(info.valueSize).fill(255));
      const slot = { port: 1 as IfIndex, slot: 0 };
      assert.throws(() => seen.get(slot), /malformed|Cannot/);
      assert.deepEqual(seen.valuesOf([slot]), []);
      const all = Array.from({ length: ROOM - 1 }, (_, i) => binding(i));
      bindings.setAll(all.map((one) => [one, one]));
      const malformed = new Uint8Array(BINDING_KEY.size).fill(255);
      mapUpdate(bindings.map.fd, malformed, new Uint8Array(bindings.map.info.valueSize));
      const found = bindings.values().sort((a, b) => a.lastSeenMs - b.lastSeenMs);
      assert.deepEqual(found, all);
      const full = () => bindings.set(binding(5000), binding(5000));
      assert.throws(full, (thrown) => thrown instanceof SnoopyError && thrown.errno === 'E2BIG');
      state.setAll([[7 as IfIndex, NO_COUNTS]]);
      assert.deepEqual(state.entries(), [[7, NO_COUNTS]]);
      assert.deepEqual(state.entriesOf([8, 7] as IfIndex[]), [[7, NO_COUNTS]]);
    });
  });

  it('of an older version has zero in the fields that it lacks', () => {
    withMaps((maps) => {
      // A map with values of another size stands in for the bindings of ABI 1, which had 48 bytes.
      const rejected = maps.get('rejected');
      assert.equal(rejected?.info.valueSize, 48);
      assert.ok(rejected !== undefined);
      const old = bindingTable(rejected);
      const value = new Uint8Array(48);
      value[0] = 2;
      value[24] = 1;
      const key = new Uint8Array(BINDING_KEY.size);
      key.set([2, 0, 0, 0, 0, 0, 2, 0, 10, 0, 0, 9]);
      mapUpdate(rejected.fd, key, value);
      const [found] = old.values();
      assert.deepEqual([found?.ip, found?.mac, found?.owner], ['10.0.0.9', '02:00:00:00:00:00', null]);
      assert.deepEqual(found && old.get(found), found);
    });
  });
});

describe('a hint of the program', () => {
  const hint: SeenHint = {
    port: 4 as IfIndex,
    slot: 17,
    bridge: 2 as IfIndex,
    vlan: 0,
    ip: '10.0.0.9' as IpAddress,
    mac: '02:00:00:00:00:09' as Mac,
    kind: 'solicitation',
    probes: 1,
    seenMs: 1000,
    probedMs: 500,
  };
  /** What the program may have put into the slot since a run has read the hint. */
  const others: Readonly<Record<string, SeenHint>> = {
    'another address': { ...hint, ip: '10.0.0.10' as IpAddress, probes: 0, probedMs: 0 },
    'the same address in another VLAN': { ...hint, vlan: 7, probes: 0, probedMs: 0 },
    'another MAC': { ...hint, mac: '02:00:00:00:00:0a' as Mac, probes: 0, probedMs: 0 },
  };
  const repeated: SeenHint = { ...hint, kind: 'anycast', seenMs: 1500 };

  /** The entry of the slot after `write`, when it was `entry` before. */
  function after(entry: SeenHint | undefined, write: (pins: Parameters<typeof deleteSeenHint>[0]) => void) {
    let left: SeenHint | undefined;
    withMaps((maps) => {
      const tables = tablesOf(maps);
      if (entry !== undefined) tables.seen?.set(entry, entry);
      write({ tables });
      left = tables.seen?.get(hint);
    });
    return left;
  }

  it('is deleted, and counts its probe', () => {
    assert.equal(
      after(hint, (pins) => deleteSeenHint(pins, hint)),
      undefined,
    );
    assert.deepEqual(
      after(hint, (pins) => countProbe(pins, hint, 2000)),
      { ...hint, probes: 2, probedMs: 2000 },
    );
  });

  for (const [name, other] of Object.entries(others)) {
    it(`leaves its slot alone when that has ${name} by now`, () => {
      assert.deepEqual(
        after(other, (pins) => deleteSeenHint(pins, hint)),
        other,
      );
      assert.deepEqual(
        after(other, (pins) => countProbe(pins, hint, 2000)),
        other,
      );
    });
  }

  it('that a message has repeated is not deleted, and counts its probe beside the new time and kind', () => {
    assert.deepEqual(
      after(repeated, (pins) => deleteSeenHint(pins, hint)),
      repeated,
    );
    assert.deepEqual(
      after(repeated, (pins) => countProbe(pins, hint, 2000)),
      { ...repeated, probes: 2, probedMs: 2000 },
    );
  });

  it('that is gone does not come back', () => {
    assert.equal(
      after(undefined, (pins) => countProbe(pins, hint, 2000)),
      undefined,
    );
    assert.equal(
      after(undefined, (pins) => deleteSeenHint(pins, hint)),
      undefined,
    );
  });
});
