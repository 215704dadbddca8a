/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Programs that the tests compare with: one does nothing, one records how a frame lies in memory. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct seen {
	__u32 length;
	__u32 linear; /* 1: all of it is linear */
	__u32 vlan_present;
	__u32 vlan_tci;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct seen);
} probe_seen SEC(".maps");

SEC("tc")
int probe_empty(struct __sk_buff *skb)
{
	(void)skb;
	return TC_ACT_UNSPEC;
}

SEC("tc")
int probe(struct __sk_buff *skb)
{
	__u32 key = 0;
	struct seen *seen = bpf_map_lookup_elem(&probe_seen, &key);

	if (!seen)
		return TC_ACT_UNSPEC;
	seen->length = skb->len;
	seen->vlan_present = skb->vlan_present;
	seen->vlan_tci = skb->vlan_tci;
	seen->linear = (void *)(long)skb->data + (skb->len & 0x3fff) <= (void *)(long)skb->data_end;
	return TC_ACT_UNSPEC;
}
