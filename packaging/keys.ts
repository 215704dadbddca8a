// The keys of the configuration, from the JSON Schema, for snoopy.yaml(5) and docs/configuration.md.

/** The part of JSON Schema that schema/snoopy.schema.json uses. */
export interface Schema {
  readonly $ref?: string;
  readonly $defs?: Readonly<Record<string, Schema>>;
  readonly $comment?: string;
  readonly title?: string;
  readonly description?: string;
  readonly type?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly Schema[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly default?: unknown;
  readonly examples?: readonly unknown[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly required?: readonly string[];
}

/** A key of the configuration. */
export interface Key {
  /** Such as `runtime.bpffs`, `bridges[].ports.include`. */
  readonly path: string;
  /** Its schema, with $ref resolved; the key's own properties override those of the target. */
  readonly node: Schema;
}

/** Every key, in the order of the schema; keys below `defaults` are left out, because `bridges` has them. */
export function keysOf(schema: Schema): Key[] {
  return keysBelow(schema, schema, '');
}

function keysBelow(root: Schema, node: Schema, prefix: string): Key[] {
  return Object.entries(node.properties ?? {}).flatMap(([name, raw]) => {
    const child = resolve(root, raw);
    const path = prefix === '' ? name : `${prefix}.${name}`;
    const key = { path, node: child };
    if (path === 'defaults') return [key];
    const items = child.items === undefined ? [] : keysBelow(root, resolve(root, child.items), `${path}[]`);
    return [key, ...keysBelow(root, child, path), ...items];
  });
}

function resolve(root: Schema, node: Schema): Schema {
  if (node.$ref === undefined) return node;
  let target: unknown = root;
  for (const step of node.$ref.replace(/^#\//, '').split('/')) {
    target =
      typeof target === 'object' && target !== null
        ? Object.entries(target).find(([key]) => key === step)?.[1]
        : undefined;
  }
  if (typeof target !== 'object' || target === null) throw new Error(`The schema has no ${node.$ref}`);
  return { ...resolve(root, target as Schema), ...node };
}

/** The values that a key takes; undefined if its description has them. */
export function allowedText({
  enum: values,
  const: only,
  $comment,
  type,
  minimum,
  maximum,
}: Schema): string | undefined {
  if (only !== undefined) return JSON.stringify(only);
  if (values !== undefined) return values.map((value) => String(value)).join(', ');
  if ($comment !== undefined) return $comment;
  if (minimum !== undefined && maximum !== undefined) return `${type} from ${minimum} to ${maximum}`;
  return type === 'boolean' ? 'true, false' : undefined;
}

/** True for a key that only groups others and has no default of its own. */
export function isGroup({ properties, items }: Schema): boolean {
  return properties !== undefined || items?.properties !== undefined;
}

/** The first example that differs from the default. */
export function exampleOf(node: Schema): unknown {
  return node.examples?.find((value) => JSON.stringify(value) !== JSON.stringify(node.default));
}
