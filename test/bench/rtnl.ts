// For how long a run keeps others from changing the network: its longest netlink call, which bounds the time that the kernel
// holds the RTNL lock for it (it takes the lock for each message of a call). Beside it iproute2, which lists as much.
import { readFileSync } from 'node:fs';
import { installAll, LISTS } from './idle.ts';
import { interleave, median, type Tools } from './measure.ts';
import { atMost, type Row, row } from './rows.ts';
import { Site } from './site.ts';

const ROUNDS = 9;
const PORTS = 1_000;
const HOSTS = 10_000;
/** FDB entries of MACs that no run asks for. */
const FOREIGN = 20_000;
const GROUP = 'longest call';

export function measureLongestCall(tools: Tools): Row[] {
  const site = new Site(tools, PORTS);
  try {
    installAll(site, HOSTS);
    const name = `${PORTS} ports, ${HOSTS} hosts`;
    const measure = (what: string): Row => {
      const longest = interleave(ROUNDS, {
        own: () => longestCallMs(tools, site, site.argv('reconcile', '--quiet')),
        iproute: () => longestCallMs(tools, site, ['sh', '-c', LISTS]),
      });
      return row(
        GROUP,
        what,
        { what: 'snoopy', value: median(longest.own), unit: 'ms' },
        { what: 'iproute2 lists as much', value: median(longest.iproute), unit: 'ms' },
        'value',
        atMost(2),
      );
    };
    const rows = [measure(name)];
    site.placeHosts(HOSTS + FOREIGN);
    return [...rows, measure(`${name}, ${FOREIGN} foreign FDB entries`)];
  } finally {
    site.close();
  }
}

/** As strace times it, which adds some microseconds to each call. */
function longestCallMs(tools: Tools, site: Site, argv: readonly string[]): number {
  const file = tools.path('calls');
  const strace = ['strace', '-f', '-T', '-o', file, '-e', 'trace=sendto,sendmsg,recvfrom,recvmsg,recvmmsg'];
  const { code, stderr } = site.netns.tryRun([...strace, ...argv]);
  if (code !== 0) throw new Error(`\`${argv.join(' ')}\` ended with ${code}: ${stderr}`);
  const times = [...readFileSync(file, 'utf8').matchAll(/<(\d+\.\d+)>$/gm)].map(([, seconds]) =>
    Number(seconds),
  );
  if (times.length === 0) throw new Error(`strace has seen no call of \`${argv.join(' ')}\``);
  return Math.max(...times) * 1_000;
}
