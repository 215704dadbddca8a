// `npm run bench`: how fast snoopy is, each figure beside a peer or a limit measured in the same run.
//
//   npm run bench -- [ROW GROUP...]    all groups by default
//
// Prints a table and writes dist/bench.json. Needs root and some minutes. On a busy machine the ratios are more
// reliable than the figures.
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { Scope } from '../lib/scope.ts';
import { measureAudit } from './audit.ts';
import { measureDataPath } from './data-path.ts';
import { measureFirst } from './first.ts';
import { measureHosts } from './hosts.ts';
import { measureGrowth, measureIdle } from './idle.ts';
import { measureListening } from './listen.ts';
import { Tools } from './measure.ts';
import { measureMoves } from './moves.ts';
import { measureRoutes } from './routes.ts';
import { type Row, renderRows } from './rows.ts';
import { measureRtnl } from './rtnl.ts';

const GROUPS: Readonly<Record<string, (tools: Tools) => Row[] | Promise<Row[]>>> = {
  data: measureDataPath,
  hosts: measureHosts,
  idle: measureIdle,
  growth: measureGrowth,
  listen: measureListening,
  rtnl: measureRtnl,
  first: measureFirst,
  routes: measureRoutes,
  moves: measureMoves,
  audit: measureAudit,
};

async function main(names: readonly string[]): Promise<void> {
  const unknown = names.find((name) => !(name in GROUPS));
  if (unknown !== undefined) {
    console.error(`bench: there is no group ${unknown}, only ${Object.keys(GROUPS).join(', ')}`);
    process.exitCode = 64;
    return;
  }
  const scope = new Scope();
  try {
    const tools = new Tools(scope);
    const rows: Row[] = [];
    for (const [name, measure] of Object.entries(GROUPS)) {
      if (names.length > 0 && !names.includes(name)) continue;
      console.error(`bench: ${name}`);
      rows.push(...(await measure(tools)));
    }
    console.log(renderRows(rows));
    writeFileSync('dist/bench.json', `${JSON.stringify({ machine: machine(), rows }, null, 2)}\n`);
  } finally {
    scope.close();
  }
}

function machine(): Readonly<Record<string, string | number>> {
  const [cpu] = cpus();
  const [load = ''] = readFileSync('/proc/loadavg', 'utf8').split(' ');
  return {
    kernel: release(),
    node: process.version,
    cpu: cpu?.model ?? '',
    cores: cpus().length,
    load: Number(load),
  };
}

await main(process.argv.slice(2));
