// The entries of the configuration: bridges that none serves, and what each glob serves.

import { findUnnamed } from '../entries.ts';
import { matchesGlob } from '../glob.ts';
import { type Check, type Findings, ok, warning } from './check.ts';
import { GLOB, UNNAMED } from './wording-entries.ts';

export function checkEntries({
  configuration,
  desired,
  observed,
}: Pick<Findings, 'configuration' | 'desired' | 'observed'>): Check[] {
  const unnamed = findUnnamed(configuration, observed.links);
  const globs = configuration.entries.filter(({ isGlob }) => isGlob);
  return [
    unnamed.length === 0
      ? ok('unnamed', null, UNNAMED.ok())
      : warning('unnamed', { subject: null, ...UNNAMED.some({ names: unnamed }), items: unnamed }),
    ...globs.map(({ name: glob }) => {
      const names = desired.bridges.map(({ name }) => name).filter((name) => matchesGlob(name, glob));
      if (names.length > 0) return ok('glob', glob, GLOB.ok({ names }));
      const servesNothing = desired.bridges.length === 0;
      return servesNothing
        ? warning('glob', { subject: glob, ...GLOB.nothing() })
        : ok('glob', glob, GLOB.idle());
    }),
  ];
}
