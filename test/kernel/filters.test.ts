// Attaching to a port whose qdisc another program is about to replace: its command must not fail because of snoopy.
import assert from 'node:assert/strict';
import { closeSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import type { IfIndex } from '../../src/base/address.ts';
import type { Outcome } from '../../src/core/report.ts';
import { objGet } from '../../src/ffi/pin.ts';
import { attachFilters } from '../../src/host/filters.ts';
import { openNetlink } from '../../src/netlink/socket.ts';
import { listFilters, listQdiscs } from '../lib/oracles.ts';
import { enterNetns } from '../lib/setns.ts';
import { Machine } from './machine.ts';

const PORT = 'tap1';

/** A node, and the attachment of its program to a port that had a qdisc when it was planned. */
function planned(t: TestContext): { readonly machine: Machine; attach(): Outcome | undefined } {
  const machine = new Machine(t);
  machine.reconcile();
  enterNetns(machine.scope, machine.netns);
  const netlink = openNetlink();
  const fd = objGet(`${machine.pins}/program`) ?? assert.fail('no program');
  machine.scope.defer(() => {
    netlink.close();
    closeSync(fd);
  });
  const [link] = machine.netns.json<{ ifindex: IfIndex }[]>('ip', '-j', 'link', 'show', PORT);
  const pins = { program: { fd }, loadReason: null, tables: {} };
  type Target = Parameters<typeof attachFilters>[0];
  const target = { netlink, pins } as unknown as Target;
  const action = {
    kind: 'attach',
    as: 'filter',
    bridge: 'br0',
    port: { ifIndex: link?.ifindex ?? assert.fail('no port'), name: PORT },
    qdisc: 'ingress',
    ownsQdisc: false,
    createsQdisc: false,
  } as const;
  return { machine, attach: () => attachFilters(target, [action])[0]?.outcome };
}

/** Kinds of the qdiscs at the port's ingress, and the names of its filters. */
function stateOf({ netns }: Machine): readonly [string[], string[]] {
  const kinds = listQdiscs(netns, PORT).map(({ kind }) => kind);
  return [
    kinds.filter((kind) => kind === 'clsact' || kind === 'ingress'),
    listFilters(netns, PORT).flatMap(({ options }) => options?.bpf_name ?? []),
  ];
}

test('a qdisc that was deleted after the plan is left to the program that deleted it', async (t) => {
  const { machine, attach } = planned(t);
  const limiting = machine.netns.start(
    'sh',
    '-c',
    `sleep 0.5; tc qdisc add dev ${PORT} handle ffff: ingress`,
  );
  assert.deepEqual(attach(), { kind: 'applied' });
  const { code, stderr } = await limiting.ended();
  assert.equal(code, 0, stderr);
  assert.deepEqual(stateOf(machine), [['ingress'], ['snoopy']]);
});

test('when nobody creates another one, it is created, and is ours', (t) => {
  const { machine, attach } = planned(t);
  assert.deepEqual(attach(), { kind: 'applied' });
  assert.deepEqual(stateOf(machine), [['ingress'], ['snoopy:clsact']]);
});
