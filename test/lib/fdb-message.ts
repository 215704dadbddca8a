// A bridge's notification about a MAC, as the kernel sends it.
import type { IfIndex, Mac } from '../../src/base/address.ts';
import { NUD_REACHABLE } from '../../src/netlink/neighbor.ts';

/** ndmsg.ndm_flags of an entry that a bridge has for its port. */
const NTF_MASTER = 1 << 2;

/** struct ndmsg with AF_BRIDGE, NDA_LLADDR and NDA_MASTER. */
export function fdbPayload(bridge: IfIndex, port: IfIndex, mac: Mac): Uint8Array {
  const bytes = new Uint8Array(12 + 12 + 8);
  const data = new DataView(bytes.buffer);
  data.setUint8(0, 7);
  data.setInt32(4, port, true);
  data.setUint16(8, NUD_REACHABLE, true);
  data.setUint8(10, NTF_MASTER);
  data.setUint16(12, 10, true);
  data.setUint16(14, 2, true);
  for (const [i, part] of mac.split(':').entries()) bytes[16 + i] = Number.parseInt(part, 16);
  data.setUint16(24, 8, true);
  data.setUint16(26, 9, true);
  data.setUint32(28, bridge, true);
  return bytes;
}
