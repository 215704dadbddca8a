// Things by their keys.

/** The items by key, in their order. */
export function groupBy<T, K>(items: readonly T[], keyOf: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  // Of the item before: those of a group mostly follow each other.
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

/** The value of a key, made where there is none yet. */
export function ensure<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const known = map.get(key);
  if (known !== undefined) return known;
  const value = make();
  map.set(key, value);
  return value;
}
