// A configuration for this node: printed, or written where there is none.

import { createConfig } from '../config/create.ts';
import { starterConfig } from '../config/starter.ts';
import { findHostBridges } from '../core/entries.ts';
import type { InitReport } from '../core/report.ts';
import { observeLinks } from '../host/observe.ts';
import { openNetlink } from '../netlink/socket.ts';
import type { CommandOptions, Environment } from './environment.ts';

export interface InitOptions extends CommandOptions {
  /** True: the configuration is written to its path. */
  readonly write: boolean;
}

/** Throws SnoopyError `netlink_failed`, and with `write` as `createConfig` does. */
export function runInit({ config, write }: InitOptions, { users }: Pick<Environment, 'users'>): InitReport {
  const { bridges, text } = proposeConfig();
  if (write) createConfig(config, text, users);
  return { version: 1, ok: true, file: config, written: write, bridges, configuration: text, errors: [] };
}

/** A configuration for the bridges of this node, and their names. Throws SnoopyError `netlink_failed`. */
export function proposeConfig(): { readonly text: string; readonly bridges: readonly string[] } {
  const netlink = openNetlink();
  try {
    const bridges = findHostBridges(observeLinks(netlink));
    return { text: starterConfig(bridges), bridges: bridges.map(({ bridge }) => bridge.name) };
  } finally {
    netlink.close();
  }
}
