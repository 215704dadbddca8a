// Binding over libbpf.so.1 (1.1 and later): objects, maps, programs, links.

import { readlinkSync } from 'node:fs';
import { formatHex, readText, readU32, readU64AsNumber, writeU32, writeU64 } from '../base/bytes.ts';
import { SnoopyError } from '../base/errors.ts';
import { bindLazily, koffi, type Library } from './koffi.ts';
import {
  type CallContext,
  E2BIG,
  EACCES,
  EINVAL,
  ENOENT,
  ENOSPC,
  ENOTSUPP,
  EOPNOTSUPP,
  EPERM,
  EROFS,
  systemError,
} from './libc.ts';

// enum bpf_map_type, as far as snoopy uses it.
export const BPF_MAP_TYPE_HASH = 1;
export const BPF_MAP_TYPE_ARRAY = 2;
export const BPF_MAP_TYPE_PERCPU_ARRAY = 6;
export const BPF_MAP_TYPE_LRU_HASH = 9;
export const BPF_MAP_TYPE_LPM_TRIE = 11;
export const BPF_MAP_TYPE_RINGBUF = 27;

// Flags of bpf_map_update_elem.
export const BPF_ANY = 0;
export const BPF_NOEXIST = 1;
export const BPF_EXIST = 2;

/** enum bpf_attach_type: ingress of a device, by a TCX link (6.6 and later). */
export const BPF_TCX_INGRESS = 46;
/** Of tcxAttach. */
export const BPF_F_BEFORE = 1 << 3;

/** A pointer that koffi gave us, such as a `struct bpf_map *`; null is C's NULL. */
type Pointer = bigint;

/** Every function returns a negative errno where it fails (libbpf 1.0 and later), pointers are NULL then. */
interface Libbpf {
  readonly versionString: () => string;
  readonly numPossibleCpus: () => number;
  readonly probeMapType: (type: number, options: null) => number;
  readonly strerror: (error: number, text: Uint8Array, size: number) => number;
  readonly objectOpenMem: (bytes: Uint8Array, size: number, options: Uint8Array) => Pointer | null;
  readonly objectLoad: (object: Pointer) => number;
  readonly objectClose: (object: Pointer) => void;
  readonly nextProgram: (object: Pointer, previous: Pointer | null) => Pointer | null;
  readonly nextMap: (object: Pointer, previous: Pointer | null) => Pointer | null;
  readonly programName: (program: Pointer) => string | null;
  readonly programFd: (program: Pointer) => number;
  readonly setAutoload: (program: Pointer, autoload: boolean) => number;
  readonly setProgramType: (program: Pointer, type: number) => number;
  readonly setLogBuf: (program: Pointer, log: Uint8Array | null, size: number) => number;
  readonly mapName: (map: Pointer) => string | null;
  readonly mapFd: (map: Pointer) => number;
  readonly setMaxEntries: (map: Pointer, entries: number) => number;
  readonly reuseFd: (map: Pointer, fd: number) => number;
  readonly objGet: (path: string) => number;
  readonly objPin: (fd: number, path: string) => number;
  readonly objGetInfoByFd: (fd: number, info: Uint8Array, length: Uint32Array) => number;
  readonly progGetFdById: (id: number) => number;
  readonly mapGetFdById: (id: number) => number;
  readonly mapLookupElem: (fd: number, key: Uint8Array, value: Uint8Array) => number;
  readonly mapUpdateElem: (fd: number, key: Uint8Array, value: Uint8Array, flags: number) => number;
  readonly mapDeleteElem: (fd: number, key: Uint8Array) => number;
  readonly mapGetNextKey: (fd: number, key: Uint8Array | null, next: Uint8Array) => number;
  readonly mapLookupBatch: (
    fd: number,
    inBatch: Uint8Array | null,
    outBatch: Uint8Array,
    keys: Uint8Array,
    values: Uint8Array,
    count: Uint32Array,
    options: null,
  ) => number;
  readonly mapUpdateBatch: (
    fd: number,
    keys: Uint8Array,
    values: Uint8Array,
    count: Uint32Array,
    options: Uint8Array,
  ) => number;
  readonly mapDeleteBatch: (fd: number, keys: Uint8Array, count: Uint32Array, options: null) => number;
  readonly linkCreate: (programFd: number, target: number, attachType: number, options: Uint8Array) => number;
  readonly linkUpdate: (linkFd: number, programFd: number, options: null) => number;
  readonly linkDetach: (linkFd: number) => number;
  readonly progQuery: (
    target: number,
    attachType: number,
    flags: number,
    attachFlags: Uint32Array,
    ids: Uint32Array,
    count: Uint32Array,
  ) => number;
}

const libbpf = bindLazily<Libbpf>(loadLibbpf, {
  versionString: ['libbpf_version_string', 'const char *', []],
  numPossibleCpus: ['libbpf_num_possible_cpus', 'int', []],
  probeMapType: ['libbpf_probe_bpf_map_type', 'int', ['int', 'void *']],
  strerror: ['libbpf_strerror', 'int', ['int', 'void *', 'size_t']],
  objectOpenMem: ['bpf_object__open_mem', 'void *', ['void *', 'size_t', 'void *']],
  objectLoad: ['bpf_object__load', 'int', ['void *']],
  objectClose: ['bpf_object__close', 'void', ['void *']],
  nextProgram: ['bpf_object__next_program', 'void *', ['void *', 'void *']],
  nextMap: ['bpf_object__next_map', 'void *', ['void *', 'void *']],
  programName: ['bpf_program__name', 'const char *', ['void *']],
  programFd: ['bpf_program__fd', 'int', ['void *']],
  setAutoload: ['bpf_program__set_autoload', 'int', ['void *', 'bool']],
  setProgramType: ['bpf_program__set_type', 'int', ['void *', 'int']],
  setLogBuf: ['bpf_program__set_log_buf', 'int', ['void *', 'void *', 'size_t']],
  mapName: ['bpf_map__name', 'const char *', ['void *']],
  mapFd: ['bpf_map__fd', 'int', ['void *']],
  setMaxEntries: ['bpf_map__set_max_entries', 'int', ['void *', 'uint32_t']],
  reuseFd: ['bpf_map__reuse_fd', 'int', ['void *', 'int']],
  objGet: ['bpf_obj_get', 'int', ['const char *']],
  objPin: ['bpf_obj_pin', 'int', ['int', 'const char *']],
  objGetInfoByFd: ['bpf_obj_get_info_by_fd', 'int', ['int', 'void *', 'void *']],
  progGetFdById: ['bpf_prog_get_fd_by_id', 'int', ['uint32_t']],
  mapGetFdById: ['bpf_map_get_fd_by_id', 'int', ['uint32_t']],
  mapLookupElem: ['bpf_map_lookup_elem', 'int', ['int', 'void *', 'void *']],
  mapUpdateElem: ['bpf_map_update_elem', 'int', ['int', 'void *', 'void *', 'uint64_t']],
  mapDeleteElem: ['bpf_map_delete_elem', 'int', ['int', 'void *']],
  mapGetNextKey: ['bpf_map_get_next_key', 'int', ['int', 'void *', 'void *']],
  mapLookupBatch: [
    'bpf_map_lookup_batch',
    'int',
    ['int', 'void *', 'void *', 'void *', 'void *', 'void *', 'void *'],
  ],
  mapUpdateBatch: ['bpf_map_update_batch', 'int', ['int', 'void *', 'void *', 'void *', 'void *']],
  mapDeleteBatch: ['bpf_map_delete_batch', 'int', ['int', 'void *', 'void *', 'void *']],
  linkCreate: ['bpf_link_create', 'int', ['int', 'int', 'int', 'void *']],
  linkUpdate: ['bpf_link_update', 'int', ['int', 'int', 'void *']],
  linkDetach: ['bpf_link_detach', 'int', ['int']],
  progQuery: ['bpf_prog_query', 'int', ['int', 'int', 'uint32_t', 'void *', 'void *', 'void *']],
});

function loadLibbpf(): Library {
  try {
    const lib = koffi().load('libbpf.so.1');
    // libbpf would write to stderr; what it has to say comes back in errors instead.
    lib.func('libbpf_set_print', 'void *', ['void *'])(null);
    return lib;
  } catch (thrown) {
    if (thrown instanceof SnoopyError) throw thrown;
    const why = thrown instanceof Error ? thrown.message : String(thrown);
    throw new SnoopyError(
      'unsupported',
      'libbpf.so.1',
      `Cannot load libbpf.so.1 (1.1 or later): ${why}; install the package libbpf1 (Debian, Ubuntu) or libbpf (EL, Fedora)`,
    );
  }
}

const BPF_CAPABILITIES = 'CAP_BPF and CAP_NET_ADMIN';

/** The error of a call that returned `result`, a negative errno. */
function bpfError(context: CallContext, result: number, detail?: string): SnoopyError {
  const errno = -result;
  let said = detail;
  // From 4000 on the numbers are libbpf's own (enum libbpf_errno).
  if (errno >= 4000) {
    const text = new Uint8Array(128);
    libbpf.strerror(errno, text, text.length);
    const own = readText(text, 0, text.length);
    said = detail === undefined || detail === '' ? own : `${own}; ${detail}`;
  }
  return systemError({ capability: BPF_CAPABILITIES, ...context }, errno, said);
}

/** Version of the library, such as `1.1`. Throws `unsupported` where there is none. */
export function libbpfVersion(): string {
  return libbpf.versionString().replace('v', '');
}

/** CPUs that per-CPU maps have a value for. */
export function possibleCpus(): number {
  const count = libbpf.numPossibleCpus();
  if (count < 0) throw bpfError({ operation: 'count the possible CPUs', object: 'cpu' }, count);
  return count;
}

/** struct bpf_prog_info, in part. */
export interface ProgramInfo {
  readonly id: number;
  /** enum bpf_prog_type; 3 is BPF_PROG_TYPE_SCHED_CLS. */
  readonly type: number;
  /** Cut to 15 characters by the kernel. */
  readonly name: string;
  /** Hex of the digest of the instructions. */
  readonly tag: string;
  readonly mapIds: readonly number[];
}

/** struct bpf_map_info, in part. */
export interface MapInfo {
  readonly id: number;
  /** BPF_MAP_TYPE_* */
  readonly type: number;
  /** Cut to 15 characters by the kernel. */
  readonly name: string;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
}

/** enum bpf_link_type, of LinkInfo. */
export const BPF_LINK_TYPE_TCX = 11;

/** struct bpf_link_info of a TCX link; `ifIndex` is 0 when its device is gone. */
export interface LinkInfo {
  readonly id: number;
  /** BPF_LINK_TYPE_* */
  readonly type: number;
  readonly programId: number;
  readonly ifIndex: number;
  readonly attachType: number;
}

/**
 * An object in the kernel. `programFd` and the descriptors in `maps` belong to it until `close()`
 * (idempotent); pins keep what they pin. Reused maps appear under descriptors of the object's own.
 */
export interface LoadedObject {
  readonly programFd: number;
  /** Descriptors by the maps' full names in the object, `.rodata` and its like included. */
  readonly maps: ReadonlyMap<string, number>;
  close(): void;
}

export interface LoadOptions {
  /** Name of the C function; other programs of the object are left out. Loaded as BPF_PROG_TYPE_SCHED_CLS. */
  readonly program: string;
  /** Sizes by map name, other than those in the object. */
  readonly maxEntries: ReadonlyMap<string, number>;
  /** Maps to share with what is in the kernel already, by name; the descriptor stays the caller's. */
  readonly reuse: ReadonlyMap<string, number>;
}

const BPF_PROG_TYPE_SCHED_CLS = 3;
/** The largest log that kernels before 5.2 take; only pages that the kernel writes to become memory. */
const LOG_SIZE = 2 ** 24 - 1;
/** How much of the verifier's log goes into an error: its end says what was wrong. */
const LOG_TAIL_LINES = 24;

/**
 * Loads an ELF object. Errors carry the end of the verifier's log (`load_failed`, `not_permitted`); `unsupported` says
 * what the kernel lacks.
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
  // A copy of its own begins at an aligned address, which libelf is happier with.
  const image = new Uint8Array(bytes);
  const objectName = new TextEncoder().encode(`${name}\0`);
  // struct bpf_object_open_opts, its first members: size_t sz, const char *object_name.
  const openOptions = new Uint8Array(16);
  writeU64(openOptions, 0, 16n);
  writeU64(openOptions, 8, koffi().address(objectName));
  const object = libbpf.objectOpenMem(image, image.length, openOptions);
  const errno = koffi().errno();
  // Used here so that it is alive while libbpf reads it: all that it saw was its address.
  objectName.fill(0);
  if (object === null) {
    throw bpfError({ operation: 'open the eBPF object', object: name, code: 'load_failed' }, -errno);
  }
  return object;
}

/** What a libbpf iterator yields, from NULL to NULL. */
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
      if (result < 0) throw bpfError({ operation: `take over map "${name}"`, ...context }, result);
    } else if (maxEntries !== undefined) {
      const result = libbpf.setMaxEntries(map, maxEntries);
      if (result < 0) throw bpfError({ operation: `set the size of map "${name}"`, ...context }, result);
    }
  }
  for (const name of [...options.reuse.keys(), ...options.maxEntries.keys()]) {
    if (!found.has(name)) throw missing(`map "${name}"`, name);
  }
}

/** Leaves all programs out but the named one. */
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
  return new SnoopyError(
    'load_failed',
    object,
    `Cannot load the eBPF object: there is no ${what} in it; install snoopy again`,
  );
}

function load(object: Pointer, program: Pointer, name: string): void {
  libbpf.setProgramType(program, BPF_PROG_TYPE_SCHED_CLS);
  // allocUnsafeSlow: memory of its own outside the heap, so that nothing moves it.
  const log = Buffer.allocUnsafeSlow(LOG_SIZE);
  log[0] = 0;
  libbpf.setLogBuf(program, log, log.length);
  const result = libbpf.objectLoad(object);
  libbpf.setLogBuf(program, null, 0);
  if (result >= 0) return;
  // What a kernel says of a kind of map that it does not know; libbpf asks for one of that kind and nothing else.
  if (result === -EINVAL && libbpf.probeMapType(BPF_MAP_TYPE_RINGBUF, null) === 0) {
    throw new SnoopyError(
      'unsupported',
      name,
      `Cannot load the eBPF program "${name}": this kernel has no ring buffer for eBPF; boot Linux 5.8 or later`,
      'EINVAL',
    );
  }
  const context: CallContext = {
    operation: `load the eBPF program "${name}"`,
    object: name,
    code: 'load_failed',
  };
  const end = log.indexOf(0);
  const lines = log
    .toString('latin1', 0, end < 0 ? log.length : end)
    .trimEnd()
    .split('\n');
  const tail = lines.slice(-LOG_TAIL_LINES).join('\n');
  if (tail === '') throw bpfError(context, result);
  // The verifier says EACCES and EPERM of code it refuses: with a log it is no lack of permission.
  const { message, errno } = bpfError(context, result);
  throw new SnoopyError(
    'load_failed',
    name,
    `${message.split(';')[0]}; the verifier refused it, please report what it says:\n${tail}`,
    errno,
  );
}

/** bpf_obj_get: the pinned object's descriptor; undefined when there is nothing at `path`. */
export function objGet(path: string): number | undefined {
  const fd = libbpf.objGet(path);
  if (fd >= 0) return fd;
  if (fd === -ENOENT) return undefined;
  if (fd === -EACCES) {
    throw new SnoopyError(
      'pin_unusable',
      path,
      `Cannot open pin "${path}": EACCES; it is no eBPF object, or its mode keeps you out`,
      'EACCES',
    );
  }
  // Who may not write to the file system may not have the object either.
  const remedy = fd === -EROFS ? { remedy: 'bpffs is mounted read-only: remount it, rw' } : {};
  throw bpfError({ operation: `open pin "${path}"`, object: path, code: 'pin_unusable', ...remedy }, fd);
}

export type ObjectKind = 'map' | 'program' | 'link';

/** What kind of object a descriptor is of; undefined for others. The kernel tells by the name of its file alone. */
export function objectKind(fd: number): ObjectKind | undefined {
  const name = readlinkSync(`/proc/self/fd/${fd}`);
  if (/bpf[-_]map/.test(name)) return 'map';
  if (/bpf[-_]prog/.test(name)) return 'program';
  return /bpf[-_]link/.test(name) ? 'link' : undefined;
}

/** bpf_obj_pin. EEXIST is an error: pin under another name and rename. */
export function objPin(fd: number, path: string): void {
  const result = libbpf.objPin(fd, path);
  if (result >= 0) return;
  const remedy = 'the directory must be there, on a bpf file system';
  if (result === -EPERM) {
    // What the kernel says of other file systems too.
    const message = `Cannot pin "${path}": EPERM; ${remedy}, and you must be root or have CAP_BPF`;
    throw new SnoopyError('pin_unusable', path, message, 'EPERM');
  }
  throw bpfError({ operation: `pin "${path}"`, object: path, code: 'pin_unusable', remedy }, result);
}

/** bpf_obj_get_info_by_fd into `info`, as far as the kernel fills it. */
function readInfo(fd: number, info: Uint8Array, what: string): Uint8Array {
  const result = libbpf.objGetInfoByFd(fd, info, new Uint32Array([info.length]));
  if (result < 0) {
    throw bpfError(
      { operation: `ask for information on ${what} ${fd}`, object: `descriptor ${fd}`, code: 'pin_unusable' },
      result,
    );
  }
  return info;
}

/** Offsets in struct bpf_prog_info (linux/bpf.h). */
const PROG_INFO = { type: 0, id: 4, tag: 8, nrMapIds: 52, mapIds: 56, name: 64, size: 80 } as const;

export function programInfo(fd: number): ProgramInfo {
  const first = readInfo(fd, new Uint8Array(PROG_INFO.size), 'program');
  const mapIds = new Uint32Array(readU32(first, PROG_INFO.nrMapIds));
  if (mapIds.length > 0) {
    const second = new Uint8Array(PROG_INFO.size);
    writeU32(second, PROG_INFO.nrMapIds, mapIds.length);
    writeU64(second, PROG_INFO.mapIds, koffi().address(mapIds));
    readInfo(fd, second, 'program');
  }
  return {
    id: readU32(first, PROG_INFO.id),
    type: readU32(first, PROG_INFO.type),
    name: readText(first, PROG_INFO.name, 16),
    tag: formatHex(first.subarray(PROG_INFO.tag, PROG_INFO.tag + 8)),
    mapIds: [...mapIds],
  };
}

/** struct bpf_map_info (linux/bpf.h): u32 type, id, key_size, value_size, max_entries, map_flags; char name[16]. */
export function mapInfo(fd: number): MapInfo {
  const info = readInfo(fd, new Uint8Array(40), 'map');
  return {
    type: readU32(info, 0),
    id: readU32(info, 4),
    keySize: readU32(info, 8),
    valueSize: readU32(info, 12),
    maxEntries: readU32(info, 16),
    flags: readU32(info, 20),
    name: readText(info, 24, 16),
  };
}

/** struct bpf_link_info (linux/bpf.h): u32 type, id, prog_id; at 16 a union, for TCX u32 ifindex, attach_type. */
export function linkInfo(fd: number): LinkInfo {
  const info = readInfo(fd, new Uint8Array(24), 'link');
  return {
    type: readU32(info, 0),
    id: readU32(info, 4),
    programId: readU32(info, 8),
    ifIndex: readU32(info, 16),
    attachType: readU32(info, 20),
  };
}

/** Descriptor of a program by its ID; undefined when it is gone. */
export function programFdById(id: number): number | undefined {
  return fdById(libbpf.progGetFdById(id), `program ${id}`);
}

/** Descriptor of a map by its ID; undefined when it is gone. */
export function mapFdById(id: number): number | undefined {
  return fdById(libbpf.mapGetFdById(id), `map ${id}`);
}

function fdById(result: number, what: string): number | undefined {
  if (result >= 0) return result;
  if (result === -ENOENT) return undefined;
  throw bpfError({ operation: `open eBPF ${what}`, object: what, capability: 'CAP_SYS_ADMIN' }, result);
}

/** The error of a map operation, with the map's name, and its size where that is the trouble. */
function mapError(fd: number, operation: string, result: number): SnoopyError {
  let info: Pick<MapInfo, 'name' | 'maxEntries'>;
  try {
    info = mapInfo(fd);
  } catch {
    info = { name: `descriptor ${fd}`, maxEntries: 0 };
  }
  const { name: object, maxEntries } = info;
  // A hash map says E2BIG, a trie ENOSPC.
  const isFull = (result === -E2BIG || result === -ENOSPC) && maxEntries > 0;
  const remedy = isFull ? { remedy: `it is full: it has room for ${maxEntries} entries` } : {};
  return bpfError(
    { operation: `${operation} map "${object}"`, object, code: 'map_failed', ...remedy },
    result,
  );
}

/** The value; undefined when the key is not in the map. Not for per-CPU maps. */
export function mapLookup(fd: number, key: Uint8Array, valueSize: number): Uint8Array | undefined {
  const value = new Uint8Array(valueSize);
  const result = libbpf.mapLookupElem(fd, key, value);
  if (result === -ENOENT) return undefined;
  if (result < 0) throw mapError(fd, 'read from', result);
  return value;
}

/** bpf_map_update_elem; throws `map_failed` (`errno` is EEXIST, ENOENT, E2BIG ...). */
export function mapUpdate(fd: number, key: Uint8Array, value: Uint8Array, flags: number = BPF_ANY): void {
  const result = libbpf.mapUpdateElem(fd, key, value, flags);
  if (result < 0) throw mapError(fd, 'write to', result);
}

/** False when the key was not in the map. */
export function mapDelete(fd: number, key: Uint8Array): boolean {
  const result = libbpf.mapDeleteElem(fd, key);
  if (result < 0 && result !== -ENOENT) throw mapError(fd, 'delete from', result);
  return result >= 0;
}

/** Whether the kernel says by `result` that it has no such operation for this kind of map. */
function isUnsupported(result: number): boolean {
  return result === -EINVAL || result === -ENOTSUPP || result === -EOPNOTSUPP;
}

/** Entries side by side: key `i` begins at `i * keySize` of `keys`, its value at `i * valueSize` of `values`. */
export interface MapEntries {
  readonly keys: Uint8Array;
  readonly values: Uint8Array;
  readonly count: number;
}

/** Entries that the first batch has room for: most maps of most hosts have fewer. */
const FIRST_BATCH = 512;
/** And the second: memory that nothing is written to is none, but it is counted. */
const SECOND_BATCH = 65_536;

/** What mapEntries fills, and makes larger when it is full. */
class EntryBuffer {
  keys: Uint8Array;
  values: Uint8Array;
  count = 0;
  capacity: number;
  readonly #info: MapInfo;

  constructor(info: MapInfo, capacity: number) {
    this.#info = info;
    this.capacity = capacity;
    this.keys = new Uint8Array(capacity * info.keySize);
    this.values = new Uint8Array(capacity * info.valueSize);
  }

  /** Room for all that the map may have, or for very many; then for twice as many. */
  grow(): void {
    const most = Math.min(this.#info.maxEntries, SECOND_BATCH);
    const larger = new EntryBuffer(this.#info, Math.max(most, this.capacity * 2));
    larger.keys.set(this.keys);
    larger.values.set(this.values);
    this.capacity = larger.capacity;
    this.keys = larger.keys;
    this.values = larger.values;
  }

  /** The free part, for the next entries. */
  rest(): { keys: Uint8Array; values: Uint8Array; capacity: number } {
    return {
      keys: this.keys.subarray(this.count * this.#info.keySize),
      values: this.values.subarray(this.count * this.#info.valueSize),
      capacity: this.capacity - this.count,
    };
  }

  entries(): MapEntries {
    return {
      keys: this.keys.subarray(0, this.count * this.#info.keySize),
      values: this.values.subarray(0, this.count * this.#info.valueSize),
      count: this.count,
    };
  }
}

/**
 * The whole map in batches, one by one where the kernel has no batch for it. Under concurrent change an
 * entry may be missed or appear twice. Not for per-CPU maps.
 */
export function mapEntries(fd: number, info: MapInfo): MapEntries {
  const buffer = new EntryBuffer(info, Math.max(1, Math.min(info.maxEntries, FIRST_BATCH)));
  // The kernel's own note of where it stands: a u32 for hash maps, a key for the others.
  const position = new Uint8Array(Math.max(4, info.keySize));
  const next = new Uint8Array(position.length);
  let isFirst = true;
  for (;;) {
    if (buffer.count === buffer.capacity) buffer.grow();
    const rest = buffer.rest();
    const count = new Uint32Array([rest.capacity]);
    const result = libbpf.mapLookupBatch(
      fd,
      isFirst ? null : position,
      next,
      rest.keys,
      rest.values,
      count,
      null,
    );
    if (result >= 0 || result === -ENOENT) {
      buffer.count += count[0] ?? 0;
      if (result === -ENOENT) return buffer.entries();
      position.set(next);
      isFirst = false;
    } else if (result === -ENOSPC) {
      // A bucket that holds more than there is room for.
      buffer.grow();
    } else if (isFirst && isUnsupported(result)) {
      return entriesOneByOne(fd, info, buffer);
    } else {
      throw mapError(fd, 'read all of', result);
    }
  }
}

function entriesOneByOne(fd: number, info: MapInfo, buffer: EntryBuffer): MapEntries {
  let key: Uint8Array | null = null;
  // An entry deleted while it is read sends the kernel back to the start: the bound ends that.
  for (let step = 0; step < info.maxEntries * 2 + 16; step++) {
    const next = new Uint8Array(info.keySize);
    const result = libbpf.mapGetNextKey(fd, key, next);
    if (result === -ENOENT) return buffer.entries();
    if (result < 0) throw mapError(fd, 'walk through', result);
    const value = mapLookup(fd, next, info.valueSize);
    if (value !== undefined) {
      if (buffer.count === buffer.capacity) buffer.grow();
      buffer.keys.set(next, buffer.count * info.keySize);
      buffer.values.set(value, buffer.count * info.valueSize);
      buffer.count++;
    }
    key = next;
  }
  return buffer.entries();
}

/** Writes entries laid out as in MapEntries, in batches where the kernel can. */
export function mapUpdateAll(fd: number, info: MapInfo, entries: MapEntries, flags: number = BPF_ANY): void {
  if (entries.count === 0) return;
  // struct bpf_map_batch_opts: size_t sz, u64 elem_flags, u64 flags.
  const options = new Uint8Array(24);
  writeU64(options, 0, 24n);
  writeU64(options, 8, BigInt(flags));
  const count = new Uint32Array([entries.count]);
  const result = libbpf.mapUpdateBatch(fd, entries.keys, entries.values, count, options);
  if (result >= 0) return;
  if (!isUnsupported(result)) throw mapError(fd, 'write to', result);
  for (let i = 0; i < entries.count; i++) {
    const key = entries.keys.subarray(i * info.keySize, (i + 1) * info.keySize);
    mapUpdate(fd, key, entries.values.subarray(i * info.valueSize, (i + 1) * info.valueSize), flags);
  }
}

/** Deletes `count` keys laid side by side; keys that are not there are passed over. Returns how many went. */
export function mapDeleteAll(fd: number, info: MapInfo, keys: Uint8Array, count: number): number {
  let deleted = 0;
  for (let done = 0; done < count; ) {
    const batch = new Uint32Array([count - done]);
    const result = libbpf.mapDeleteBatch(fd, keys.subarray(done * info.keySize), batch, null);
    if (result < 0 && isUnsupported(result)) return deleted + deleteOneByOne(fd, info, keys, done, count);
    if (result < 0 && result !== -ENOENT) throw mapError(fd, 'delete from', result);
    // ENOENT: the batch ended at a key that is not there, `batch` says how many went before it.
    const gone = batch[0] ?? 0;
    deleted += gone;
    done += gone + (result < 0 ? 1 : 0);
    if (result >= 0) break;
  }
  return deleted;
}

function deleteOneByOne(fd: number, info: MapInfo, keys: Uint8Array, from: number, to: number): number {
  let deleted = 0;
  for (let i = from; i < to; i++) {
    if (mapDelete(fd, keys.subarray(i * info.keySize, (i + 1) * info.keySize))) deleted++;
  }
  return deleted;
}

/** The sums over all CPUs of a per-CPU array of u64. */
export function perCpuArray(fd: number, entries: number): number[] {
  const cpus = possibleCpus();
  const values = new Uint8Array(cpus * 8);
  const key = new Uint8Array(4);
  const sums: number[] = [];
  for (let entry = 0; entry < entries; entry++) {
    writeU32(key, 0, entry);
    const result = libbpf.mapLookupElem(fd, key, values);
    if (result < 0) throw mapError(fd, 'read from', result);
    let sum = 0;
    for (let cpu = 0; cpu < cpus; cpu++) sum += readU64AsNumber(values, cpu * 8);
    sums.push(sum);
  }
  return sums;
}

/**
 * bpf_link_create for TCX; the new link's descriptor. `flags`: BPF_F_BEFORE, to be the first of all that are there; by
 * default the program is the last. Throws `attach_failed`, or `unsupported` where the kernel has no TCX.
 */
export function tcxAttach(programFd: number, ifIndex: number, attachType: number, flags = 0): number {
  // struct bpf_link_create_opts, its first members: size_t sz, u32 flags.
  const options = new Uint8Array(16);
  writeU64(options, 0, 16n);
  writeU32(options, 8, flags);
  const fd = libbpf.linkCreate(programFd, ifIndex, attachType, options);
  if (fd >= 0) return fd;
  const context = { operation: `attach to interface ${ifIndex} by TCX`, object: `interface ${ifIndex}` };
  if (fd === -EINVAL) {
    throw bpfError({ ...context, code: 'unsupported', remedy: 'TCX needs Linux 6.6; use clsact' }, fd);
  }
  throw bpfError({ ...context, code: 'attach_failed' }, fd);
}

/** bpf_link_update: puts another program into the place of the one on that interface. */
export function linkUpdate(linkFd: number, programFd: number, ifIndex: number): void {
  const result = libbpf.linkUpdate(linkFd, programFd, null);
  if (result < 0) {
    throw bpfError(
      {
        operation: `replace the program of interface ${ifIndex} by TCX`,
        object: `interface ${ifIndex}`,
        code: 'attach_failed',
      },
      result,
    );
  }
}

/** bpf_link_detach: takes the program off that interface, though the link may still be pinned. */
export function linkDetach(linkFd: number, ifIndex: number): void {
  const result = libbpf.linkDetach(linkFd);
  if (result < 0) {
    throw bpfError(
      {
        operation: `detach from interface ${ifIndex} by TCX`,
        object: `interface ${ifIndex}`,
        code: 'detach_failed',
      },
      result,
    );
  }
}

/** IDs of the programs attached to a device by TCX, first to run first; none where the kernel has no TCX. */
export function tcxPrograms(ifIndex: number, attachType: number): number[] {
  // BPF_MPROG_MAX (kernel/bpf/mprog.c) is 64.
  const ids = new Uint32Array(64);
  const count = new Uint32Array([ids.length]);
  const result = libbpf.progQuery(ifIndex, attachType, 0, new Uint32Array(1), ids, count);
  if (isUnsupported(result) || result === -ENOENT) return [];
  if (result < 0) {
    throw bpfError(
      { operation: `list the TCX programs of interface ${ifIndex}`, object: `interface ${ifIndex}` },
      result,
    );
  }
  return [...ids.subarray(0, count[0])];
}
