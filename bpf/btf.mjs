// Reads the structures and the maps of an eBPF object out of its BTF (linux/Documentation/bpf/btf.rst).

/** enum btf_kind, as far as the types of C code for eBPF need it. */
const INT = 1;
const ARRAY = 3;
const STRUCT = 4;
const UNION = 5;
const ENUM = 6;
const TYPEDEF = 8;
const VOLATILE = 9;
const CONST = 10;
const RESTRICT = 11;
const FUNC_PROTO = 13;
const VAR = 14;
const DATASEC = 15;
const DECL_TAG = 17;
const ENUM64 = 19;

/** Bytes behind struct btf_type, by kind; `count` is its vlen. */
const EXTRA_BYTES = {
  [INT]: () => 4,
  [ARRAY]: () => 12,
  [STRUCT]: (count) => 12 * count,
  [UNION]: (count) => 12 * count,
  [ENUM]: (count) => 8 * count,
  [FUNC_PROTO]: (count) => 8 * count,
  [VAR]: () => 4,
  [DATASEC]: (count) => 12 * count,
  [DECL_TAG]: () => 4,
  [ENUM64]: (count) => 12 * count,
};

/** The section `name` of a 64-bit little-endian ELF file. */
function sectionOf(elf, name) {
  if (elf.toString('latin1', 0, 6) !== '\x7fELF\x02\x01') throw new Error('is no 64-bit little-endian ELF');
  const headers = Number(elf.readBigUInt64LE(40));
  const [size, count, names] = [58, 60, 62].map((at) => elf.readUInt16LE(at));
  const header = (index) => {
    const at = headers + index * size;
    const start = Number(elf.readBigUInt64LE(at + 24));
    const end = start + Number(elf.readBigUInt64LE(at + 32));
    return { name: elf.readUInt32LE(at), bytes: elf.subarray(start, end) };
  };
  const sections = Array.from({ length: count }, (_, index) => header(index));
  const found = sections.find((section) => textAt(sections[names].bytes, section.name) === name);
  if (found === undefined) throw new Error(`has no section ${name}`);
  return found.bytes;
}

function textAt(bytes, start) {
  return bytes.toString('latin1', start, bytes.indexOf(0, start));
}

/** All types by their IDs. `extra`: the bytes behind struct btf_type. */
function typesOf(btf) {
  const [headerLength, typesOffset, typesLength, stringsOffset] = [4, 8, 12, 16].map((at) =>
    btf.readUInt32LE(at),
  );
  const strings = btf.subarray(headerLength + stringsOffset);
  const bytes = btf.subarray(headerLength + typesOffset, headerLength + typesOffset + typesLength);
  const types = [{ kind: 0, name: 'void' }];
  for (let at = 0; at < bytes.length; ) {
    const info = bytes.readUInt32LE(at + 4);
    const [kind, count] = [(info >>> 24) & 31, info & 0xffff];
    const length = EXTRA_BYTES[kind]?.(count) ?? 0;
    types.push({
      kind,
      count,
      name: textAt(strings, bytes.readUInt32LE(at)),
      /** A size in bytes or the ID of another type. */
      value: bytes.readUInt32LE(at + 8),
      extra: bytes.subarray(at + 12, at + 12 + length),
      strings,
    });
    at += 12 + length;
  }
  return types;
}

/** The type behind names and qualifiers. */
function resolve(types, id) {
  const type = types[id];
  return [TYPEDEF, VOLATILE, CONST, RESTRICT].includes(type.kind) ? resolve(types, type.value) : type;
}

/** struct btf_array: u32 type, index_type, nelems. */
function arrayOf(type) {
  return { element: type.extra.readUInt32LE(0), length: type.extra.readUInt32LE(8) };
}

function sizeOf(types, id) {
  const type = resolve(types, id);
  if (type.kind !== ARRAY) return type.value;
  const { element, length } = arrayOf(type);
  return sizeOf(types, element) * length;
}

/** `u32`, `u8[6]`, or the name of a structure. */
function kindOf(types, id) {
  const type = resolve(types, id);
  switch (type.kind) {
    case INT:
      return `u${type.value * 8}`;
    case ARRAY: {
      const { element, length } = arrayOf(type);
      return `${kindOf(types, element)}[${length}]`;
    }
    case STRUCT:
      return type.name;
    default:
      throw new Error(`has a field of BTF kind ${type.kind} ("${type.name}"), which has no layout here`);
  }
}

/** struct btf_member: u32 name_off, type, and the offset in bits. */
function membersOf({ count, extra, strings }) {
  return Array.from({ length: count }, (_, i) => ({
    name: textAt(strings, extra.readUInt32LE(i * 12)),
    type: extra.readUInt32LE(i * 12 + 4),
    offset: extra.readUInt32LE(i * 12 + 8) / 8,
  }));
}

/**
 * What __uint() and __type() of bpf_helpers.h wrote into the definition of a map: a number as the length of an array
 * that a pointer points to, a type as what a pointer points to.
 */
function mapOf(types, definition) {
  const attributes = new Map(membersOf(definition).map(({ name, type }) => [name, types[type].value]));
  const number = (name) => (attributes.has(name) ? arrayOf(types[attributes.get(name)]).length : 0);
  const size = (name) => (attributes.has(name) ? sizeOf(types, attributes.get(name)) : 0);
  return {
    type: number('type'),
    keySize: size('key'),
    valueSize: size('value'),
    maxEntries: number('max_entries'),
    flags: number('map_flags'),
  };
}

/**
 * Structures whose names begin with `prefix`, and all maps, of an ELF object with BTF. Throws an Error whose message
 * completes a sentence about the object.
 */
export function readBtf(elf, prefix) {
  const types = typesOf(sectionOf(elf, '.BTF'));
  const structs = types
    .filter(({ kind, name }) => kind === STRUCT && name.startsWith(prefix))
    .map((type) => ({
      name: type.name,
      size: type.value,
      fields: membersOf(type).map(({ name, type: id, offset }) => ({
        name,
        offset,
        kind: kindOf(types, id),
      })),
    }));
  const section = types.find(({ kind, name }) => kind === DATASEC && name === '.maps');
  if (section === undefined) throw new Error('has no maps');
  // struct btf_var_secinfo: u32 type, offset, size.
  const maps = Array.from({ length: section.count }, (_, i) => {
    const variable = types[section.extra.readUInt32LE(i * 12)];
    return { name: variable.name, ...mapOf(types, resolve(types, variable.value)) };
  });
  return { structs, maps };
}
