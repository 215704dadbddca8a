// What `status --all` reads of zebra's answers.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseUptime, readOrigins, readSegments } from '../../../src/host/frr-fabric.ts';

test('the age of a neighbor, in every form that FRR prints', () => {
  const forms: readonly (readonly [string, number | undefined])[] = [
    ['00:00:00', 0],
    ['00:00:12', 12_000],
    ['23:59:59', 86_399_000],
    ['1d02h03m', 93_780_000],
    ['01w2d03h', 788_400_000],
    ['', undefined],
    ['never', undefined],
  ];
  for (const [text, ms] of forms) assert.equal(parseUptime(text), ms, text);
});

const MAC = '02:00:00:00:00:01';

test('the place of a neighbor is its next hop or its segment; of one of this node the segment of its MAC', () => {
  const esi = '03:44:38:39:ff:ff:01:00:00:01';
  const answer = {
    '100': {
      numArpNd: 4,
      '10.0.0.1': { uptime: '00:00:05', mac: MAC, type: 'remote', remoteVtep: '192.0.2.2' },
      '10.0.0.2': { uptime: '00:00:06', mac: MAC, type: 'remote', remoteEs: esi },
      '10.0.0.3': { mac: MAC, type: 'local' },
      '2001:DB8::0:4': { mac: MAC, type: 'remote', remoteVtep: '2001:DB8:0::2' },
      '10.0.0.5': { type: 'local' },
    },
  };
  const segments = readSegments({ '100': { numMacs: 1, macs: { [MAC]: { type: 'local', esi } } } });
  assert.deepEqual(
    [...(readOrigins(answer, segments).get(100) ?? [])],
    [
      ['10.0.0.1', { place: '192.0.2.2', ageMs: 5_000 }],
      ['10.0.0.2', { place: esi, ageMs: 6_000 }],
      ['10.0.0.3', { place: esi, ageMs: undefined }],
      ['2001:db8::4', { place: '2001:db8::2', ageMs: undefined }],
    ],
  );
  assert.equal(
    readOrigins(answer, new Map())
      .get(100)
      ?.get('10.0.0.3' as never)?.place,
    null,
  );
});

test('an answer of another form reads as empty', () => {
  for (const answer of [undefined, null, 'x', [], { '100': null }])
    assert.deepEqual(
      [...readOrigins(answer, new Map()).values()].flatMap((table) => [...table]),
      [],
    );
});
