// The foreign function interface itself, loaded when it is first needed and not before.

import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { arch } from 'node:os';
import { causeOf, SnoopyError } from '../base/errors.ts';

export type Koffi = typeof import('koffi');

/** A shared library that koffi has opened. */
export type Library = Pick<ReturnType<Koffi['load']>, 'func'>;

/** Name of a C function, type of its result, types of its arguments. */
export type Signature = readonly [name: string, result: string, arguments_: readonly string[]];

let loaded: Koffi | undefined;

/** koffi; throws `unsupported` where its native part does not run. */
export function koffi(): Koffi {
  loaded ??= loadKoffi();
  return loaded;
}

/** True from the first use of koffi on. */
export function isLoaded(): boolean {
  return loaded !== undefined;
}

/**
 * The functions of a library. The library is opened when the first of them is used, and each is declared when it is
 * used itself: a run takes a third of them.
 */
export function bindLazily<Functions>(
  open: () => Library,
  signatures: Readonly<Record<keyof Functions, Signature>>,
): Functions {
  let library: Library | undefined;
  const functions = {};
  for (const [key, [name, result, types]] of Object.entries<Signature>(signatures)) {
    Object.defineProperty(functions, key, {
      configurable: true,
      get() {
        library ??= open();
        const value = library.func(name, result, [...types]);
        Object.defineProperty(functions, key, { value });
        return value;
      },
    });
  }
  return functions as Functions;
}

function loadKoffi(): Koffi {
  // The bundle replaces import.meta.url by __filename, which createRequire takes as well.
  const require = createRequire(import.meta.url);
  // The native part alone is all that is used of koffi. Its own search for it, which reads three modules and
  // Node's ELF header, takes eight times as long as to load it, a tenth of a run with nothing to do.
  const native = `linux_${arch()}/koffi.node`;
  const places = [`koffi/build/koffi/${native}`, `@koromix/koffi-linux-${arch()}/${native}`];
  for (const directory of require.resolve.paths('koffi') ?? []) {
    for (const place of places) {
      const path = `${directory}/${place}`;
      // By its path: a name would have Node read the package's manifest, and throw where there is none.
      if (!existsSync(path)) continue;
      try {
        return require(path) as Koffi;
      } catch {
        // For another C library.
      }
    }
  }
  try {
    return require('koffi') as Koffi;
  } catch (thrown) {
    throw new SnoopyError({
      code: 'unsupported',
      object: 'koffi',
      operation: 'load the Node package "koffi"',
      cause: causeOf(thrown),
      fix: 'install snoopy with its dependencies for this platform',
    });
  }
}
