// The audit of a large fabric, beside a program that only reads and parses its reports.
import { mkdirSync, rmSync } from 'node:fs';
import { writeLargeFabric } from '../lib/large-fabric.ts';
import { Netns } from '../lib/netns.ts';
import { Scope } from '../lib/scope.ts';
import { NODE, START } from '../lib/snoopy.ts';
import { interleave, median, peakOf, type Tools, type Usage } from './measure.ts';
import { atMost, type Row, row, type Side } from './rows.ts';

const ROUNDS = 3;
const STEPS = [250, 500, 1_000];
const HOSTS = 100;

/** Each report contains a line about each other node, so that four times as many nodes take sixteen times as long. */
export function measureAudit(tools: Tools): Row[] {
  const scope = new Scope();
  try {
    const netns = new Netns(scope, 'audit');
    return STEPS.flatMap((nodes) => {
      const dir = tools.path('reports');
      rmSync(dir, { recursive: true, force: true });
      mkdirSync(dir);
      writeLargeFabric(dir, { nodes, hosts: HOSTS, vnis: 1, seed: 7, faults: 40 });
      // It ends with 1, as there are faults.
      const audit = ['sh', '-c', '"$@"; [ $? = 1 ]', 'sh', ...NODE, START, 'audit', dir];
      const samples = interleave(ROUNDS, {
        own: () => tools.measure(netns, audit),
        parse: () => tools.measure(netns, [process.execPath, '-e', PARSE, dir]),
      });
      return rowsOf(nodes, samples);
    });
  } finally {
    scope.close();
  }
}

const PARSE = `
const fs = require('node:fs');
const [dir] = process.argv.slice(1);
for (const name of fs.readdirSync(dir)) JSON.parse(fs.readFileSync(dir + '/' + name, 'utf8'));
`;

function rowsOf(
  nodes: number,
  { own, parse }: { readonly own: readonly Usage[]; readonly parse: readonly Usage[] },
): Row[] {
  const isWhole = nodes === STEPS.at(-1);
  const group = `audit of ${nodes} nodes, ${nodes * HOSTS} addresses`;
  const time = (what: string, usages: readonly Usage[]): Side => {
    const value = median(usages.map(({ userMs, systemMs }) => userMs + systemMs));
    return { what, value, unit: 'ms' };
  };
  const memory = (what: string, usages: readonly Usage[]): Side => ({
    what,
    value: peakOf(usages),
    unit: 'MB',
  });
  const parsing = 'reading and parsing alone';
  return [
    row(
      group,
      'processor',
      time('snoopy', own),
      time(parsing, parse),
      'value',
      isWhole ? atMost(10_000) : null,
    ),
    row(
      group,
      'memory',
      memory('snoopy', own),
      memory(parsing, parse),
      'value',
      isWhole ? atMost(1_024) : null,
    ),
  ];
}
