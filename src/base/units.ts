// Durations and sizes as people write them, and back.

const MS_PER_UNIT = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const BYTES_PER_UNIT = { B: 1, KiB: 1_024, MiB: 1_048_576, GiB: 1_073_741_824 } as const;

/** A duration such as `500ms`, `90s`, `20m`, `2h` or `7d` in ms; undefined when the text is not a duration. */
export function parseDuration(text: string): number | undefined {
  const match = /^(\d{1,9})(ms|s|m|h|d)$/.exec(text);
  if (match === null) return undefined;
  return Number(match[1]) * unitOf(MS_PER_UNIT, match[2]);
}

/** The shortest spelling that `parseDuration` reads back to the same number; `never` for null. */
export function formatDuration(ms: number | null): string {
  return ms === null ? 'never' : formatUnits(ms, MS_PER_UNIT, 's');
}

/** A size such as `4096B`, `512KiB`, `1MiB` or `1GiB` in bytes; undefined when the text is not a size. */
export function parseSize(text: string): number | undefined {
  const match = /^(\d{1,9})(B|KiB|MiB|GiB)$/.exec(text);
  if (match === null) return undefined;
  return Number(match[1]) * unitOf(BYTES_PER_UNIT, match[2]);
}

/** The shortest spelling that `parseSize` reads back to the same number. */
export function formatSize(bytes: number): string {
  return formatUnits(bytes, BYTES_PER_UNIT, 'B');
}

function unitOf(units: Readonly<Record<string, number>>, unit: string | undefined): number {
  return units[unit ?? ''] ?? 1;
}

/** `value` in the largest unit that leaves no remainder. */
function formatUnits(value: number, units: Readonly<Record<string, number>>, zeroUnit: string): string {
  if (value === 0) return `0${zeroUnit}`;
  let text = '';
  for (const [unit, factor] of Object.entries(units)) {
    if (value % factor === 0) text = `${value / factor}${unit}`;
  }
  return text;
}

/** Seconds in the one unit that fits best: `45s`, `12m`, `3h`, `2d`; `-` for null. */
export function formatAge(seconds: number | null): string {
  if (seconds === null) return '-';
  const whole = Math.floor(seconds);
  if (whole < 120) return `${whole}s`;
  if (whole < 7_200) return `${Math.floor(whole / 60)}m`;
  if (whole < 172_800) return `${Math.floor(whole / 3_600)}h`;
  return `${Math.floor(whole / 86_400)}d`;
}
