// The functions of libbpf.so.1 (1.1 and later), and the error of one that fails.

import { readText } from '../base/bytes.ts';
import { causeOf, SnoopyError } from '../base/errors.ts';
import { bindLazily, koffi, type Library } from './koffi.ts';
import { type CallContext, EINVAL, ENOTSUPP, EOPNOTSUPP, systemError } from './libc.ts';

/** A C pointer such as a `struct bpf_map *`; NULL is null. */
export type Pointer = bigint;

/** A function that fails returns a negative errno, or NULL for a pointer (libbpf 1.0 and later). */
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
  readonly linkCreate: (programFd: number, target: number, attachType: number, options: Uint8Array) => number;
  readonly linkUpdate: (linkFd: number, programFd: number, options: null) => number;
  readonly linkDetach: (linkFd: number) => number;
  readonly progGetFdById: (id: number) => number;
  readonly linkGetNextId: (after: number, next: Uint32Array) => number;
  readonly linkGetFdById: (id: number) => number;
  readonly progQuery: (
    target: number,
    attachType: number,
    flags: number,
    attachFlags: Uint32Array,
    ids: Uint32Array,
    count: Uint32Array,
  ) => number;
}

/** The functions of libbpf; the library is loaded when the first of them is called. */
export const libbpf = bindLazily<Libbpf>(loadLibbpf, {
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
  linkCreate: ['bpf_link_create', 'int', ['int', 'int', 'int', 'void *']],
  linkUpdate: ['bpf_link_update', 'int', ['int', 'int', 'void *']],
  linkDetach: ['bpf_link_detach', 'int', ['int']],
  progGetFdById: ['bpf_prog_get_fd_by_id', 'int', ['uint32_t']],
  linkGetNextId: ['bpf_link_get_next_id', 'int', ['uint32_t', 'void *']],
  linkGetFdById: ['bpf_link_get_fd_by_id', 'int', ['uint32_t']],
  progQuery: ['bpf_prog_query', 'int', ['int', 'int', 'uint32_t', 'void *', 'void *', 'void *']],
});

function loadLibbpf(): Library {
  try {
    const lib = koffi().load('libbpf.so.1');
    // Without this, libbpf writes to stderr; its errors come back as SnoopyError.
    lib.func('libbpf_set_print', 'void *', ['void *'])(null);
    return lib;
  } catch (thrown) {
    if (thrown instanceof SnoopyError) throw thrown;
    throw new SnoopyError({
      code: 'unsupported',
      object: 'libbpf.so.1',
      operation: 'load libbpf.so.1 (1.1 or later)',
      cause: causeOf(thrown),
      fix: 'install the package libbpf1 (Debian, Ubuntu) or libbpf (EL, Fedora)',
    });
  }
}

const BPF_CAPABILITIES = 'CAP_BPF and CAP_NET_ADMIN';

/** The error of a call that returned `result`, a negative errno; `detail` is the kernel's message, if any. */
export function bpfError(context: CallContext, result: number, detail?: string): SnoopyError {
  const errno = -result;
  let text = detail;
  // Numbers from 4000 on are libbpf's own (enum libbpf_errno).
  if (errno >= 4000) {
    const buffer = new Uint8Array(128);
    libbpf.strerror(errno, buffer, buffer.length);
    const own = readText(buffer, 0, buffer.length);
    text = detail === undefined || detail === '' ? own : `${own}; ${detail}`;
  }
  return systemError({ capability: BPF_CAPABILITIES, ...context }, errno, text);
}

/** Version of the library, such as `1.1`. Throws `unsupported` when it is not installed. */
export function libbpfVersion(): string {
  return libbpf.versionString().replace('v', '');
}

/** True for a result that means that the kernel lacks this operation. */
export function isUnsupported(result: number): boolean {
  return result === -EINVAL || result === -ENOTSUPP || result === -EOPNOTSUPP;
}
