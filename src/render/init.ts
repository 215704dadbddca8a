// The report of `init` -> text.

import { DEFAULT_CONFIG } from '../config/config.ts';
import type { InitReport } from '../core/report.ts';
import { printable } from './style.ts';

/** The configuration itself, so that it can be redirected to a file; or one line on where it was written. */
export function renderInit({ file, written, bridges, configuration }: InitReport): string {
  if (!written) return configuration;
  const what = bridges.length === 0 ? 'no bridge has a tunnel port yet' : bridges.join(', ');
  const of = file === DEFAULT_CONFIG ? '' : ` --config ${file}`;
  const next = `next: snoopy validate${of}; then: snoopy reconcile --check --diff${of}`;
  return `${printable(`wrote ${file}: ${what}; ${next}`)}\n`;
}
