// What a configuration resolves to -> a configuration that says everything, as YAML.

import { writtenOut } from '../config/desired.ts';
import type { Desired } from '../core/desired.ts';
import { count, joinLines, paint, printable, type RenderOptions } from './style.ts';

/** What each bridge resolves to; the text is itself a configuration, and resolves to the same. */
export function renderValidate(
  file: string,
  desired: Desired,
  options: Pick<RenderOptions, 'color'>,
): string {
  const head = `# ${printable(file)}: valid, ${count(desired.bridges.length, 'bridge')}`;
  return joinLines([paint(head, 'good', options.color), ...block(writtenOut(desired), '')]);
}

/** The same as a JSON value. */
export function validateReport(file: string, desired: Desired): object {
  const { version, ...rest } = writtenOut(desired);
  return { version, ok: true, file, ...rest, errors: [] };
}

/** A mapping in block style: what fits one line stands in flow style. */
function block(mapping: object, indent: string): string[] {
  return Object.entries(mapping).flatMap(([key, value]): string[] => {
    const flat = `${indent}${key}: ${flow(value)}`;
    if (isFlat(value) || flat.length <= 80 - indent.length) return [flat];
    if (!Array.isArray(value)) return [`${indent}${key}:`, ...block(value, `${indent}  `)];
    return [`${indent}${key}:`, ...value.flatMap((item: unknown) => listItem(item, indent))];
  });
}

function listItem(item: unknown, indent: string): string[] {
  const flat = `${indent}  - ${flow(item)}`;
  if (typeof item !== 'object' || item === null || flat.length <= 80) return [flat];
  return block(item, `${indent}    `).map((line, at) =>
    at === 0 ? `${indent}  - ${line.trimStart()}` : line,
  );
}

function isFlat(value: unknown): boolean {
  if (Array.isArray(value)) return value.every((item) => typeof item !== 'object');
  return typeof value !== 'object' || value === null;
}

function flow(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(flow).join(', ')}]`;
  if (typeof value === 'object' && value !== null) {
    const pairs = Object.entries(value).map(([key, item]) => `${key}: ${flow(item)}`);
    return `{${pairs.join(', ')}}`;
  }
  return typeof value === 'string' ? scalar(value) : String(value);
}

/** A text without quotes where YAML reads it as a text anyway; JSON's quotes are YAML's too. */
function scalar(text: string): string {
  const isWord = /^[A-Za-z0-9/][A-Za-z0-9._/-]*$/.test(text);
  const isOther = !Number.isNaN(Number(text)) || /^(true|false|null)$/i.test(text);
  return isWord && !isOther ? text : JSON.stringify(text);
}
