// What a test has made and must undo: also when the test fails, is interrupted or crashes.

type Undo = () => void;

const open: Set<Scope> = new Set();

/** A stack of things to undo. Whatever is still open when the process exits is closed then. */
export class Scope {
  readonly #undos: Undo[] = [];

  constructor() {
    watchProcess();
    open.add(this);
  }

  /** Runs `undo` when the scope is closed, before everything that was deferred earlier. */
  defer(undo: Undo): void {
    this.#undos.push(undo);
  }

  /** Undoes everything, the last first. One failure does not keep the rest from being undone. */
  close(): void {
    open.delete(this);
    const failures: unknown[] = [];
    for (let undo = this.#undos.pop(); undo !== undefined; undo = this.#undos.pop()) {
      try {
        undo();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw new AggregateError(failures, `Cannot clean up: ${failures.join('; ')}`);
  }
}

let watching = false;

function watchProcess(): void {
  if (watching) return;
  watching = true;
  process.on('exit', () => {
    for (const scope of [...open].reverse()) {
      try {
        scope.close();
      } catch (error) {
        console.error(error);
        process.exitCode = 1;
      }
    }
  });
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const) {
    // What comes after the first one finds this process on its way out, and changes nothing.
    process.on(signal, () => {
      console.error('interrupted, cleaning up');
      process.exit(code);
    });
  }
}
