// The netlink socket and its input: datagrams of other processes, interrupted dumps, failures, signals, lost
// notifications.
import assert from 'node:assert/strict';
import { closeSync, readFileSync } from 'node:fs';
import { after, before, describe, it, type TestContext } from 'node:test';
import { AF_INET } from '../../src/base/address.ts';
import { socket as openSocket, sendTo } from '../../src/ffi/libc.ts';
import { dumpAddresses } from '../../src/netlink/address.ts';
import { dumpLinks, linkDump } from '../../src/netlink/link.ts';
import {
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
  NLM_F_DUMP_INTR,
  NLMSG_DONE,
  NLMSG_ERROR,
} from '../../src/netlink/message.ts';
import { dumpNeighbors } from '../../src/netlink/neighbor.ts';
import { type NetlinkSocket, openNetlink } from '../../src/netlink/socket.ts';
import { assertExit, Machine } from '../kernel/machine.ts';
import { Netns } from '../lib/netns.ts';
import { Scope } from '../lib/scope.ts';
import { enterNetns } from '../lib/setns.ts';
import { outputOf, type ReconcileResult, withReport } from '../lib/snoopy.ts';
import { createTempDir } from '../lib/temp.ts';
import { until } from '../lib/wait.ts';

/** A message as it lies in a datagram, with any content. */
function message(fields: {
  readonly type: number;
  readonly flags?: number;
  readonly sequence: number;
  readonly payload?: Uint8Array;
  readonly length?: number;
}): Buffer {
  const payload = fields.payload ?? new Uint8Array();
  const bytes = Buffer.alloc(16 + ((payload.length + 3) & ~3));
  bytes.writeUInt32LE(fields.length ?? 16 + payload.length, 0);
  bytes.writeUInt16LE(fields.type, 4);
  bytes.writeUInt16LE(fields.flags ?? 0, 6);
  bytes.writeUInt32LE(fields.sequence, 8);
  bytes.set(payload, 16);
  return bytes;
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
}

/** NLMSGERR_ATTR_MSG */
function text(words: string): Buffer {
  const bytes = Buffer.alloc(4 + ((words.length + 4) & ~3));
  bytes.writeUInt16LE(5 + words.length, 0);
  bytes.writeUInt16LE(1, 2);
  bytes.write(words, 4);
  return bytes;
}

describe('a dump', () => {
  const scope = new Scope();
  let otherProcess: number;
  before(() => {
    const netns = new Netns(scope, 'injected');
    netns.run('ip', 'link', 'add', 'br0', 'type', 'bridge');
    enterNetns(scope, netns);
    otherProcess = openSocket(16, 3, 0);
    scope.defer(() => closeSync(otherProcess));
  });
  after(() => scope.close());

  /** Sends a datagram to a socket of ours, as only root and the kernel can. */
  function inject(opened: NetlinkSocket, datagram: Buffer): void {
    // struct sockaddr_nl
    const address = Buffer.alloc(12);
    address.writeUInt16LE(16, 0);
    address.writeUInt32LE(opened.portId, 4);
    assert.equal(sendTo(otherProcess, datagram, address), 'sent');
  }

  /** A socket that has received these datagrams already, before its first request, which is number 1. */
  function socketWith(...datagrams: readonly Buffer[]): NetlinkSocket {
    const opened = openNetlink();
    for (const datagram of datagrams) inject(opened, datagram);
    return opened;
  }

  function names(opened: NetlinkSocket): string[] {
    return dumpLinks(opened)
      .map(({ name }) => name)
      .sort();
  }

  it('ignores an answer to another request', () => {
    const others = [0, 2, 77, 0xffff_ffff].flatMap((sequence) => [
      message({ type: NLMSG_DONE, sequence, payload: int32(-1) }),
      message({ type: NLMSG_ERROR, sequence, payload: Buffer.concat([int32(-13), Buffer.alloc(16)]) }),
      message({ type: 16, flags: NLM_F_DUMP_INTR, sequence, payload: Buffer.alloc(16) }),
      message({ type: 0xfff0, sequence, payload: Buffer.alloc(5, 0xff) }),
    ]);
    const opened = socketWith(...others, Buffer.concat(others));
    try {
      assert.deepEqual(names(opened), ['br0', 'lo']);
      assert.deepEqual(dumpNeighbors(opened, AF_INET), []);
    } finally {
      opened.close();
    }
  });

  it('is started again when the kernel reports that the table changed, but not forever', () => {
    const interrupted = (sequence: number): Buffer =>
      message({ type: 16, flags: NLM_F_DUMP_INTR, sequence, payload: Buffer.alloc(16) });
    const once = socketWith(interrupted(1));
    try {
      assert.deepEqual(names(once), ['br0', 'lo']);
    } finally {
      once.close();
    }
    const always = socketWith(interrupted(1));
    const attempts = new Set<number>();
    try {
      assert.throws(
        () =>
          always.dump(linkDump(), 'links', ({ sequence }) => {
            // The next attempt finds it before its answer.
            if (!attempts.has(sequence)) inject(always, interrupted(sequence + 1));
            attempts.add(sequence);
          }),
        /^SnoopyError: Cannot read the links: they changed during each of 10 attempts; run again$/,
      );
      assert.equal(attempts.size, 10);
      assert.deepEqual(names(always), ['br0', 'lo']);
    } finally {
      always.close();
    }
  });

  it('ends with the error in its last message or in a refusal; the socket stays usable', () => {
    const cases: readonly (readonly [Buffer, RegExp])[] = [
      [
        message({ type: NLMSG_DONE, sequence: 1, payload: int32(-22) }),
        /Cannot read the links: EINVAL; run /,
      ],
      [
        message({
          type: NLMSG_DONE,
          flags: NLM_F_ACK_TLVS,
          sequence: 1,
          payload: Buffer.concat([int32(-105), text('no room')]),
        }),
        /Cannot read the links: ENOBUFS \(kernel: no room\); run again/,
      ],
      [
        message({
          type: NLMSG_ERROR,
          flags: NLM_F_ACK_TLVS | NLM_F_CAPPED,
          sequence: 1,
          payload: Buffer.concat([int32(-1), Buffer.alloc(16), text('not you')]),
        }),
        /Cannot read the links: EPERM \(kernel: not you\); run as root or with CAP_NET_ADMIN$/,
      ],
      [message({ type: NLMSG_ERROR, sequence: 1, payload: Buffer.alloc(2) }), /Cannot read 4 bytes/],
      [
        message({ type: 16, sequence: 1, payload: Buffer.alloc(3) }),
        /Cannot read 16 bytes at offset 0: there are 3/,
      ],
      [
        message({ type: 16, sequence: 1, length: 4000 }),
        /Cannot decode a netlink message: its length is 4000/,
      ],
      [message({ type: 16, sequence: 1, length: 0 }), /Cannot decode a netlink message: its length is 0/],
      [Buffer.alloc(7, 0xff), /7 bytes are no header/],
    ];
    for (const [datagram, words] of cases) {
      const opened = socketWith(datagram);
      try {
        assert.throws(() => dumpLinks(opened), words);
        assert.deepEqual(names(opened), ['br0', 'lo']);
        assert.ok(dumpAddresses(opened).length >= 0);
      } finally {
        opened.close();
      }
    }
  });
});

describe('a run', () => {
  /** `reconcile` under strace, which makes some of its system calls fail. */
  function runWith(machine: Machine, call: string, fault: string): ReconcileResult {
    const file = `${createTempDir(machine.scope, 'fault')}/strace`;
    const strace = ['strace', '-o', file, '-e', `trace=${call}`, '-e', `inject=${call}:${fault}`];
    const result = machine.netns.tryRun([...strace, ...machine.snoopy.argv('reconcile', '--format', 'json')]);
    assert.match(readFileSync(file, 'utf8'), /INJECTED/, 'no fault was injected');
    return withReport(result);
  }

  it('continues when a call is interrupted, has no data yet, or has lost some', async (t) => {
    const machine = new Machine(t, { tunnel: true });
    machine.reconcile();
    await machine.host(1).announceAndWait();
    const faults: readonly (readonly [string, string])[] = [
      ['recvfrom', 'error=EINTR:when=1+2'],
      ['recvfrom', 'error=EAGAIN:when=2+3'],
      ['recvfrom', 'error=ENOBUFS:when=1+4'],
      ['recvmmsg', 'error=EINTR:when=1+2'],
      ['recvmmsg', 'error=EAGAIN:when=1+2'],
      ['sendto', 'error=EINTR:when=1+2'],
      ['flock', 'error=EINTR:when=1'],
    ];
    for (const [call, fault] of faults) {
      const result = runWith(machine, call, fault);
      assertExit(result, 0);
      assert.equal(result.report.ok, true, outputOf(result));
    }
    assert.deepEqual(machine.ownNeighbors(), [`10.1.0.1 ${machine.host(1).mac}`]);
    machine.assertIdle();
  });

  it('reports what the kernel refused, and the next run does it', async (t) => {
    const machine = new Machine(t, { tunnel: true });
    machine.reconcile();
    await machine.host(1).announceAndWait();
    for (const fault of ['error=ENOMEM:when=1', 'error=ENOBUFS:when=2', 'error=EPERM:when=3']) {
      const name = /error=(\w+)/.exec(fault)?.[1] ?? '';
      const result = runWith(machine, 'sendto', fault);
      assertExit(result, name === 'EPERM' ? 77 : 1);
      assert.ok(result.stderr.includes(name), outputOf(result));
      assert.doesNotMatch(result.stderr, /Internal error/);
    }
    machine.reconcile();
    assert.deepEqual(machine.ownNeighbors(), [`10.1.0.1 ${machine.host(1).mac}`]);
    machine.assertIdle();
  });
});

describe('lost notifications', () => {
  /** Datagrams that the kernel has dropped for lack of room, over all netlink sockets of a process. */
  function dropped(machine: Machine): number {
    // sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode
    const lines = machine.run('cat', '/proc/thread-self/net/netlink').trim().split('\n').slice(1);
    return lines.reduce((sum, line) => sum + Number(line.trim().split(/\s+/)[8]), 0);
  }

  it('make a listening run read everything again', async (t: TestContext) => {
    const machine = new Machine(t, { tunnel: true });
    machine.reconcile();
    await machine.host(1).announceAndWait();
    machine.reconcile();
    const own = machine.ownNeighbors();
    assert.equal(own.length, 1);
    const listening = machine.snoopy.startReconcile('--listen', '60s', '--verbose');
    await until(
      'a subscription',
      () => machine.run('cat', '/proc/thread-self/net/netlink'),
      (lines) => lines.split('\n').some((line) => Number.parseInt(line.trim().split(/\s+/)[3] ?? '', 16) > 0),
    );
    assert.equal(dropped(machine), 0);
    process.kill(listening.pid, 'SIGSTOP');
    // 4 MiB, of which a notification takes about 1 KiB. Only the last one is about a host of ours.
    const burst: string[] = [];
    for (let i = 0; i < 12_000; i++) {
      burst.push(`neigh replace 10.9.${i >> 8}.${i & 255} lladdr 02:09:00:00:00:01 dev br0 nud permanent`);
    }
    machine.netns.ipBatch(burst);
    assert.ok(dropped(machine) > 0, 'nothing was lost');
    machine.run('ip', 'neigh', 'del', '10.1.0.1', 'dev', 'br0');
    assert.deepEqual(machine.ownNeighbors(), []);
    process.kill(listening.pid, 'SIGCONT');
    await until(
      'the neighbor to be back',
      () => machine.ownNeighbors(),
      (found) => found.join() === own.join(),
      {
        timeoutMs: 30_000,
        everyMs: 200,
      },
    );
    assert.equal(listening.running, true);
  });
});
