// Waiting with an end: every wait has a deadline and reports the last value.
import { setTimeout as sleep } from 'node:timers/promises';

export interface WaitOptions {
  readonly timeoutMs?: number;
  readonly everyMs?: number;
  /** What the error says as well. */
  readonly explain?: () => string;
}

/** How much longer everything may take where the processor is emulated (test/guest). */
export const PATIENCE = process.env['SNOOPY_GUEST'] === undefined ? 1 : 10;

/** Reads a value until it is accepted, and returns it. Throws with the last value after the deadline. */
export async function until<T>(
  what: string,
  read: () => T,
  accept: (value: T) => boolean,
  options: WaitOptions = {},
): Promise<T> {
  const { everyMs = 25 } = options;
  const timeoutMs = (options.timeoutMs ?? 10_000) * PATIENCE;
  const start = performance.now();
  for (;;) {
    const value = read();
    if (accept(value)) return value;
    if (performance.now() - start > timeoutMs) {
      const more = options.explain === undefined ? '' : `\n${options.explain()}`;
      throw new Error(`Waited ${timeoutMs} ms for ${what}; the last value was: ${show(value)}${more}`);
    }
    await sleep(everyMs);
  }
}

/** Blocks this thread: for the few places that run when the process exits. */
export function sleepSync(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

function show(value: unknown): string {
  const text = typeof value === 'string' ? value : (JSON.stringify(value, null, 2) ?? String(value));
  return text.length > 4_000 ? `${text.slice(0, 4_000)} ...` : text;
}
