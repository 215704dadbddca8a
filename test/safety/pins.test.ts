// Objects of another owner in place of the pins are repaired or refused with a message, and never written to.
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { describe, test } from 'node:test';
import { assertExit, bpftool, Machine } from '../kernel/machine.ts';
import { listPins } from '../lib/bpffs.ts';
import { run } from '../lib/run.ts';
import { outputOf, type ReconcileResult } from '../lib/snoopy.ts';
import { until } from '../lib/wait.ts';

const MAPS = [
  'bindings',
  'ports',
  'state',
  'prefixes',
  'statics',
  'counters',
  'changes',
  'seen',
  'hints',
  'probes',
  'rejected',
  'layout',
];
const NAMES = [...MAPS, 'program'];

type Attach = 'clsact' | 'tcx';

/** A machine with one host that has a neighbor. */
async function withNeighbor(
  t: { after(undo: () => void): void },
  attach: Attach = 'clsact',
): Promise<Machine> {
  const machine = new Machine(t, { tunnel: true });
  configure(machine, { attach });
  machine.reconcile();
  await machine.host(1).announceAndWait();
  machine.reconcile();
  assert.equal(machine.ownNeighbors().length, 1);
  return machine;
}

function configure(machine: Machine, runtime: Readonly<Record<string, unknown>>): void {
  machine.snoopy.configure({
    runtime,
    bridges: [{ name: 'br0', static: [{ ip: '10.1.0.77', mac: '02:00:00:00:00:77' }] }],
  });
}

/** No native crash, no undocumented exit code and no undocumented text. run() validates JSON by its schema. */
function assertSane(result: Pick<ReconcileResult, 'argv' | 'code' | 'stdout' | 'stderr'>): void {
  assert.ok([0, 1, 69, 77, 78].includes(result.code), outputOf(result));
  assert.doesNotMatch(result.stdout + result.stderr, /Internal error|"internal"|\n\s+at /, outputOf(result));
}

/** Runs the commands that only read, which must cope with anything. */
function lookAround(machine: Machine): void {
  const before = JSON.stringify(listPins(machine.snoopy.bpffs));
  for (const [command, ...args] of [
    ['status'],
    ['doctor'],
    ['reconcile', '--check'],
    ['remove', '--check'],
  ] as const) {
    assertSane(machine.snoopy.run(command, '--format', 'json', ...args));
  }
  assert.equal(JSON.stringify(listPins(machine.snoopy.bpffs)), before);
}

/** A run that repairs the pins. After it nothing is due, and the host has its neighbor. */
function assertRepaired(machine: Machine): void {
  machine.reconcile();
  machine.assertIdle();
  assert.deepEqual(machine.ownNeighbors(), [`10.1.0.1 ${machine.host(1).mac}`]);
}

/** A run that reports what blocks it. `remedied` is the fix of an operator. */
function assertRefused(machine: Machine, code: number, words: RegExp, remedied: () => void): void {
  lookAround(machine);
  const result = machine.snoopy.reconcile();
  assertSane(result);
  assertExit(result, code);
  assert.match(result.stderr, words);
  assert.deepEqual(machine.ownNeighbors(), [`10.1.0.1 ${machine.host(1).mac}`]);
  remedied();
  machine.reconcile();
  machine.assertIdle();
}

/** Pins a new map outside of our directory, and a second time under a name of ours. */
function pinOther(machine: Machine, at: string, name: string, ...shape: string[]): string {
  const theirs = `${machine.snoopy.bpffs}/theirs_${at}`;
  rmSync(theirs, { force: true });
  run(['bpftool', 'map', 'create', theirs, ...shape, 'name', name]);
  replaceBy(machine, at, theirs);
  return theirs;
}

function replaceBy(machine: Machine, at: string, pin: string, kind = 'map'): void {
  rmSync(`${machine.pins}/${at}`, { recursive: true, force: true });
  run(['bpftool', kind, 'pin', 'pinned', pin, `${machine.pins}/${at}`]);
}

interface MapLine {
  readonly id: number;
  readonly type: string;
  readonly bytes_key: number;
  readonly bytes_value: number;
  readonly max_entries: number;
  readonly flags: number;
  readonly name: string;
}

function mapAt(path: string): MapLine {
  const line = bpftool<MapLine>('map', 'show', 'pinned', path);
  const { id, type, bytes_key, bytes_value, max_entries, flags, name } = line;
  return { id, type, bytes_key, bytes_value, max_entries, flags, name };
}

/** Type, sizes and name of one of our maps, as bpftool accepts them. */
function shapeOf(machine: Machine, name: string, change: Partial<MapLine> = {}): string[] {
  const found = { ...mapAt(`${machine.pins}/${name}`), ...change };
  return [
    ...['type', found.type, 'key', String(found.bytes_key), 'value', String(found.bytes_value)],
    ...['entries', String(found.max_entries), 'flags', String(found.flags)],
  ];
}

const OTHER_SHAPE = ['type', 'hash', 'key', '4', 'value', '8', 'entries', '16'];

describe('an object of another owner under a name of ours', () => {
  test('is replaced under each name, and stays unchanged itself', async (t) => {
    const machine = await withNeighbor(t);
    for (const name of NAMES) {
      const theirs = pinOther(machine, name, 'other_owner', ...OTHER_SHAPE);
      const key = ['key', 'hex', '01', '00', '00', '00'];
      run(['bpftool', 'map', 'update', 'pinned', theirs, ...key, 'value', 'hex', ...Array(8).fill('aa')]);
      const before = bpftool<unknown>('map', 'dump', 'pinned', theirs);
      assertRepaired(machine);
      assert.deepEqual(bpftool<unknown>('map', 'dump', 'pinned', theirs), before, name);
    }
  });

  test('under all names at once, and of other kinds, makes no command fail', async (t) => {
    const machine = await withNeighbor(t);
    const program = `${machine.snoopy.bpffs}/program`;
    run(['bpftool', 'prog', 'pin', 'pinned', `${machine.pins}/program`, program]);
    for (const name of NAMES) pinOther(machine, name, 'other_owner', ...OTHER_SHAPE);
    lookAround(machine);
    assertRepaired(machine);
    for (const name of MAPS) replaceBy(machine, name, program, 'prog');
    lookAround(machine);
    assertRepaired(machine);
  });

  test('is not reused when it is a map of the same shape and another name', async (t) => {
    const machine = await withNeighbor(t);
    const names = ['bindings', 'ports', 'statics', 'probes'];
    const theirs = names.map((name) => pinOther(machine, name, 'other_owner', ...shapeOf(machine, name)));
    const dumps = (): unknown => theirs.map((pin) => bpftool<unknown>('map', 'dump', 'pinned', pin));
    const before = dumps();
    assertRepaired(machine);
    assert.deepEqual(dumps(), before);
    for (const [i, name] of names.entries())
      assert.notEqual(mapAt(`${machine.pins}/${name}`).id, mapAt(theirs[i] ?? '').id);
  });

  test('is replaced when it is a map of our name with another size, or other flags', async (t) => {
    const machine = await withNeighbor(t);
    // BPF_F_RDONLY_PROG: the verifier would reject the program.
    const rounds: readonly (readonly (readonly [string, Partial<MapLine>])[])[] = [
      [
        ['ports', { max_entries: 1 }],
        ['state', { max_entries: 1 }],
        ['prefixes', { max_entries: 1 }],
        ['statics', { max_entries: 1 }],
        ['bindings', { max_entries: 1 }],
        ['counters', { max_entries: 3 }],
        ['changes', { max_entries: 4096 }],
      ],
      [['bindings', { bytes_value: 64 }]],
      [
        ['bindings', { flags: 1 << 7 }],
        ['probes', { type: 'lru_hash', flags: 0 }],
      ],
      [
        ['bindings', { bytes_key: 16 }],
        ['layout', { bytes_value: 16 }],
      ],
      [['layout', { max_entries: 2 }]],
    ];
    for (const round of rounds) {
      const wanted = round.map(([name]) => mapAt(`${machine.pins}/${name}`));
      for (const [i, [name, change]] of round.entries()) {
        const shape = shapeOf(machine, name, change);
        rmSync(`${machine.pins}/${name}`);
        run(['bpftool', 'map', 'create', `${machine.pins}/${name}`, ...shape, 'name', wanted[i]?.name ?? '']);
      }
      assertRepaired(machine);
      for (const [i, [name]] of round.entries()) {
        assert.deepEqual({ ...mapAt(`${machine.pins}/${name}`), id: 0 }, { ...wanted[i], id: 0 });
      }
    }
  });
});

describe('something that is no object', () => {
  test('an empty directory, or a symlink, in place of any pin is replaced; nothing is followed', async (t) => {
    const machine = await withNeighbor(t);
    const theirs = `${machine.snoopy.bpffs}/theirs`;
    run(['bpftool', 'map', 'create', theirs, ...OTHER_SHAPE, 'name', 'other_owner']);
    for (const make of [
      (path: string) => mkdirSync(path),
      (path: string) => symlinkSync('/nowhere', path),
      (path: string) => symlinkSync(path, path),
      (path: string) => symlinkSync('/etc/passwd', path),
      (path: string) => symlinkSync(theirs, path),
    ]) {
      for (const name of NAMES) {
        rmSync(`${machine.pins}/${name}`);
        make(`${machine.pins}/${name}`);
      }
      assertSane(machine.snoopy.run('status', '--format', 'json'));
      assertRepaired(machine);
    }
  });

  test('a directory with content is left to its owner, and `remove` deletes all but it', async (t) => {
    const machine = await withNeighbor(t);
    const path = `${machine.pins}/ports`;
    rmSync(path);
    mkdirSync(`${path}/theirs`, { recursive: true });
    assertRefused(
      machine,
      1,
      /\/snoopy\/ports": a directory is in its place and cannot be deleted \(ENOTEMPTY\); move it away/,
      () => {
        assert.deepEqual(readdirSync(path), ['theirs']);
        renameSync(path, `${machine.snoopy.bpffs}/moved`);
      },
    );
    rmSync(path);
    mkdirSync(`${path}/theirs`, { recursive: true });
    const removal = machine.snoopy.run('remove');
    assertSane(removal);
    assertExit(removal, 1);
    assert.match(
      removal.stderr + removal.stdout,
      /Cannot delete the pin directory ".*\/snoopy": it is not empty \(left to another owner: "ports"\); move that away/,
    );
    assert.deepEqual(readdirSync(machine.pins), ['ports']);
    assert.deepEqual(readdirSync(path), ['theirs']);
    assert.equal(machine.isAttached('tap1'), false);
  });

  test('a directory that lacks any of the pins is completed', async (t) => {
    const machine = await withNeighbor(t);
    for (const gone of [NAMES.slice(0, 5), NAMES.slice(5), ['layout'], NAMES]) {
      for (const name of gone) rmSync(`${machine.pins}/${name}`);
      assertRepaired(machine);
    }
  });

  test('a symlink, or an object, in place of the directory is refused', async (t) => {
    const machine = await withNeighbor(t);
    const aside = `${machine.snoopy.bpffs}/aside`;
    renameSync(machine.pins, aside);
    const theirs = listPins(aside);
    const puts: readonly (readonly [() => void, RegExp])[] = [
      [
        () => symlinkSync(aside, machine.pins),
        /Cannot use the pin directory ".*\/snoopy": it is a symlink, which is not followed/,
      ],
      [() => symlinkSync('/nowhere', machine.pins), /it is a symlink/],
      [() => run(['bpftool', 'map', 'pin', 'pinned', `${aside}/ports`, machine.pins]), /it is no directory/],
    ];
    for (const [put, words] of puts) {
      put();
      for (const command of ['reconcile', 'remove', 'status', 'doctor']) {
        const result = machine.snoopy.run(command, '--format', 'json');
        assertSane(result);
        assertExit(result, 1);
        assert.match(result.stdout + result.stderr, new RegExp(words.source.replaceAll('"', '\\\\?"')));
      }
      assert.deepEqual(listPins(aside), theirs);
      rmSync(machine.pins);
    }
    renameSync(aside, machine.pins);
    machine.assertIdle();
  });
});

/** Asserts that the program sees the host: it is attached to this port, and the link of no other port replaces it. */
async function assertSeen(machine: Machine): Promise<void> {
  type PerCpu = { readonly values: readonly { readonly value: number }[] };
  const sightings = (): number =>
    (machine.dump<PerCpu>('counters')[0]?.values ?? []).reduce((sum, { value }) => sum + value, 0);
  const before = sightings();
  machine.host(1).announce();
  await until('a sighting of the host', sightings, (count) => count === before + 1);
}

describe('the links of attach: tcx', () => {
  test('anything but the link of that port is unpinned and not written to', async (t) => {
    const machine = await withNeighbor(t, 'tcx');
    const [name = ''] = readdirSync(`${machine.pins}/links`);
    const path = `${machine.pins}/links/${name}`;
    const theirs = `${machine.snoopy.bpffs}/theirs`;
    run(['bpftool', 'map', 'create', theirs, ...OTHER_SHAPE, 'name', 'other_owner']);
    machine.addHost(2);
    machine.reconcile();
    const another = readdirSync(`${machine.pins}/links`).find((entry) => entry !== name) ?? '';
    const puts: readonly (() => void)[] = [
      () => run(['bpftool', 'map', 'pin', 'pinned', theirs, path]),
      () => run(['bpftool', 'prog', 'pin', 'pinned', `${machine.pins}/program`, path]),
      () => run(['bpftool', 'link', 'pin', 'pinned', `${machine.pins}/links/${another}`, path]),
      () => mkdirSync(path),
      () => symlinkSync(theirs, path),
    ];
    for (const put of puts) {
      rmSync(path);
      put();
      assertRepaired(machine);
      assert.deepEqual(readdirSync(`${machine.pins}/links`).sort(), [name, another].sort());
      for (const entry of [name, another]) {
        const link = bpftool<{ prog_id: number; type: string }>(
          'link',
          'show',
          'pinned',
          `${machine.pins}/links/${entry}`,
        );
        assert.equal(link.prog_id, machine.programId());
      }
      await assertSeen(machine);
    }
    // The same when the port is no longer attached that way.
    for (const put of puts.slice(0, 2)) {
      rmSync(path);
      put();
      configure(machine, { attach: 'clsact' });
      assertRepaired(machine);
      assert.deepEqual(readdirSync(`${machine.pins}/links`), []);
      configure(machine, { attach: 'tcx' });
      machine.reconcile();
    }
  });

  test('anything in place of their directory is replaced', async (t) => {
    const machine = await withNeighbor(t, 'tcx');
    const links = `${machine.pins}/links`;
    const theirs = `${machine.snoopy.bpffs}/theirs`;
    mkdirSync(theirs);
    for (const put of [
      () => symlinkSync(theirs, links),
      () => run(['bpftool', 'map', 'pin', 'pinned', `${machine.pins}/ports`, links]),
    ]) {
      rmSync(links, { recursive: true });
      put();
      assertRepaired(machine);
      assert.deepEqual(readdirSync(theirs), []);
    }
  });
});

describe('the content of the maps', () => {
  const layoutBytes = (machine: Machine): number[] => {
    const [line] = bpftool<{ value: string[] }[]>('map', 'dump', 'pinned', `${machine.pins}/layout`);
    return (line?.value ?? []).map(Number);
  };
  const writeMap = (
    machine: Machine,
    map: string,
    key: readonly number[],
    value: readonly number[],
  ): void => {
    const hex = (bytes: readonly number[]) => [
      'hex',
      ...bytes.map((byte) => byte.toString(16).padStart(2, '0')),
    ];
    run([
      'bpftool',
      'map',
      'update',
      'pinned',
      `${machine.pins}/${map}`,
      'key',
      ...hex(key),
      'value',
      ...hex(value),
    ]);
  };

  test('a layout record of garbage is a reason to load, or to refuse, and never to crash', async (t) => {
    const machine = await withNeighbor(t);
    const good = layoutBytes(machine);
    const write = (bytes: readonly number[]): void => writeMap(machine, 'layout', [0, 0, 0, 0], bytes);
    const garbage = (from: number, to: number, byte: number): number[] =>
      good.map((was, at) => (at >= from && at < to ? byte : was));
    // Empty, an older layout, another digest.
    for (const bytes of [garbage(0, 48, 0), garbage(0, 4, 0), garbage(16, 48, 0xff), garbage(16, 48, 0)]) {
      write(bytes);
      assertRepaired(machine);
    }
    const restore = (): void => write(good);
    write(garbage(0, 48, 0xff));
    assertRefused(machine, 69, /made by a newer snoopy \(layout 4294967295,/, restore);
    write(garbage(8, 16, 0xff));
    assertRefused(machine, 1, /belong to another network namespace/, restore);
  });

  test('entries that no program writes are left out', async (t) => {
    const machine = await withNeighbor(t);
    const ff = (length: number): number[] => Array(length).fill(0xff);
    // No address has the family 0xffff.
    for (const name of ['bindings', 'seen', 'hints', 'probes', 'rejected', 'ports', 'state']) {
      const { bytes_key: key, bytes_value: value } = mapAt(`${machine.pins}/${name}`);
      writeMap(machine, name, ff(key), ff(value));
    }
    writeMap(machine, 'statics', ff(32), [1]);
    // 64 bits of bridge, VLAN and family, and no more: shorter than any prefix, and of no family.
    writeMap(machine, 'prefixes', [65, 0, 0, 0, ...ff(24)], [1]);
    writeMap(machine, 'prefixes', [7, 0, 0, 0, ...ff(24)], [0]);
    assertRepaired(machine);
    machine.host(1).announce('10.1.0.99');
    assert.equal(machine.reconcile().neighbors.changes.length, 1);
    machine.remove();
  });

  test('bindings of garbage with an address do no harm', async (t) => {
    const machine = await withNeighbor(t);
    const sizeOf = (name: string): number => mapAt(`${machine.pins}/${name}`).bytes_value;
    const bytes = (length: number, byte: number): number[] => Array(length).fill(byte);
    const bridge =
      machine.netns.json<{ ifindex: number }[]>('ip', '-json', 'link', 'show', 'br0')[0]?.ifindex ?? 0;
    for (const [i, byte] of [0x00, 0x7f, 0x80, 0xff].entries()) {
      writeMap(
        machine,
        'bindings',
        [bridge, 0, 0, 0, 0, 0, 2, 0, 10, 1, 9, i, ...bytes(12, 0)],
        bytes(sizeOf('bindings'), byte),
      );
      writeMap(
        machine,
        'probes',
        [bridge, 0, 0, 0, 0, 0, 2, 0, 10, 1, 9, i, ...bytes(12, 0)],
        bytes(sizeOf('probes'), byte),
      );
    }
    lookAround(machine);
    machine.reconcile();
    assert.deepEqual(machine.ownNeighbors(), [`10.1.0.1 ${machine.host(1).mac}`]);
    assert.equal(machine.snoopy.run('status').code, 0);
    machine.remove();
  });
});

describe('the ring', () => {
  const RING = new URL('../../../test/safety/position.py', import.meta.url).pathname;

  test('with a wrong position is skipped once, and works again', async (t) => {
    const machine = await withNeighbor(t);
    const host = machine.host(1);
    const pin = `${machine.pins}/changes`;
    const producer = (): bigint => BigInt(run(['/usr/bin/python3', RING, pin]).trim());
    const positions: readonly (() => bigint)[] = [
      () => -8n,
      () => producer() + 64n,
      () => producer() - 60n,
      () => 2n ** 63n,
    ];
    for (const [i, position] of positions.entries()) {
      const wrong = position();
      run(['/usr/bin/python3', RING, pin, String(BigInt.asUintN(64, wrong))]);
      if (i === 0) lookAround(machine);
      const skipped = machine.snoopy.reconcile();
      assertSane(skipped);
      assertExit(skipped, 0);
      assert.match(skipped.report.warnings.join('\n'), /The ring of changes was damaged/, `at ${wrong}`);
      assert.equal(skipped.report.changed, false);
      // It is repaired: the record of a new host is written, and read.
      host.announce(`10.1.1.${i}`);
      const after = machine.reconcile();
      assert.deepEqual(after.warnings, [], `at ${wrong}`);
      assert.equal(after.ring.records, 1);
      assert.deepEqual(
        after.neighbors.changes.map(({ ip }) => ip),
        [`10.1.1.${i}`],
      );
      machine.assertIdle();
    }
  });
});
