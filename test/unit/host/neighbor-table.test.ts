// The outcome of each neighbor in a batch, whatever the kernel answers for the others in it.
import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { IfIndex, IpAddress, Mac } from '../../../src/base/address.ts';
import type { NeighborChange } from '../../../src/core/neighbors/plan.ts';
import { writeNeighbors } from '../../../src/host/neighbor-table.ts';
import type { Request } from '../../../src/netlink/message.ts';
import {
  decodeNeighbor,
  NTF_EXT_EXT_VALIDATED,
  NUD_STALE,
  RTM_NEWNEIGH,
} from '../../../src/netlink/neighbor.ts';
import type { NetlinkSocket, Result } from '../../../src/netlink/socket.ts';

const OK: Result = { ok: true, replies: [] };

function failure(name: string, errno: number): Result {
  return { ok: false, errno, name, message: undefined };
}

const EINVAL = failure('EINVAL', 22);

/** A socket that returns these results batch by batch, and records the address and flags of each request. */
function fakeSocket(answers: readonly (readonly Result[])[]) {
  const batches: string[][] = [];
  const describe = ({ type, payload }: Request): string => {
    const found = decodeNeighbor({ type, flags: 0, sequence: 0, portId: 0, payload });
    const isFlagged = ((found?.extFlags ?? 0) & NTF_EXT_EXT_VALIDATED) !== 0;
    const state = found?.state === NUD_STALE ? ' stale' : '';
    return `${type === RTM_NEWNEIGH ? 'put' : 'delete'} ${found?.ip}${state}${isFlagged ? ' validated' : ''}`;
  };
  const batch = (requests: Iterable<Request>): Result[] => {
    const asked: string[] = [];
    for (const request of requests) asked.push(describe(request));
    batches.push(asked);
    return [...(answers[batches.length - 1] ?? [])];
  };
  return { batches, socket: { batch } as unknown as NetlinkSocket };
}

function change(
  kind: NeighborChange['kind'],
  last: number,
  state: NeighborChange['state'],
  validated = state === 'noarp' && kind !== 'remove',
): NeighborChange {
  return {
    kind,
    device: 2 as IfIndex,
    deviceName: 'br0',
    bridge: 2 as IfIndex,
    bridgeName: 'br0',
    vlan: 0,
    ip: `10.0.0.${last}` as IpAddress,
    mac: '02:00:00:00:00:01' as Mac,
    port: 'tap1',
    existing: undefined,
    state,
    validated,
    router: false,
    because: '',
  };
}

it('an entry is written again without a flag that the kernel rejects, and no other entry is', () => {
  const changes = [
    change('add', 1, 'noarp'),
    change('add', 2, 'noarp'),
    change('remove', 3, 'noarp'),
    change('replace', 4, 'stale'),
    change('add', 5, 'noarp'),
    change('replace', 6, 'noarp'),
  ];
  const first = [OK, EINVAL, EINVAL, EINVAL, failure('EEXIST', 17), EINVAL];
  const { batches, socket } = fakeSocket([first, [OK, EINVAL]]);

  const { reports, failed } = writeNeighbors(socket, changes, 115);

  assert.deepEqual(batches, [
    [
      'put 10.0.0.1 validated',
      'put 10.0.0.2 validated',
      'delete 10.0.0.3',
      'put 10.0.0.4 stale',
      'put 10.0.0.5 validated',
      'put 10.0.0.6 validated',
    ],
    ['put 10.0.0.2', 'put 10.0.0.6'],
  ]);
  assert.deepEqual(
    reports.map(({ outcome }) => outcome.kind),
    ['applied', 'applied', 'failed', 'failed', 'skipped', 'failed'],
  );
  assert.deepEqual(failed, [changes[2], changes[3], changes[5]]);
});

it('an entry that the kernel keeps current is a plain NOARP entry where it cannot be protected', () => {
  const changes = [change('add', 1, 'stale', true), change('replace', 2, 'stale', true)];
  const { batches, socket } = fakeSocket([[OK, EINVAL], [OK]]);

  const { reports } = writeNeighbors(socket, changes, 115);

  assert.deepEqual(batches, [
    ['put 10.0.0.1 stale validated', 'put 10.0.0.2 stale validated'],
    ['put 10.0.0.2'],
  ]);
  assert.deepEqual(
    reports.map(({ after, outcome }) => `${after?.state} ${outcome.kind}`),
    ['stale applied', 'noarp applied'],
  );
});

it('a change without a result is an error, not a success', () => {
  const { socket } = fakeSocket([[OK]]);
  const changes = [change('add', 1, 'noarp'), change('add', 2, 'noarp')];
  assert.throws(() => writeNeighbors(socket, changes, 115), RangeError);
});
