// Lists, and maps of lists.

/** The items of each key, in their order. */
export function groupBy<T, K>(items: readonly T[], keyOf: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  // The group of the previous item: items of one group are mostly adjacent.
  let last: { readonly key: K; readonly group: T[] } | undefined;
  for (const item of items) {
    const key = keyOf(item);
    if (last === undefined || last.key !== key) {
      last = { key, group: ensure(groups, key, (): T[] => []) };
    }
    last.group.push(item);
  }
  return groups;
}

/** The value of a key; it is created when there is none yet. */
export function ensure<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const known = map.get(key);
  if (known !== undefined) return known;
  const value = make();
  map.set(key, value);
  return value;
}

/** Each item once, in their order, the last of those with the same ID, which is by default their JSON. */
export function distinct<T>(
  items: readonly T[],
  idOf: (item: T) => string = (item) => JSON.stringify(item),
): T[] {
  return [...new Map(items.map((item) => [idOf(item), item])).values()];
}

/** Those that belong, and the rest. */
export function split<T>(items: readonly T[], belongs: (item: T) => boolean): [T[], T[]] {
  const yes: T[] = [];
  const no: T[] = [];
  for (const item of items) (belongs(item) ? yes : no).push(item);
  return [yes, no];
}
