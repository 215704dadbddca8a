// How other programs limit the rate of a port at its ingress: their very commands. Only the kernels of the guests have a
// policer, and cls_basic; elsewhere a filter without one stands for theirs.
import type { Netns } from './netns.ts';
import { outputOf } from './snoopy.ts';

/** Limits the rate of a port; throws when one of the commands fails whose failure the program would report. */
export type RateLimit = (netns: Netns, port: string, pause?: () => void) => void;

const ALL = ['u32', 'match', 'u32', '0', '0'];
const IN_GUEST = process.env['SNOOPY_GUEST'] !== undefined;
const PROXMOX = IN_GUEST
  ? ['basic', 'police', 'rate', '8000000bps', 'burst', '1048576b', 'mtu', '64kb', 'drop']
  : [...ALL, 'classid', ':1'];
const LIBVIRT = IN_GUEST
  ? [...ALL, 'police', 'rate', '1000kbps', 'burst', '1000kb', 'mtu', '64kb', 'drop', 'flowid', ':1']
  : [...ALL, 'classid', ':1'];

/** Proxmox VE (PVE::Network, tap_rate_limit) and libvirt (virNetDevBandwidthSet), in the order of their commands. */
export const RATE_LIMITS: Readonly<Record<string, RateLimit>> = {
  'Proxmox VE': (netns, port, pause = () => {}) => {
    netns.tryRun(['tc', 'qdisc', 'del', 'dev', port, 'ingress']);
    pause();
    must(netns, ['qdisc', 'add', 'dev', port, 'handle', 'ffff:', 'ingress']);
    must(netns, ['filter', 'add', 'dev', port, 'parent', 'ffff:', 'prio', '50', ...PROXMOX]);
  },
  libvirt: (netns, port, pause = () => {}) => {
    netns.tryRun(['tc', 'qdisc', 'del', 'dev', port, 'root']);
    netns.tryRun(['tc', 'qdisc', 'del', 'dev', port, 'ingress']);
    pause();
    must(netns, ['qdisc', 'add', 'dev', port, 'ingress']);
    must(netns, ['filter', 'add', 'dev', port, 'parent', 'ffff:', 'protocol', 'all', ...LIBVIRT]);
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
