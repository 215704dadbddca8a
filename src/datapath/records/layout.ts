// struct snoopy_layout, map "layout": the record by which a run knows what is pinned.

import { formatHex, requireBytes } from '../../base/bytes.ts';
import { getU32, getU64, setU32, setU64 } from '../../base/field.ts';
import { LAYOUT, SNOOPY_ABI } from '../../generated/layouts.ts';
import type { ValueCodec } from './codec.ts';

export interface Layout {
  readonly abi: number;
  /** Inode of the network namespace. */
  readonly netns: number;
  /** SHA-256 of the object in hex; all zeroes when the load did not finish. */
  readonly digest: string;
}

/** sizeof(snoopy_layout.digest) */
const DIGEST_BYTES = 32;
const NO_DIGEST = '00'.repeat(DIGEST_BYTES);

export const layoutCodec: ValueCodec<Layout> = {
  decode(values, at) {
    requireBytes(values, at, LAYOUT.size);
    const digest = at + LAYOUT.digest;
    return {
      abi: getU32(values, at, LAYOUT.abi),
      netns: getU64(values, at, LAYOUT.netns),
      digest: formatHex(values.subarray(digest, digest + DIGEST_BYTES)),
    };
  },
  encode(layout, bytes, at) {
    setU32(bytes, at, LAYOUT.abi, layout.abi);
    setU64(bytes, at, LAYOUT.netns, BigInt(layout.netns));
    bytes.set(Buffer.from(layout.digest, 'hex'), at + LAYOUT.digest);
  },
};

/** True when the load that wrote this record finished. */
export function isComplete(layout: Layout): boolean {
  return layout.digest !== NO_DIGEST;
}

/** A layout record for a load that is not finished. */
export function unfinishedLayout(netns: number): Layout {
  return { abi: SNOOPY_ABI, netns, digest: NO_DIGEST };
}
