// Measuring: the cost of a process, and medians over repetitions that take turns.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Netns } from '../lib/netns.ts';
import { parseJson, run } from '../lib/run.ts';
import type { Scope } from '../lib/scope.ts';
import { createTempDir } from '../lib/temp.ts';

const SOURCES = fileURLToPath(new URL('../../../test/bench/', import.meta.url));

/** The cost of a process, as test/bench/measure.c prints it. */
export interface Usage {
  readonly wallMs: number;
  readonly userMs: number;
  readonly systemMs: number;
  /** Peak memory. */
  readonly peakKb: number;
  readonly exit: number;
}

/** The C programs beside this file, and a place for their output. */
export class Tools {
  readonly dir: string;
  /** The object of peer.bpf.c. */
  readonly peers: string;

  constructor(scope: Scope) {
    this.dir = createTempDir(scope, 'bench');
    const warnings = ['-O2', '-Wall', '-Wextra', '-Werror'];
    for (const [name, ...libraries] of [
      ['contender'],
      ['measure'],
      ['neighbors'],
      ['hosts', '-lbpf'],
      ['frames', '-lbpf', '-lpthread'],
    ] as const) {
      run(['clang', ...warnings, '-o', this.path(name), join(SOURCES, `${name}.c`), ...libraries]);
    }
    this.peers = this.path('peer.o');
    const multiarch = run(['clang', '-print-multiarch']).trim();
    const include = multiarch === '' ? [] : ['-idirafter', `/usr/include/${multiarch}`];
    const target = ['-target', 'bpf', '-mcpu=v2', '-g', ...warnings, ...include];
    run(['clang', ...target, '-c', join(SOURCES, 'peer.bpf.c'), '-o', this.peers]);
  }

  /** The path of a tool, or of a file for one. */
  path(name: string): string {
    return join(this.dir, name);
  }

  /** Runs a command that must succeed and returns its cost; its output goes to a file. */
  measure(netns: Netns, argv: readonly string[]): Usage {
    const { stdout, stderr } = netns.tryRun([this.path('measure'), this.path('output'), ...argv]);
    const usage = parseJson<Usage>(stdout, 'measure');
    if (usage.exit !== 0) throw new Error(`\`${argv.join(' ')}\` ended with ${usage.exit}: ${stderr}`);
    return usage;
  }

  /** The output of the command that was measured last. */
  output(): string {
    return readFileSync(this.path('output'), 'utf8');
  }

  /** Runs a tool that prints JSON. */
  json<T>(netns: Netns, name: string, ...args: readonly (string | number)[]): T {
    return netns.json<T>(this.path(name), ...args.map(String));
  }
}

/** A program that does nothing: the time and the memory that Node itself takes. */
export const NOTHING: readonly string[] = [process.execPath, '-e', '0'];

/**
 * Takes one sample of each in turn, again and again, so that other load on the machine affects all alike. One
 * uncounted round comes first, because the first time is slower.
 */
export function interleave<Samplers extends Readonly<Record<string, () => unknown>>>(
  rounds: number,
  samplers: Samplers,
): { [Name in keyof Samplers]: ReturnType<Samplers[Name]>[] } {
  const samples = new Map(Object.keys(samplers).map((name) => [name, [] as unknown[]]));
  for (let round = 0; round <= rounds; round++) {
    for (const [name, sampler] of Object.entries(samplers)) {
      const sample = sampler();
      if (round > 0) samples.get(name)?.push(sample);
    }
  }
  return Object.fromEntries(samples) as { [Name in keyof Samplers]: ReturnType<Samplers[Name]>[] };
}

export function median(values: readonly number[]): number {
  return percentile(values, 50);
}

/** The time in a line of `ip -ts` in UTC, such as 2026-01-31T10:00:00.123456, in milliseconds since the epoch. */
export function parseStamp(stamp: string): number {
  const [seconds = '', micros = '0'] = stamp.split('.');
  return Date.parse(`${seconds}Z`) + Number(micros) / 1e3;
}

/** Nearest rank. */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const value = sorted[Math.max(0, Math.ceil((sorted.length * percent) / 100) - 1)];
  if (value === undefined) throw new RangeError('there are no values');
  return value;
}

export const wallOf = (samples: readonly Usage[]): number => median(samples.map(({ wallMs }) => wallMs));
export const systemOf = (samples: readonly Usage[]): number =>
  median(samples.map(({ systemMs }) => systemMs));
export const peakOf = (samples: readonly Usage[]): number =>
  median(samples.map(({ peakKb }) => peakKb)) / 1024;
