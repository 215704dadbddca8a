// What one run may send out of all ports together. A port gets one frame for each item, and more of them at once would
// fill the queue of a tap. Pure.

/** Most items of one kind, and most frames for them, in a run. */
const ITEMS_PER_RUN = 256;
const FRAMES_PER_RUN = 4096;

/**
 * Splits items into those whose frames one run sends and those left to the next, in their order. One that needs too
 * many frames does not hold up smaller ones; the first always goes, so none waits for ever.
 */
export function splitByBudget<T>(
  items: readonly T[],
  framesOf: (item: T) => number,
): { readonly now: readonly T[]; readonly later: readonly T[] } {
  const now: T[] = [];
  const later: T[] = [];
  let frames = 0;
  for (const item of items) {
    const own = framesOf(item);
    const fits = now.length < ITEMS_PER_RUN && frames + own <= FRAMES_PER_RUN;
    if (now.length > 0 && !fits) {
      later.push(item);
    } else {
      frames += own;
      now.push(item);
    }
  }
  return { now, later };
}
