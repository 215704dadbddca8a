// The foreign function interface itself, loaded when it is first needed and not before.

import { createRequire } from 'node:module';
import { SnoopyError } from '../base/errors.ts';

export type Koffi = typeof import('koffi');

let loaded: Koffi | undefined;

/** koffi; throws `unsupported` where its native part does not run. */
export function koffi(): Koffi {
  if (loaded === undefined) {
    try {
      // The bundle replaces import.meta.url by __filename, which createRequire takes as well.
      loaded = createRequire(import.meta.url)('koffi') as Koffi;
    } catch (thrown) {
      const why = thrown instanceof Error ? thrown.message : String(thrown);
      throw new SnoopyError(
        'unsupported',
        'koffi',
        `Cannot load the Node package "koffi": ${why}; install snoopy with its dependencies for this platform`,
      );
    }
  }
  return loaded;
}
