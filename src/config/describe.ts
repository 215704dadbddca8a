// What the schema allows at a place, in words: the second half of every message.

import { SCHEMA_TEXT } from '../generated/schema.ts';
import type { Path } from './problem.ts';

/** The part of JSON Schema that snoopy's own schema uses. */
export interface SchemaNode {
  readonly $ref?: string;
  readonly $comment?: string;
  readonly title?: string;
  readonly type?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly SchemaNode[];
  readonly items?: SchemaNode;
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minItems?: number;
}

/** The schema of the configuration. */
export function configSchema(): SchemaNode {
  return JSON.parse(SCHEMA_TEXT);
}

/** The schema, with its reference resolved. */
export function resolveRef(root: SchemaNode, node: SchemaNode): SchemaNode {
  if (node.$ref === undefined) return node;
  let target: unknown = root;
  for (const part of node.$ref.split('/').slice(1)) {
    target =
      typeof target === 'object' && target !== null ? new Map(Object.entries(target)).get(part) : undefined;
  }
  return typeof target === 'object' && target !== null ? resolveRef(root, target) : {};
}

/** The schema of the value at a path; an empty one when the schema does not cover it. */
export function schemaAt(root: SchemaNode, path: Path): SchemaNode {
  let node = root;
  for (const part of path) node = step(root, node, part) ?? {};
  return resolveRef(root, node);
}

function step(root: SchemaNode, from: SchemaNode, part: string | number): SchemaNode | undefined {
  const node = resolveRef(root, from);
  if (node.anyOf !== undefined) {
    const branches = node.anyOf.map((branch) => step(root, branch, part));
    return branches.find((branch) => branch !== undefined);
  }
  if (typeof part === 'number') return node.items;
  return node.properties !== undefined && Object.hasOwn(node.properties, part)
    ? node.properties[part]
    : undefined;
}

/** What a schema allows, in words: `an integer from 0 to 4094`, `noarp, stale or reachable`. */
export function describe(root: SchemaNode, from: SchemaNode): string {
  const node = resolveRef(root, from);
  if (node.$comment !== undefined) return node.$comment;
  if (node.anyOf !== undefined) return node.anyOf.map((branch) => describe(root, branch)).join(', or ');
  if (node.const !== undefined) return String(node.const);
  if (node.enum !== undefined) return list(node.enum.map(String));
  switch (node.type) {
    case 'boolean':
      return 'true or false';
    case 'null':
      return 'null';
    case 'integer':
      return `an integer from ${node.minimum} to ${node.maximum}`;
    case 'array':
      return `a ${node.minItems === undefined ? '' : 'non-empty '}list of ${describeItems(root, node)}`;
    case 'object': {
      const keys = Object.keys(node.properties ?? {});
      return `a mapping with the ${keys.length === 1 ? 'key' : 'keys'} ${list(keys, 'and')}`;
    }
    default:
      return node.title ?? 'another value';
  }
}

function describeItems(root: SchemaNode, node: SchemaNode): string {
  const items = resolveRef(root, node.items ?? {});
  if (items.enum !== undefined) return list(items.enum.map(String));
  return `${items.title}s`.replace(/ys$/, 'ies').replace(/xs$/, 'xes');
}

/** `a, b or c` */
export function list(words: readonly string[], last: 'or' | 'and' = 'or'): string {
  if (words.length < 2) return words.join('');
  return `${words.slice(0, -1).join(', ')} ${last} ${words.at(-1)}`;
}
