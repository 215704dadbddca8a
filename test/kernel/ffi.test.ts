// src/ffi against this kernel and this libbpf, with bpftool as the oracle, on a bpffs of its own.
import assert from 'node:assert/strict';
import { closeSync, openSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { SnoopyError } from '../../src/base/errors.ts';
import { linkInfo, mapInfo, programInfo } from '../../src/ffi/info.ts';
import { libbpfVersion } from '../../src/ffi/libbpf.ts';
import { flock, mmap, mount, PROT_READ, PROT_WRITE, pageSize, poll, sleep } from '../../src/ffi/libc.ts';
import {
  BPF_F_BEFORE,
  BPF_TCX_INGRESS,
  linkDetach,
  linkUpdate,
  tcxAttach,
  tcxPrograms,
} from '../../src/ffi/link.ts';
import {
  BPF_NOEXIST,
  type MapEntries,
  mapDelete,
  mapEntries,
  mapLookup,
  mapUpdate,
  mapUpdateAll,
  perCpuSum,
} from '../../src/ffi/map.ts';
import { type LoadedObject, type LoadOptions, loadObject } from '../../src/ffi/object.ts';
import { objGet, objPin } from '../../src/ffi/pin.ts';
import { mountBpffs } from '../lib/bpffs.ts';
import { Netns } from '../lib/netns.ts';
import { run, runJson } from '../lib/run.ts';
import { Scope } from '../lib/scope.ts';
import { enterNetns } from '../lib/setns.ts';
import { createTempDir } from '../lib/temp.ts';
import { buildProbe, NEEDS_TCX } from './probe.ts';

const NONE: LoadOptions = { program: 'probe', maxEntries: new Map(), reuse: new Map() };
const scope = new Scope();
let object: Uint8Array;
let bpffs: string;

before(() => {
  object = readFileSync(buildProbe(scope));
  bpffs = mountBpffs(scope);
});

after(() => scope.close());

function withObject<T>(options: Partial<LoadOptions>, use: (loaded: LoadedObject) => T): T {
  const loaded = loadObject(object, { ...NONE, ...options });
  try {
    return use(loaded);
  } finally {
    loaded.close();
  }
}

function fdOf(loaded: LoadedObject, name: string): number {
  const fd = loaded.maps.get(name);
  assert.ok(fd !== undefined, `no map ${name}`);
  return fd;
}

// enum bpf_map_type
const BPF_MAP_TYPE_HASH = 1;
const BPF_MAP_TYPE_LPM_TRIE = 11;

/** CPUs for which a per-CPU map has a value, as the kernel counts them. */
function possibleCpus(): number {
  return Number(readFileSync('/sys/devices/system/cpu/possible', 'utf8').trim().split('-').at(-1)) + 1;
}

function u32s(...values: number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(values).buffer);
}

function hashOf(size: number): MapEntries {
  const keys = new Uint32Array(size * 2);
  const values = new BigUint64Array(size * 2);
  for (let i = 0; i < size; i++) {
    keys.set([i, i ^ 0xffff], i * 2);
    values.set([BigInt(i) * 1_000_003n, ~BigInt(i) & 0xffffffffffffffffn], i * 2);
  }
  return { keys: new Uint8Array(keys.buffer), values: new Uint8Array(values.buffer), count: size };
}

/** Keys and values as text, sorted: `00000000ffff0000=...`. */
function linesOf(entries: MapEntries, keySize: number, valueSize: number): string[] {
  const hex = (bytes: Uint8Array, index: number, size: number): string =>
    Buffer.from(bytes.subarray(index * size, (index + 1) * size)).toString('hex');
  return Array.from(
    { length: entries.count },
    (_, index) => `${hex(entries.keys, index, keySize)}=${hex(entries.values, index, valueSize)}`,
  ).sort();
}

function errorOf(action: () => unknown): SnoopyError {
  try {
    action();
  } catch (thrown) {
    assert.ok(thrown instanceof SnoopyError, String(thrown));
    return thrown;
  }
  return assert.fail('it did not fail');
}

function descriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

describe('libbpf', () => {
  it('is 1.1 or later', () => {
    const [major = 0, minor = 0] = libbpfVersion().split('.').map(Number);
    assert.ok(major > 1 || (major === 1 && minor >= 1));
  });
});

describe('an object', () => {
  it('is loaded with maps of the requested sizes', () => {
    withObject({ maxEntries: new Map([['entries', 1000]]) }, (loaded) => {
      assert.deepEqual([...loaded.maps.keys()].sort(), ['counters', 'entries', 'prefixes', 'ring']);
      const info = mapInfo(fdOf(loaded, 'entries'));
      assert.deepEqual(
        { ...info, id: 0 },
        {
          id: 0,
          type: BPF_MAP_TYPE_HASH,
          name: 'entries',
          keySize: 8,
          valueSize: 16,
          maxEntries: 1000,
          flags: 0,
        },
      );
      const program = programInfo(loaded.programFd);
      const used = ['counters', 'entries', 'prefixes'].map((name) => mapInfo(fdOf(loaded, name)).id);
      assert.equal(program.name, 'probe');
      assert.equal(program.type, 3);
      assert.deepEqual([...program.mapIds].sort(), used.sort());
      const line = runJson<{ tag: string; name: string }>([
        'bpftool',
        '--json',
        'prog',
        'show',
        'id',
        String(program.id),
      ]);
      assert.equal(program.tag, line.tag);
    });
  });

  it('shares the maps that are reused', () => {
    withObject({}, (first) => {
      const entries = fdOf(first, 'entries');
      mapUpdate(entries, u32s(1, 2), new Uint8Array(16).fill(7));
      withObject({ reuse: new Map([['entries', entries]]) }, (second) => {
        assert.equal(mapInfo(fdOf(second, 'entries')).id, mapInfo(entries).id);
        assert.notEqual(mapInfo(fdOf(second, 'counters')).id, mapInfo(fdOf(first, 'counters')).id);
        assert.deepEqual(mapLookup(fdOf(second, 'entries'), u32s(1, 2), 16), new Uint8Array(16).fill(7));
      });
      assert.ok(mapLookup(entries, u32s(1, 2), 16) !== undefined);
    });
  });

  it('leaves no descriptor open', () => {
    withObject({}, () => undefined);
    const before = descriptors();
    for (let i = 0; i < 5; i++) {
      withObject({}, (loaded) => loaded.close());
      errorOf(() => loadObject(object, { ...NONE, program: 'bad' }));
      errorOf(() => loadObject(object, { ...NONE, program: 'none' }));
      errorOf(() => loadObject(new Uint8Array(64), NONE));
    }
    assert.equal(descriptors(), before);
  });

  it('that the verifier refuses has the end of its log in the error', () => {
    const error = errorOf(() => loadObject(object, { ...NONE, program: 'bad' }));
    assert.equal(error.code, 'load_failed');
    assert.match(
      error.message,
      /^Cannot load the eBPF program "bad": EACCES \(the verifier refused it\); please report [^;]+:\n/,
    );
    assert.match(error.message, /invalid mem access 'map_value_or_null'/);
  });

  it('without the requested program or map is an error', () => {
    const noProgram = errorOf(() => loadObject(object, { ...NONE, program: 'none' }));
    assert.match(noProgram.message, /it has no program "none"/);
    const noMap = errorOf(() => loadObject(object, { ...NONE, maxEntries: new Map([['none', 1]]) }));
    assert.match(noMap.message, /it has no map "none"/);
  });

  // A truncated object lacks the section headers at its end, so libbpf stops there. Flipped bytes are not tried:
  // libbpf 1.1 trusts an object and can crash on a bad one. snoopy loads only the object that is built into it.
  it('of garbage is an error and no crash', () => {
    const garbage = [
      new Uint8Array(0),
      new Uint8Array(64),
      Buffer.from('no ELF at all'),
      object.slice(0, 100),
    ];
    for (let cut = 200; cut < object.length; cut += 397) garbage.push(object.slice(0, cut));
    for (const bytes of garbage) assert.equal(errorOf(() => loadObject(bytes, NONE)).code, 'load_failed');
  });
});

describe('pins', () => {
  it('are set, read and moved', () => {
    const path = join(bpffs, 'entries');
    assert.equal(objGet(path), undefined);
    withObject({}, (loaded) => {
      objPin(fdOf(loaded, 'entries'), path);
      const again = errorOf(() => objPin(fdOf(loaded, 'counters'), path));
      assert.equal(again.errno, 'EEXIST');
      assert.equal(again.code, 'pin_unusable');
      renameSync(path, join(bpffs, 'moved'));
      const fd = objGet(join(bpffs, 'moved'));
      assert.ok(fd !== undefined);
      assert.equal(mapInfo(fd).id, mapInfo(fdOf(loaded, 'entries')).id);
      closeSync(fd);
    });
  });

  it('of objects that are no eBPF objects are an error', () => {
    const dir = createTempDir(scope, 'nopin');
    const path = join(dir, 'file');
    writeFileSync(path, '');
    assert.equal(errorOf(() => objGet(path)).code, 'pin_unusable');
    withObject({}, (loaded) => {
      const error = errorOf(() => objPin(loaded.programFd, join(dir, 'pin')));
      assert.match(error.message, /on a bpf file system/);
    });
  });
});

describe('maps', () => {
  it('of 10,000 entries are written and read in batches, as bpftool sees them', (t) => {
    withObject({ maxEntries: new Map([['entries', 20_000]]) }, (loaded) => {
      const fd = fdOf(loaded, 'entries');
      const info = mapInfo(fd);
      const written = hashOf(10_000);
      const started = performance.now();
      mapUpdateAll(fd, info, written);
      const middle = performance.now();
      const read = mapEntries(fd, info);
      const ended = performance.now();
      t.diagnostic(
        `10,000 entries: ${((middle - started) / 10).toFixed(2)} us to write, ${((ended - middle) / 10).toFixed(2)} us to read, each`,
      );
      assert.deepEqual(linesOf(read, 8, 16), linesOf(written, 8, 16));
      interface Line {
        readonly key: readonly string[];
        readonly value: readonly string[];
      }
      const bytes = (hex: readonly string[]): string => hex.map((byte) => byte.slice(2)).join('');
      const theirs = runJson<Line[]>(['bpftool', '--json', 'map', 'dump', 'id', String(info.id)]);
      assert.deepEqual(
        linesOf(read, 8, 16),
        theirs.map(({ key, value }) => `${bytes(key)}=${bytes(value)}`).sort(),
      );
    });
  });

  it('are read when empty and when full', () => {
    withObject({ maxEntries: new Map([['entries', 5_000]]) }, (loaded) => {
      const fd = fdOf(loaded, 'entries');
      const info = mapInfo(fd);
      assert.equal(mapEntries(fd, info).count, 0);
      mapUpdateAll(fd, info, hashOf(5_000));
      assert.deepEqual(linesOf(mapEntries(fd, info), 8, 16), linesOf(hashOf(5_000), 8, 16));
      const full = errorOf(() => mapUpdate(fd, u32s(0xffffffff, 0), new Uint8Array(16)));
      assert.equal(full.code, 'map_failed');
      assert.equal(full.problem.cause, 'E2BIG (the map is full: 5000 entries)');
      mapUpdateAll(fd, info, { keys: new Uint8Array(), values: new Uint8Array(), count: 0 });
    });
  });

  it('of prefixes are read as well', () => {
    withObject({}, (loaded) => {
      const fd = fdOf(loaded, 'prefixes');
      const info = mapInfo(fd);
      assert.equal(info.type, BPF_MAP_TYPE_LPM_TRIE);
      assert.equal(mapEntries(fd, info).count, 0);
      for (let i = 0; i < 50; i++) mapUpdate(fd, u32s(32, i), u32s(i));
      const read = mapEntries(fd, info);
      assert.equal(read.count, 50);
      assert.ok(linesOf(read, 8, 4).includes(`${Buffer.from(u32s(32, 49)).toString('hex')}=31000000`));
      for (let i = 0; i < 50; i++) assert.equal(mapDelete(fd, u32s(32, i)), true);
      assert.equal(mapEntries(fd, info).count, 0);
    });
  });

  it('are written, read and deleted entry by entry', () => {
    withObject({}, (loaded) => {
      const fd = fdOf(loaded, 'entries');
      const key = u32s(1, 1);
      const value = new Uint8Array(16).fill(9);
      assert.equal(mapLookup(fd, key, 16), undefined);
      mapUpdate(fd, key, value, BPF_NOEXIST);
      assert.equal(errorOf(() => mapUpdate(fd, key, value, BPF_NOEXIST)).errno, 'EEXIST');
      assert.deepEqual(mapLookup(fd, key, 16), value);
      assert.equal(mapDelete(fd, key), true);
      assert.equal(mapDelete(fd, key), false);
    });
  });

  it('of counters are summed over the CPUs', () => {
    withObject({}, (loaded) => {
      const fd = fdOf(loaded, 'counters');
      const perCpu = new BigUint64Array(possibleCpus()).fill(5n);
      mapUpdate(fd, u32s(2), new Uint8Array(perCpu.buffer));
      assert.deepEqual(
        [1, 2, 3].map((entry) => perCpuSum(fd, entry)),
        [0, 5 * possibleCpus(), 0],
      );
    });
  });

  it('are mapped into memory, any number of times', () => {
    withObject({}, (loaded) => {
      const fd = fdOf(loaded, 'ring');
      const context = { operation: 'map the ring', object: 'ring' };
      for (let i = 0; i < 200; i++) {
        const consumer = mmap(fd, pageSize(), PROT_READ | PROT_WRITE, 0, context);
        const producer = mmap(fd, pageSize() + 2 * 4096, PROT_READ, pageSize(), context);
        const position = new BigInt64Array(consumer.buffer, 0, 1);
        assert.equal(Atomics.load(position, 0), BigInt(i));
        Atomics.store(position, 0, BigInt(i + 1));
        assert.equal(producer.bytes.length, pageSize() + 2 * 4096);
        consumer.unmap();
        consumer.unmap();
        producer.unmap();
      }
      const error = errorOf(() => mmap(fd, pageSize(), PROT_READ | PROT_WRITE, pageSize(), context));
      assert.equal(error.errno, 'EPERM');
    });
  });
});

describe('TCX', () => {
  it('attaches, replaces and detaches by links', NEEDS_TCX, () => {
    const inside = new Scope();
    const netns = new Netns(inside, 'tcx');
    netns.run('ip', 'link', 'add', 'd0', 'type', 'bridge');
    const [line] = netns.json<{ ifindex: number }[]>('ip', '-json', 'link', 'show', 'd0');
    const ifIndex = line?.ifindex ?? 0;
    enterNetns(inside, netns);
    try {
      withObject({}, (first) =>
        withObject({}, (second) => {
          const link = tcxAttach(first.programFd, ifIndex, BPF_TCX_INGRESS);
          const { id } = programInfo(first.programFd);
          const info = linkInfo(link);
          assert.deepEqual(
            { ...info, id: 0 },
            { id: 0, type: 11, programId: id, ifIndex, attachType: BPF_TCX_INGRESS },
          );
          assert.deepEqual(tcxPrograms(ifIndex, BPF_TCX_INGRESS), [id]);
          const ahead = tcxAttach(second.programFd, ifIndex, BPF_TCX_INGRESS, BPF_F_BEFORE);
          assert.deepEqual(tcxPrograms(ifIndex, BPF_TCX_INGRESS), [programInfo(second.programFd).id, id]);
          closeSync(ahead);
          linkUpdate(link, second.programFd, ifIndex);
          assert.deepEqual(tcxPrograms(ifIndex, BPF_TCX_INGRESS), [programInfo(second.programFd).id]);
          objPin(link, join(bpffs, 'link'));
          linkDetach(link, ifIndex);
          assert.deepEqual(tcxPrograms(ifIndex, BPF_TCX_INGRESS), []);
          assert.equal(linkInfo(link).ifIndex, 0);
          closeSync(link);
          assert.equal(
            errorOf(() => tcxAttach(first.programFd, 9_999, BPF_TCX_INGRESS)).code,
            'attach_failed',
          );
        }),
      );
    } finally {
      inside.close();
    }
  });
});

describe('libc', () => {
  it('lets one descriptor lock a file at a time', () => {
    const path = join(createTempDir(scope, 'lock'), 'lock');
    const first = openSync(path, 'w');
    const second = openSync(path, 'w');
    const context = { operation: `lock "${path}"`, object: path };
    assert.equal(flock(first, 'exclusive', context), true);
    assert.equal(flock(second, 'exclusive', context), false);
    assert.equal(flock(second, 'shared', context), false);
    assert.equal(flock(first, 'unlock', context), true);
    assert.equal(flock(second, 'shared', context), true);
    assert.equal(flock(first, 'shared', context), true);
    closeSync(first);
    closeSync(second);
    assert.match(errorOf(() => flock(first, 'exclusive', context)).message, /^Cannot lock ".*": EBADF; \w/);
  });

  it('mounts and unmounts a bpf file system', () => {
    const dir = createTempDir(scope, 'mount');
    const context = { operation: `mount bpffs on "${dir}"`, object: dir, code: 'bpffs_unusable' } as const;
    mount('bpf', dir, 'bpf', 0, 'mode=0700', context);
    assert.equal(run(['stat', '-f', '-c', '%T', dir]).trim(), 'bpf_fs');
    run(['umount', dir]);
    const error = errorOf(() => mount('bpf', join(dir, 'none'), 'bpf', 0, '', context));
    assert.equal(error.code, 'bpffs_unusable');
    assert.equal(error.errno, 'ENOENT');
  });

  it('polls and sleeps for the requested time', () => {
    const started = performance.now();
    assert.deepEqual(poll([], 30), { kind: 'timeout' });
    sleep(30);
    const took = performance.now() - started;
    assert.ok(took >= 55 && took < 10_000, `${took} ms`);
    const fd = openSync('/dev/zero', 'r');
    assert.deepEqual(poll([fd], 1_000), { kind: 'ready', ready: [fd] });
    closeSync(fd);
  });
});
