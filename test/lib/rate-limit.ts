// How other programs limit the rate of a port at its ingress: their very commands, without the policer, which this kernel
// lacks; test/guest/rate-limits.test.ts has them with it.
import type { Netns } from './netns.ts';
import { outputOf } from './snoopy.ts';

/** Limits the rate of a port; throws when one of the commands fails whose failure the program would report. */
export type RateLimit = (netns: Netns, port: string, pause?: () => void) => void;

/** Every frame. */
const ALL = ['u32', 'match', 'u32', '0', '0', 'classid', ':1'];

/** Proxmox VE (PVE::Network, tap_rate_limit) and libvirt (virNetDevBandwidthSet), in the order of their commands. */
export const RATE_LIMITS: Readonly<Record<string, RateLimit>> = {
  'Proxmox VE': (netns, port, pause = () => {}) => {
    netns.tryRun(['tc', 'qdisc', 'del', 'dev', port, 'ingress']);
    pause();
    must(netns, ['qdisc', 'add', 'dev', port, 'handle', 'ffff:', 'ingress']);
    must(netns, ['filter', 'add', 'dev', port, 'parent', 'ffff:', 'prio', '50', ...ALL]);
  },
  libvirt: (netns, port, pause = () => {}) => {
    netns.tryRun(['tc', 'qdisc', 'del', 'dev', port, 'root']);
    netns.tryRun(['tc', 'qdisc', 'del', 'dev', port, 'ingress']);
    pause();
    must(netns, ['qdisc', 'add', 'dev', port, 'ingress']);
    must(netns, ['filter', 'add', 'dev', port, 'parent', 'ffff:', 'protocol', 'all', ...ALL]);
  },
};

/** Ends the limit, as both do. */
export function unlimit(netns: Netns, port: string): void {
  must(netns, ['qdisc', 'del', 'dev', port, 'ingress']);
}

function must(netns: Netns, args: readonly string[]): void {
  const result = netns.tryRun(['tc', ...args]);
  if (result.code !== 0) throw new Error(`tc ${args.join(' ')}: ${outputOf(result)}`);
}
