// A textfile as its readers see it: series and values.
import { readFileSync } from 'node:fs';

/** Values by series, such as `snoopy_ports{bridge="br0"}`. */
export function readSeries(text: string): Map<string, number> {
  const series = new Map<string, number>();
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('#')) continue;
    const at = line.lastIndexOf(' ');
    series.set(line.slice(0, at), Number(line.slice(at + 1)));
  }
  return series;
}

export function readTextfile(path: string): Map<string, number> {
  return readSeries(readFileSync(path, 'utf8'));
}

/** Names of metrics with their types. */
export function readTypes(text: string): Map<string, string> {
  const types = text.matchAll(/^# TYPE (\S+) (\S+)$/gm);
  return new Map([...types].map(([, name = '', type = '']) => [name, type]));
}
