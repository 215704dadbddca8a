// koffi, the foreign function interface, loaded at its first use.

import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { arch } from 'node:os';
import { causeOf, SnoopyError } from '../base/errors.ts';

export type Koffi = typeof import('koffi');

/** A shared library that koffi has opened. */
export type Library = Pick<ReturnType<Koffi['load']>, 'func'>;

/** Name of a C function, its result type, and its argument types. */
export type Signature = readonly [name: string, result: string, arguments_: readonly string[]];

let loaded: Koffi | undefined;

/** koffi; throws `unsupported` when its native part does not run here. */
export function koffi(): Koffi {
  loaded ??= loadKoffi();
  return loaded;
}

/** True from the first use of koffi on. */
export function isLoaded(): boolean {
  return loaded !== undefined;
}

/**
 * The functions of a library. The library is opened at the first use of any of them, and each function is declared at
 * its own first use: a run uses a third of them.
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
  // Only the native part of koffi is used. koffi's own search for it reads three modules and Node's ELF header. That
  // takes eight times as long as loading it, and a tenth of a run with nothing to do.
  const native = `linux_${arch()}/koffi.node`;
  const places = [`koffi/build/koffi/${native}`, `@koromix/koffi-linux-${arch()}/${native}`];
  for (const directory of require.resolve.paths('koffi') ?? []) {
    for (const place of places) {
      const path = `${directory}/${place}`;
      // By path: for a name, Node would read the package's manifest, and throw when there is none.
      if (!existsSync(path)) continue;
      try {
        return require(path) as Koffi;
      } catch {
        // Built for another C library.
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
