// Sends announcements out of local ports.

import { closeSync } from 'node:fs';
import type { Announcement } from '../core/announcements.ts';
import { isRouter } from '../core/neighbor-entry.ts';
import { encodeNotice } from '../datapath/frames.ts';
import { packetSocket, sendFrame } from '../ffi/libc.ts';

/**
 * Sends each announcement once out of every of its ports. A port that is gone or whose queue is full is left out: like
 * a host's own, an announcement has no answer and may be lost. Throws SnoopyError `not_permitted` without CAP_NET_RAW.
 */
export function sendAnnouncements(announcements: readonly Announcement[]): void {
  if (announcements.length === 0) return;
  const fd = packetSocket({
    operation: 'open a packet socket for announcements',
    object: 'announcements',
    capability: 'CAP_NET_RAW',
    fix: 'set "announce: never"',
  });
  try {
    for (const { entry, mac, outlets } of announcements) {
      const notice = { ip: entry.ip, mac, router: isRouter(entry) };
      for (const { port, tag } of outlets) sendFrame(fd, encodeNotice({ ...notice, tag }), port.ifIndex);
    }
  } finally {
    closeSync(fd);
  }
}
