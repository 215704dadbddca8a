// Repeatable random choices: the same seed gives the same numbers.

/** A sequence of pseudo-random numbers (mulberry32). */
export class Random {
  readonly seed: number;
  #state: number;

  constructor(seed: number) {
    this.seed = seed >>> 0;
    this.#state = this.seed;
  }

  /** At least 0 and less than 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number, at least 0 and less than `limit`. */
  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  /** A whole number of the range, both ends included. */
  between(least: number, most: number): number {
    return least + this.below(most - least + 1);
  }

  /** True with this probability. */
  chance(probability: number): boolean {
    return this.next() < probability;
  }

  /** One element of a list; undefined for an empty one. */
  pick<T>(list: readonly T[]): T | undefined {
    return list[this.below(list.length)];
  }

  /** A list in another order. */
  shuffle<T>(list: readonly T[]): T[] {
    const left = [...list];
    const shuffled: T[] = [];
    while (left.length > 0) shuffled.push(...left.splice(this.below(left.length), 1));
    return shuffled;
  }
}

/** Items that are drawn in random order, each once before any is drawn again: a short time shows all of them. */
export class Bag<T> {
  readonly #random: Random;
  readonly #things: readonly T[];
  #left: T[] = [];

  constructor(random: Random, things: readonly T[]) {
    if (things.length === 0) throw new RangeError('an empty bag');
    this.#random = random;
    this.#things = things;
  }

  draw(): T {
    if (this.#left.length === 0) this.#left = this.#random.shuffle(this.#things);
    const drawn = this.#left.pop();
    return drawn ?? this.draw();
  }
}
