// A small eBPF object for tests: a program that does nothing, one that ends the chain, and maps of the types that
// snoopy uses.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { IfIndex, IpAddress, Mac } from '../../src/base/address.ts';
import { BPF_TCX_INGRESS, hasTcx } from '../../src/ffi/link.ts';
import { loadObject } from '../../src/ffi/object.ts';
import { changeNeighbors, NTF_EXT_EXT_VALIDATED, NUD_NOARP } from '../../src/netlink/neighbor.ts';
import { openNetlink } from '../../src/netlink/socket.ts';
import { run } from '../lib/run.ts';
import type { Scope } from '../lib/scope.ts';
import { createTempDir } from '../lib/temp.ts';

const PROLOGUE = `
#define SEC(name) __attribute__((section(name), used))
#define __uint(name, value) int (*name)[value]
#define __type(name, value) typeof(value) *name
typedef unsigned char __u8;
typedef unsigned int __u32;
typedef unsigned long long __u64;
struct __sk_buff;
struct key { __u32 a; __u32 b; };
struct value { __u64 a; __u64 b; };
struct prefix { __u32 length; __u8 ip[4]; };
static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
struct { __uint(type, 1); __type(key, struct key); __type(value, struct value); __uint(max_entries, 64); } entries SEC(".maps");
struct { __uint(type, 6); __type(key, __u32); __type(value, __u64); __uint(max_entries, 4); } counters SEC(".maps");
struct { __uint(type, 11); __uint(map_flags, 1); __type(key, struct prefix); __type(value, __u32); __uint(max_entries, 64); } prefixes SEC(".maps");
struct { __uint(type, 27); __uint(max_entries, 4096); } ring SEC(".maps");
char _license[] SEC("license") = "GPL";
`;

const PROBE = `${PROLOGUE}
SEC("tc") int probe(struct __sk_buff *skb)
{
	__u32 zero = 0;
	__u64 *counter = bpf_map_lookup_elem(&counters, &zero);
	struct key key = {};
	struct prefix prefix = {};
	if (counter)
		__sync_fetch_and_add(counter, 1);
	bpf_map_lookup_elem(&entries, &key);
	bpf_map_lookup_elem(&prefixes, &prefix);
	return -1;
}
SEC("tc") int ends(struct __sk_buff *skb)
{
	return 0; /* TC_ACT_OK, TCX_PASS: no program after this one sees the frame */
}
SEC("tc") int bad(struct __sk_buff *skb)
{
	struct key key = {};
	struct value *value = bpf_map_lookup_elem(&entries, &key);
	value->a = 1; /* without a check for NULL: the verifier refuses it */
	return -1;
}
`;

/** An ifindex that no device has. */
const NO_DEVICE = (2 ** 31 - 1) as IfIndex;

/**
 * Compiles the object and returns its path; the file ends with the scope. Its programs are "probe", "ends" and "bad".
 * Where there is no compiler, SNOOPY_PROBE names the object: eBPF is the same on all architectures.
 */
export function buildProbe(scope: Scope): string {
  const built = process.env['SNOOPY_PROBE'];
  if (built !== undefined) return built;
  const dir = createTempDir(scope, 'probe');
  const source = join(dir, 'probe.bpf.c');
  const object = join(dir, 'probe.bpf.o');
  writeFileSync(source, PROBE);
  run(['clang', '-O2', '-g', '-Wall', '-target', 'bpf', '-c', source, '-o', object]);
  return object;
}

/** Descriptor of a program that ends the chain for every frame; closed with the scope. */
export function loadEnder(scope: Scope): number {
  const object = readFileSync(buildProbe(scope));
  const loaded = loadObject(object, { program: 'ends', maxEntries: new Map(), reuse: new Map() });
  scope.defer(() => loaded.close());
  return loaded.programFd;
}

/** Options of a test that needs TCX. */
export const NEEDS_TCX: { readonly skip?: string } = hasTcx(NO_DEVICE, BPF_TCX_INGRESS)
  ? {}
  : { skip: 'the kernel has no TCX (6.6)' };

/**
 * Options of a test that needs NTF_EXT_EXT_VALIDATED. A kernel with the flag looks for the missing device; another one
 * refuses the unknown bit before that.
 */
export const NEEDS_VALIDATED: { readonly skip?: string } = hasValidated()
  ? {}
  : { skip: 'the kernel has no NTF_EXT_EXT_VALIDATED (6.17)' };

function hasValidated(): boolean {
  const entry = {
    ifIndex: NO_DEVICE,
    ip: '192.0.2.1' as IpAddress,
    mac: '02:00:00:00:00:01' as Mac,
    state: NUD_NOARP,
    flags: 0,
    extFlags: NTF_EXT_EXT_VALIDATED,
    protocol: 115,
  };
  const socket = openNetlink();
  try {
    const [result] = changeNeighbors(socket, [{ kind: 'create', entry }]);
    return result?.ok === false && result.name === 'ENODEV';
  } finally {
    socket.close();
  }
}
