// Probes -> the wire: out of the host's own port, past the kernel's resolver, which would take any address.

import { closeSync } from 'node:fs';
import { SnoopyError } from '../base/errors.ts';
import type { Probe } from '../core/probes.ts';
import { encodeQuestion } from '../datapath/frames.ts';
import type { Pins } from '../datapath/pins.ts';
import { encodeBindingKey, encodeProbe } from '../datapath/records.ts';
import { mapUpdate } from '../ffi/libbpf.ts';
import { sendTo, socket } from '../ffi/libc.ts';

const AF_PACKET = 17;
const SOCK_RAW = 3;

/**
 * Sends the probes and notes them in the map; returns how many went out. A port that went away meanwhile is
 * left to the next run. Throws SnoopyError `not_permitted` without CAP_NET_RAW.
 */
export function sendProbes(pins: Pins, probes: readonly Probe[]): number {
  const map = pins.maps.get('probes');
  if (probes.length === 0 || map === undefined) return 0;
  // Protocol 0: the socket receives nothing.
  const fd = socket(AF_PACKET, SOCK_RAW, 0, {
    operation: 'open a packet socket for probes',
    object: 'probes',
    capability: 'CAP_NET_RAW',
    remedy: 'or set "probe: {enabled: never}"',
  });
  let sent = 0;
  try {
    for (const { binding, port, sourceMac, sourceIp, tag, state } of probes) {
      const frame = encodeQuestion({
        sourceMac,
        sourceIp,
        targetMac: binding.mac,
        targetIp: binding.ip,
        tag,
      });
      if (!sendTo(fd, frame, linkAddress(port))) continue;
      mapUpdate(map.fd, encodeBindingKey(binding), encodeProbe(state));
      sent++;
    }
  } catch (thrown) {
    // The map is full of hosts that are silent: they are asked when there is room again.
    if (!(thrown instanceof SnoopyError && thrown.errno === 'E2BIG')) throw thrown;
  } finally {
    closeSync(fd);
  }
  return sent;
}

/** struct sockaddr_ll (linux/if_packet.h): only family and interface matter for a whole frame. */
function linkAddress(ifIndex: number): Uint8Array {
  const address = new Uint8Array(20);
  const data = new DataView(address.buffer);
  data.setUint16(0, AF_PACKET, true);
  data.setInt32(4, ifIndex, true);
  return address;
}
