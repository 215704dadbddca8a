// Measures the time of each phase. At any moment exactly one phase is running.

export class Stopwatch<Phase extends string> {
  readonly #now: () => number;
  readonly #spentMs: Map<Phase, number>;
  #phase: Phase;
  #sinceMs: number;

  /** `now` in milliseconds. Starts in the first of the phases. */
  constructor(phases: readonly [Phase, ...Phase[]], now: () => number) {
    this.#now = now;
    this.#spentMs = new Map(phases.map((phase) => [phase, 0]));
    this.#phase = phases[0];
    this.#sinceMs = now();
  }

  /** Ends the current phase and starts `phase`, or resumes it. */
  enter(phase: Phase): void {
    const nowMs = this.#now();
    this.#spentMs.set(this.#phase, (this.#spentMs.get(this.#phase) ?? 0) + nowMs - this.#sinceMs);
    this.#phase = phase;
    this.#sinceMs = nowMs;
  }

  /** Milliseconds spent in a phase that is not running now. */
  spentMs(phase: Phase): number {
    return this.#spentMs.get(phase) ?? 0;
  }

  /** Seconds spent in each phase until now, to the microsecond. */
  seconds(): Record<Phase, number> {
    this.enter(this.#phase);
    const entries = [...this.#spentMs].map(([phase, ms]) => [phase, Math.round(ms * 1000) / 1e6]);
    return Object.fromEntries(entries) as Record<Phase, number>;
  }
}
