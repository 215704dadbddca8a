// The entries of the configuration: bridges that none serves, and what each glob serves.

import { findUnnamed, namesByEntry } from '../entries.ts';
import { type Check, type Findings, ok, warning } from './check.ts';
import { GLOB, UNNAMED } from './wording-entries.ts';

export function checkEntries({
  configuration,
  desired,
  observed,
}: Pick<Findings, 'configuration' | 'desired' | 'observed'>): Check[] {
  const unnamed = findUnnamed(configuration, observed.links);
  const globs = configuration.entries.filter(({ isGlob }) => isGlob);
  const namesOf = namesByEntry(
    configuration.entries,
    desired.bridges.map(({ name }) => name),
  );
  return [
    unnamed.length === 0
      ? ok('unnamed', null, UNNAMED.ok())
      : warning('unnamed', { subject: null, ...UNNAMED.some({ names: unnamed }), items: unnamed }),
    ...globs.map((entry) => {
      const names = namesOf.get(entry) ?? [];
      if (names.length > 0) return ok('glob', entry.name, GLOB.ok({ names }));
      return desired.bridges.length === 0
        ? warning('glob', { subject: entry.name, ...GLOB.nothing() })
        : ok('glob', entry.name, GLOB.idle());
    }),
  ];
}
