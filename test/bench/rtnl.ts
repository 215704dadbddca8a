// For how long a run keeps others from changing the network: the longest wait of a process that takes the kernel's RTNL lock
// again and again meanwhile. Beside it a program that does nothing, whose figure is what the machine itself adds, and iproute2,
// which lists as much.
import { parseJson } from '../lib/run.ts';
import { installAll, LISTS } from './idle.ts';
import { interleave, median, NOTHING, type Tools } from './measure.ts';
import { atMost, type Row, row, type Side } from './rows.ts';
import { Site } from './site.ts';

const ROUNDS = 15;
const PORTS = 1_000;
const HOSTS = 10_000;
/** FDB entries of MACs that no run asks for. */
const FOREIGN = 20_000;
const GROUP = 'longest wait for RTNL';

export function measureRtnl(tools: Tools): Row[] {
  const site = new Site(tools, PORTS);
  try {
    installAll(site, HOSTS);
    const rows = measureWaits(tools, site, `${PORTS} ports, ${HOSTS} hosts`);
    site.placeHosts(HOSTS + FOREIGN);
    return [...rows, ...measureWaits(tools, site, `the same with ${FOREIGN} foreign FDB entries`)];
  } finally {
    site.close();
  }
}

function measureWaits(tools: Tools, site: Site, name: string): Row[] {
  const waits = interleave(ROUNDS, {
    own: () => longestWaitMs(tools, site, site.argv('reconcile', '--quiet')),
    iproute: () => longestWaitMs(tools, site, ['sh', '-c', LISTS]),
    nothing: () => longestWaitMs(tools, site, NOTHING),
  });
  const side = (what: string, values: readonly number[]): Side => ({
    what,
    value: median(values),
    unit: 'ms',
  });
  const own = side('snoopy', waits.own);
  return [
    row(GROUP, name, own, side('node -e 0', waits.nothing), 'difference', atMost(2)),
    row(GROUP, name, own, side('iproute2 lists as much', waits.iproute), 'gain'),
  ];
}

function longestWaitMs(tools: Tools, site: Site, argv: readonly string[]): number {
  const { code, stdout, stderr } = site.netns.tryRun([tools.path('contender'), ...argv]);
  if (code !== 0) throw new Error(`contender ended with ${code}: ${stderr}`);
  const { longestMs, exit } = parseJson<{ longestMs: number; exit: number }>(stdout, 'contender');
  if (exit !== 0) throw new Error(`\`${argv.join(' ')}\` ended with ${exit}: ${stderr}`);
  return longestMs;
}
