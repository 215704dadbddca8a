// Shell globs over interface names: `*`, `?`, `[a-z]`, `[!a-z]`, and `\` before a literal character.

/** One element of a pattern: any run of characters, or one character of a set. */
type Token = { readonly kind: 'run' } | { readonly kind: 'one'; readonly accepts: (char: string) => boolean };

/** True when one of `include` matches the name and none of `exclude` does. */
export function matchesPort(
  name: string,
  ports: { readonly include: readonly string[]; readonly exclude: readonly string[] },
): boolean {
  const matches = (glob: string): boolean => matchesGlob(name, glob);
  return ports.include.some(matches) && !ports.exclude.some(matches);
}

/** True when the glob matches the whole name; an invalid glob matches nothing. */
export function matchesGlob(name: string, glob: string): boolean {
  const tokens = parseGlob(glob);
  if (typeof tokens === 'string') return false;
  // A later run can match whatever an earlier one could, so only the last one is retried: the work is
  // bounded by the product of both lengths.
  let at = 0;
  let token = 0;
  let runToken = -1;
  let runStart = 0;
  while (at < name.length) {
    const current = tokens[token];
    if (current?.kind === 'run') {
      runToken = token++;
      runStart = at;
    } else if (current?.accepts(name.charAt(at))) {
      token++;
      at++;
    } else if (runToken >= 0) {
      token = runToken + 1;
      at = ++runStart;
    } else {
      return false;
    }
  }
  return tokens.slice(token).every(({ kind }) => kind === 'run');
}

/** True for a name that may match others. One with a backslash alone is the name of an interface. */
export function isGlob(name: string): boolean {
  return /[*?[]/.test(name);
}

/** The glob that matches only this name. */
export function escapeGlob(name: string): string {
  return name.replaceAll(/[*?[\\]/g, '\\$&');
}

/** The mistake in a glob, in a few words; undefined when it is valid. */
export function globProblem(glob: string): string | undefined {
  const tokens = parseGlob(glob);
  return typeof tokens === 'string' ? tokens : undefined;
}

/** The elements of a glob, or its mistake in words. */
function parseGlob(glob: string): readonly Token[] | string {
  if (glob === '') return 'it is empty';
  const tokens: Token[] = [];
  let at = 0;
  while (at < glob.length) {
    const char = glob.charAt(at);
    if (char === '*') {
      if (tokens.at(-1)?.kind !== 'run') tokens.push({ kind: 'run' });
      at++;
    } else if (char === '?') {
      tokens.push({ kind: 'one', accepts: () => true });
      at++;
    } else if (char === '[') {
      const set = parseSet(glob, at);
      if (typeof set === 'string') return set;
      tokens.push({ kind: 'one', accepts: set.accepts });
      at = set.end;
    } else {
      if (char === '\\' && at + 1 === glob.length) return 'it ends in a backslash';
      const literal = char === '\\' ? glob.charAt(at + 1) : char;
      tokens.push({ kind: 'one', accepts: (other) => other === literal });
      at += char === '\\' ? 2 : 1;
    }
  }
  return tokens;
}

interface CharSet {
  readonly accepts: (char: string) => boolean;
  /** Offset behind the closing bracket. */
  readonly end: number;
}

/** The set that begins with `[` at `start`. A `]` in first place is a literal. */
function parseSet(glob: string, start: number): CharSet | string {
  const negated = glob.charAt(start + 1) === '!' || glob.charAt(start + 1) === '^';
  const first = start + (negated ? 2 : 1);
  const close = glob.indexOf(']', first + 1);
  if (close < 0) return '"[" has no closing "]"';
  const ranges: (readonly [string, string])[] = [];
  for (let at = first; at < close; at++) {
    const low = glob.charAt(at);
    if (glob.charAt(at + 1) === '-' && at + 2 < close) {
      const high = glob.charAt(at + 2);
      if (high < low) return `the range "${low}-${high}" is empty`;
      ranges.push([low, high]);
      at += 2;
    } else {
      ranges.push([low, low]);
    }
  }
  const within = (char: string): boolean => ranges.some(([low, high]) => low <= char && char <= high);
  return { accepts: (char) => within(char) !== negated, end: close + 1 };
}
