// Information on a program, map or link (bpf_obj_get_info_by_fd). All throw SnoopyError `pin_unusable`.

import { closeSync } from 'node:fs';
import { formatHex, readText, readU32, writeU32, writeU64 } from '../base/bytes.ts';
import { koffi } from './koffi.ts';
import { bpfError, libbpf } from './libbpf.ts';
import { ENOENT, EPERM } from './libc.ts';

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

/** struct bpf_link_info of a TCX link; `ifIndex` is 0 when its device was removed. */
export interface LinkInfo {
  readonly id: number;
  /** BPF_LINK_TYPE_* */
  readonly type: number;
  readonly programId: number;
  readonly ifIndex: number;
  readonly attachType: number;
}

/** Fills `info` with the fields that the kernel has. */
function readInfo(fd: number, info: Uint8Array, what: string): Uint8Array {
  const result = libbpf.objGetInfoByFd(fd, info, new Uint32Array([info.length]));
  if (result < 0) {
    throw bpfError(
      { operation: `read the properties of ${what} ${fd}`, object: `descriptor ${fd}`, code: 'pin_unusable' },
      result,
    );
  }
  return info;
}

/** Offsets in struct bpf_prog_info (linux/bpf.h). */
const PROG_INFO = { type: 0, id: 4, tag: 8, nrMapIds: 52, mapIds: 56, name: 64, size: 80 } as const;

/** ID, type, name, tag and maps of the program that is open as `fd`. */
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

/**
 * The name of a program by its ID; undefined when it is gone, or when this process may not open it: that needs
 * CAP_SYS_ADMIN. Throws SnoopyError as `programInfo` does.
 */
export function programName(id: number): string | undefined {
  const fd = libbpf.progGetFdById(id);
  if (fd === -ENOENT || fd === -EPERM) return undefined;
  if (fd < 0) throw bpfError({ operation: `open program ${id}`, object: `program ${id}` }, fd);
  try {
    return programInfo(fd).name;
  } finally {
    closeSync(fd);
  }
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
