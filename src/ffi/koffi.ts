// The foreign function interface itself, loaded when it is first needed and not before.

import { createRequire } from 'node:module';
import { arch } from 'node:os';
import { SnoopyError } from '../base/errors.ts';

export type Koffi = typeof import('koffi');

let loaded: Koffi | undefined;

/** koffi; throws `unsupported` where its native part does not run. */
export function koffi(): Koffi {
  loaded ??= loadKoffi();
  return loaded;
}

function loadKoffi(): Koffi {
  // The bundle replaces import.meta.url by __filename, which createRequire takes as well.
  const require = createRequire(import.meta.url);
  // The native part alone is all that is used of koffi. Its own search for it, which reads three modules and
  // Node's ELF header, takes eight times as long as to load it, a tenth of a run with nothing to do.
  const native = `linux_${arch()}/koffi.node`;
  const places = [`koffi/build/koffi/${native}`, `@koromix/koffi-linux-${arch()}/${native}`];
  for (const place of places) {
    try {
      return require(place) as Koffi;
    } catch {
      // Another C library, or another way to install it.
    }
  }
  try {
    return require('koffi') as Koffi;
  } catch (thrown) {
    const why = thrown instanceof Error ? thrown.message : String(thrown);
    throw new SnoopyError(
      'unsupported',
      'koffi',
      `Cannot load the Node package "koffi": ${why}; install snoopy with its dependencies for this platform`,
    );
  }
}
