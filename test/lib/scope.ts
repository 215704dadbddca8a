// What a test has made and must undo, even when the test fails, is interrupted or crashes.

type Undo = () => void;

const open: Set<Scope> = new Set();

/** A stack of undo functions. Any that are left when the process exits run then. */
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

  /** Undoes everything, the last first. A failure does not stop the others. */
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
    // Later signals find this process exiting already, and change nothing.
    process.on(signal, () => {
      console.error('interrupted, cleaning up');
      process.exit(code);
    });
  }
}
