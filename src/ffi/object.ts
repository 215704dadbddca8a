// Loads an eBPF object: creates or reuses its maps, and has one of its programs verified.

import { writeU64 } from '../base/bytes.ts';
import { SnoopyError } from '../base/errors.ts';
import { koffi } from './koffi.ts';
import { bpfError, libbpf, type Pointer } from './libbpf.ts';
import { EINVAL } from './libc.ts';

/**
 * A loaded object. It owns `programFd` and the descriptors in `maps` until `close()` (idempotent); pins outlive them.
 * For a reused map it has a descriptor of its own.
 */
export interface LoadedObject {
  readonly programFd: number;
  /** Descriptors by the full names of the maps in the object, including `.rodata` and the like. */
  readonly maps: ReadonlyMap<string, number>;
  close(): void;
}

export interface LoadOptions {
  /** Name of the C function; other programs of the object are not loaded. Its type is BPF_PROG_TYPE_SCHED_CLS. */
  readonly program: string;
  /** Numbers of entries by map name, when they differ from the object. */
  readonly maxEntries: ReadonlyMap<string, number>;
  /** Existing maps to use instead of new ones, by name. The caller still closes these descriptors. */
  readonly reuse: ReadonlyMap<string, number>;
}

/** enum bpf_prog_type */
const BPF_PROG_TYPE_SCHED_CLS = 3;
/** enum bpf_map_type */
const BPF_MAP_TYPE_RINGBUF = 27;
/** The largest log that kernels before 5.2 accept. Only pages that the kernel writes to use memory. */
const LOG_SIZE = 2 ** 24 - 1;
/** How much of the verifier's log is put into an error: the reason is at its end. */
const LOG_TAIL_LINES = 24;

/**
 * Loads an ELF object into the kernel. Throws SnoopyError `load_failed` with the end of the verifier's log,
 * `not_permitted`, or `unsupported` with what the kernel lacks.
 */
export function loadObject(bytes: Uint8Array, options: LoadOptions): LoadedObject {
  const object = openObject(bytes, options.program);
  let isOpen = true;
  const close = (): void => {
    if (isOpen) libbpf.objectClose(object);
    isOpen = false;
  };
  try {
    const maps = [...iterate((previous) => libbpf.nextMap(object, previous))];
    prepareMaps(maps, options);
    const program = chooseProgram(object, options.program);
    load(object, program, options.program);
    return {
      programFd: libbpf.programFd(program),
      maps: new Map(maps.map((map) => [libbpf.mapName(map) ?? '', libbpf.mapFd(map)])),
      close,
    };
  } catch (thrown) {
    close();
    throw thrown;
  }
}

function openObject(bytes: Uint8Array, name: string): Pointer {
  // A copy, because libelf expects an aligned address.
  const image = new Uint8Array(bytes);
  const objectName = new TextEncoder().encode(`${name}\0`);
  // struct bpf_object_open_opts, its first members: size_t sz, const char *object_name.
  const openOptions = new Uint8Array(16);
  writeU64(openOptions, 0, 16n);
  writeU64(openOptions, 8, koffi().address(objectName));
  const object = libbpf.objectOpenMem(image, image.length, openOptions);
  const errno = koffi().errno();
  // libbpf has only the address of the name: a use after the call keeps the name alive until then.
  objectName.fill(0);
  if (object === null) {
    throw bpfError({ operation: 'open the eBPF object', object: name, code: 'load_failed' }, -errno);
  }
  return object;
}

/** All items of a libbpf iterator, which starts from NULL and ends with NULL. */
function* iterate(next: (previous: Pointer | null) => Pointer | null): Generator<Pointer> {
  for (let item = next(null); item !== null; item = next(item)) yield item;
}

function prepareMaps(maps: readonly Pointer[], options: LoadOptions): void {
  const found = new Set<string>();
  for (const map of maps) {
    const name = libbpf.mapName(map) ?? '';
    found.add(name);
    const reused = options.reuse.get(name);
    const maxEntries = options.maxEntries.get(name);
    const context = { object: name, code: 'load_failed' } as const;
    if (reused !== undefined) {
      const result = libbpf.reuseFd(map, reused);
      if (result < 0) throw bpfError({ operation: `reuse map "${name}"`, ...context }, result);
    } else if (maxEntries !== undefined) {
      const result = libbpf.setMaxEntries(map, maxEntries);
      if (result < 0) throw bpfError({ operation: `set the size of map "${name}"`, ...context }, result);
    }
  }
  for (const name of [...options.reuse.keys(), ...options.maxEntries.keys()]) {
    if (!found.has(name)) throw missing(`map "${name}"`, name);
  }
}

/** The named program; the others are not loaded. */
function chooseProgram(object: Pointer, name: string): Pointer {
  let chosen: Pointer | undefined;
  for (const program of iterate((previous) => libbpf.nextProgram(object, previous))) {
    if (libbpf.programName(program) === name) chosen = program;
    else libbpf.setAutoload(program, false);
  }
  if (chosen === undefined) throw missing(`program "${name}"`, name);
  return chosen;
}

function missing(what: string, object: string): SnoopyError {
  return new SnoopyError({
    code: 'load_failed',
    object,
    operation: 'load the eBPF object',
    cause: `it has no ${what}`,
    fix: 'install snoopy again',
  });
}

function load(object: Pointer, program: Pointer, name: string): void {
  libbpf.setProgramType(program, BPF_PROG_TYPE_SCHED_CLS);
  // allocUnsafeSlow: memory outside the heap, which the garbage collector does not move.
  const log = Buffer.allocUnsafeSlow(LOG_SIZE);
  log[0] = 0;
  libbpf.setLogBuf(program, log, log.length);
  const result = libbpf.objectLoad(object);
  libbpf.setLogBuf(program, null, 0);
  if (result >= 0) return;
  const context = {
    operation: `load the eBPF program "${name}"`,
    object: name,
    code: 'load_failed',
  } as const;
  // EINVAL may also mean an unknown map type. The probe only creates a map of that type.
  if (result === -EINVAL && libbpf.probeMapType(BPF_MAP_TYPE_RINGBUF, null) === 0) {
    throw new SnoopyError({
      ...context,
      code: 'unsupported',
      cause: 'this kernel has no ring buffer for eBPF',
      fix: 'boot Linux 5.8 or later',
      errno: 'EINVAL',
    });
  }
  const end = log.indexOf(0);
  const lines = log
    .toString('latin1', 0, end < 0 ? log.length : end)
    .trimEnd()
    .split('\n');
  const tail = lines.slice(-LOG_TAIL_LINES).join('\n');
  if (tail === '') throw bpfError(context, result);
  // The verifier also refuses code with EACCES or EPERM. When there is a log, no permission is missing.
  const { problem } = bpfError(context, result);
  throw new SnoopyError({
    ...problem,
    code: 'load_failed',
    cause: `${problem.cause} (the verifier refused it)`,
    fix: 'please report the end of its log',
    details: tail,
  });
}
