// `npm run docs`: writes the generated part of docs/configuration.md.

import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Schema } from './keys.ts';
import { withReference } from './reference.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const DOCUMENT = `${ROOT}docs/configuration.md`;

const schema = JSON.parse(readFileSync(`${ROOT}schema/snoopy.schema.json`, 'utf8')) as Schema;
writeFileSync(DOCUMENT, withReference(readFileSync(DOCUMENT, 'utf8'), schema));
