// Validates every report that a test sees by the published schema.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import type { Result } from './run.ts';

const SCHEMA = new URL('../../../schema/report.schema.json', import.meta.url);

interface Schema {
  readonly $defs: Readonly<Record<string, object>>;
}

let known: { readonly schema: Schema; readonly ajv: Ajv2020 } | undefined;

function load(): NonNullable<typeof known> {
  const schema = JSON.parse(readFileSync(SCHEMA, 'utf8')) as Schema;
  // Compiled once in every process of the tests, so quickly: test/unit checks the schema itself.
  const quickly = { inlineRefs: false, validateSchema: false, code: { optimize: false } };
  const ajv = new Ajv2020({ strict: true, strictRequired: false, allErrors: true, ...quickly });
  ajv.addSchema(schema, 'report');
  return { schema, ajv };
}

/** Asserts that a command with JSON output printed nothing, or a report that the schema accepts. */
export function assertReport({ argv, stdout }: Pick<Result, 'argv' | 'stdout'>): void {
  const words = argv.flatMap((word) => word.split('='));
  if (words[words.indexOf('--format') + 1] !== 'json' || stdout === '') return;
  known ??= load();
  const { schema, ajv } = known;
  const report = JSON.parse(stdout) as object;
  const isFailure = Object.keys(report).sort().join() === 'errors,ok,version';
  const definition = isFailure ? 'failure' : words.find((word) => word in schema.$defs);
  const validate = ajv.getSchema(`report#/$defs/${definition}`);
  assert.ok(validate, `report.schema.json does not describe the output of \`${argv.join(' ')}\``);
  assert.ok(validate(report), `\`${argv.join(' ')}\` printed: ${ajv.errorsText(validate.errors)}`);
}
