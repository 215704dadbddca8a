/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Programs that the data path is compared with. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct record {
	__u8 ip[4];
	__u8 mac[ETH_ALEN];
	__u8 pad[2];
	__u32 ifindex;
	__u8 more[32];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 24);
} peer_ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} peer_next SEC(".maps");

/* The limit: nothing is faster than doing nothing. */
SEC("tc")
int peer_empty(struct __sk_buff *skb)
{
	(void)skb;
	return TC_ACT_UNSPEC;
}

/* neighsnoopd's way: it reserves a ring record for each frame before it looks at the frame. */
SEC("tc")
int peer_reserve(struct __sk_buff *skb)
{
	struct record *record = bpf_ringbuf_reserve(&peer_ring, sizeof(*record), 0);
	void *data = (void *)(long)skb->data;

	if (!record)
		return TC_ACT_UNSPEC;
	if (skb->protocol != bpf_htons(ETH_P_ARP) || data + 42 > (void *)(long)skb->data_end) {
		bpf_ringbuf_discard(record, BPF_RB_NO_WAKEUP);
		return TC_ACT_UNSPEC;
	}
	__builtin_memset(record, 0, sizeof(*record));
	__builtin_memcpy(record->mac, data + 22, sizeof(record->mac));
	__builtin_memcpy(record->ip, data + 28, sizeof(record->ip));
	record->ifindex = skb->ifindex;
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return TC_ACT_UNSPEC;
}

/* A frame as a port receives it, with its tag taken out by the kernel, for the program in the map. */
SEC("tc")
int peer_tagged(struct __sk_buff *skb)
{
	if (!skb->vlan_present)
		bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), 20);
	bpf_tail_call(skb, &peer_next, 0);
	return TC_ACT_UNSPEC;
}
