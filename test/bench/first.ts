// The first run on many ports: load, pin and attach, beside `tc -batch`, which attaches a program that is loaded
// already.
import { parseJson, run } from '../lib/run.ts';
import { interleave, systemOf, type Tools, type Usage, wallOf } from './measure.ts';
import { type Row, row, type Side } from './rows.ts';
import { Site } from './site.ts';

const ROUNDS = 5;
const PORTS = 1_000;
const GROUP = `first run on ${PORTS} ports`;

export function measureFirst(tools: Tools): Row[] {
  // By TCX each port waits for an RCU grace period, and tc has no TCX to compare with.
  const site = new Site(tools, PORTS, { attach: 'clsact' });
  try {
    site.must('reconcile');
    const pin = `${site.snoopy.bpffs}/peer`;
    run(['bpftool', 'prog', 'load', 'dist/snoopy.bpf.o', pin]);
    const ports = Array.from({ length: PORTS }, (_, i) => `tap${i}`);
    const attach = site.batchArgv(
      'tc',
      'attach',
      ports.flatMap((port) => [
        `qdisc add dev ${port} clsact`,
        `filter add dev ${port} ingress protocol all pref 1 handle 1 bpf da object-pinned ${pin}`,
      ]),
    );
    const detach = ports.map((port) => `qdisc del dev ${port} clsact`);
    const own = (): Usage => {
      site.must('remove');
      return tools.measure(site.netns, site.argv('reconcile'));
    };
    const peer = (): Usage => {
      site.must('remove');
      const usage = tools.measure(site.netns, attach);
      site.batch('tc', detach);
      return usage;
    };
    const { snoopy, tc } = interleave(ROUNDS, { snoopy: own, tc: peer });
    const time = (what: string, value: number): Side => ({ what, value, unit: 'ms' });
    site.must('remove');
    const ownCalls = countCalls(tools, site, site.argv('reconcile'));
    site.must('remove');
    const peerCalls = countCalls(tools, site, attach);
    return [
      row(GROUP, 'time', time('snoopy', wallOf(snoopy)), time('tc -batch', wallOf(tc)), 'ratio'),
      row(
        GROUP,
        'time in the kernel',
        time('snoopy', systemOf(snoopy)),
        time('tc -batch', systemOf(tc)),
        'ratio',
      ),
      row(
        GROUP,
        'system calls',
        { what: 'snoopy', value: ownCalls, unit: 'calls' },
        { what: 'tc -batch', value: peerCalls, unit: 'calls' },
        'ratio',
      ),
    ];
  } finally {
    site.close();
  }
}

/** In a separate run: strace makes them slower. */
function countCalls(tools: Tools, site: Site, argv: readonly string[]): number {
  const file = tools.path('strace');
  site.netns.run('strace', '-f', '-c', '-o', file, ...argv);
  const total = /^\s*100\.00\s+\S+\s+(?:\S+\s+)?(\d+)\s+(?:\d+\s+)?total$/m.exec(run(['cat', file]));
  return parseJson<number>(total?.[1] ?? '', 'strace -c');
}
