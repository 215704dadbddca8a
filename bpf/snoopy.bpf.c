/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Watches the ARP and Neighbor Discovery messages of the hosts behind a bridge port, and keeps a map of the
 * MAC and port of each address (see snoopy.h). For tc ingress of local ports, clsact or tcx.
 *
 * A frame goes through these steps; nearly all leave at the first, which calls no helper and reads no map:
 *
 *   is_data()                neither ARP nor IPv6 that may be Neighbor Discovery
 *   find_message()           VLAN tags; of IPv6, only solicitations and advertisements
 *   check_arp(), check_nd()  is the message valid, and is it about its own sender
 *   learn()                  its binding: refreshed, created, moved or frozen
 *   hint()                   or what it shows without being learned from, for user space to probe
 *   note()                   or the reason why not, for explain
 *
 * No byte of a frame is ever written, and TC_ACT_UNSPEC leaves the decision on it to the next program.
 */
#include <linux/bpf.h>
#include <linux/icmpv6.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "snoopy.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* The kernel's UAPI leaves these to headers of the C library. */
#define AF_INET  2
#define AF_INET6 10
#define EEXIST   17

/* RFC 826, for the only protocol and hardware learned from: IPv4 on Ethernet. */
#define ARP_HTYPE_ETHERNET 1
#define ARP_OP_REQUEST     1
#define ARP_OP_REPLY       2

/* RFC 4861, 4.3 and 4.4 */
#define ND_SOLICITATION      135
#define ND_ADVERTISEMENT     136
#define ND_OPTION_SOURCE_MAC 1
#define ND_OPTION_TARGET_MAC 2
#define ND_UNIT              8 /* options are counted in units of eight octets */
#define ND_HOP_LIMIT         255

/*
 * A message of Neighbor Discovery is never fragmented (RFC 6980), so one that can pass every link fits the
 * smallest MTU of IPv6. That leaves room for everything that SEND adds (RFC 3971: five options, 700 octets
 * with a 2048-bit key), and bounds the work on one frame.
 */
#define ND_MAX_LENGTH  (1280 - sizeof(struct ipv6hdr))
#define ND_MAX_OPTIONS 8

#define VLAN_VID_MASK 0x0fff
#define MAX_TAGS      2 /* inside a frame; the kernel may keep one more beside it */

/* The end of the headers in a frame at most, and the end of the longest message that is learned from. */
#define HEADERS_END (ETH_HLEN + MAX_TAGS * sizeof(struct vlan_tag) + sizeof(struct ipv6hdr) + 8 + 1)
#define MESSAGE_END (ETH_HLEN + MAX_TAGS * sizeof(struct vlan_tag) + sizeof(struct ipv6hdr) + ND_MAX_LENGTH)

/*
 * A host that sends often does not get its time written each time, so a cache line that many CPUs read stays
 * clean. Ages are counted in minutes, so a tenth of a second is exact enough.
 */
#define QUIET_NS (100 * 1000 * 1000)

/*
 * A record in the ring wakes a run that listens, so hints make few: one for a new hint and for one that comes
 * again after a pause, and for each port no more than a rate. A run reads the hints themselves from the map.
 */
#define HINT_PAUSE_NS    (5ULL * 1000 * 1000 * 1000)
#define HINT_INTERVAL_NS (100 * 1000 * 1000)
#define HINT_BURST       16

/*
 * Each change of a flag makes user space rewrite a neighbor, so a host that alternates its flag is accepted
 * once a second. In units of snoopy_binding.flags_changed.
 */
#define FLAGS_SHIFT 20
#define FLAGS_PAUSE 1000

struct {
	__uint(type, BPF_MAP_TYPE_HASH); /* preallocated: a new host must not depend on atomic memory */
	__uint(max_entries, 65536);      /* user space sets it before the load */
	__type(key, struct snoopy_binding_key);
	__type(value, struct snoopy_binding);
} snoopy_bindings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct snoopy_port);
} snoopy_ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct snoopy_port_state);
} snoopy_state SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 17); /* only a limit: a trie takes memory for its entries */
	__type(key, struct snoopy_prefix_key);
	__type(value, __u8);
} snoopy_prefixes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384); /* user space sets it before the load */
	__type(key, struct snoopy_static_key);
	__type(value, __u8);
} snoopy_statics SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SNOOPY_COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} snoopy_counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20); /* user space sets it before the load */
} snoopy_changes SEC(".maps");

/*
 * A ring buffer has no type in BTF, which only includes types that something uses: bpf/layouts.mjs reads
 * them here. libbpf ignores a section with this name.
 */
const struct snoopy_change *snoopy_change_type SEC("types");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 20); /* only a limit: each port has its own slots */
	__type(key, struct snoopy_seen_hint_key);
	__type(value, struct snoopy_seen_hint);
} snoopy_seen SEC(".maps");

/* The program reads neither this map nor the next: they are pinned with the others for user space. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 18); /* a fabric's hosts, not this node's: independent of max_bindings */
	__type(key, struct snoopy_hint_key);
	__type(value, struct snoopy_hint);
} snoopy_hints SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536); /* user space sets it before the load */
	__type(key, struct snoopy_binding_key);
	__type(value, struct snoopy_probe);
} snoopy_probes SEC(".maps");

/*
 * An LRU map forgets the entries that were unused for longest. The kernel hands out free entries to each CPU
 * by the hundred and forgets as many at a time, hence more entries than are ever read.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct snoopy_binding_key);
	__type(value, struct snoopy_rejection);
} snoopy_rejected SEC(".maps");

/* Identifies the pins for a later run. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct snoopy_layout);
} snoopy_layout SEC(".maps");

/* The rest of the linear part of a frame. */
struct cursor {
	void *next;
	void *end;
};

/* A frame that carries a message of interest. */
struct frame {
	__u32 offset;    /* of the network header */
	__be16 protocol; /* EtherType of the network header */
	__u16 vid;       /* of the only tag; 0: untagged, or a priority tag */
	__u8 tags;
	bool foreign_tag; /* one that is not 802.1Q */
	bool fragment;
	__u8 type; /* of ICMPv6 */
};

struct vlan_tag {
	__be16 tci;
	__be16 protocol; /* of the part behind the tag */
};

/* RFC 826, for IPv4 on Ethernet */
struct arp {
	__be16 htype;
	__be16 ptype;
	__u8 hlen;
	__u8 plen;
	__be16 op;
	__u8 sender_mac[ETH_ALEN];
	__u8 sender_ip[4];
	__u8 target_mac[ETH_ALEN];
	__u8 target_ip[4];
};

/* A Neighbor Solicitation or Advertisement without its options */
struct nd_message {
	struct icmp6hdr icmp;
	struct in6_addr target;
};

struct ipv6_fragment {
	__u8 nexthdr;
	__u8 reserved;
	__be16 offset;
	__be32 id;
};

struct nd_option {
	__u8 type;
	__u8 units;
	__u8 mac[ETH_ALEN];
};

/*
 * The claim of a message: this address has this MAC. It is valid when it passes every check. A weak one is
 * not learned from: it can refresh the binding that its host already has, and hint that the host has the
 * address.
 */
struct sighting {
	struct snoopy_binding_key key; /* family 0: the address is not known */
	__u8 mac[ETH_ALEN];
	__u8 weak; /* the counter of a weak one that neither refreshes nor hints; 0: it is learned from */
	__u8 hint; /* SNOOPY_HINT_* of a weak one; 0: it cannot hint */
	bool unlearned; /* the port does not learn from this kind of message */
	bool unnamed;   /* it has no link-layer address: the Ethernet source stands for it */
	bool asks;      /* a request or solicitation for another address */
	bool advertisement;
	bool router; /* the R flag of an advertisement */
	bool link_local;
};

/* Where an address may be used. */
enum scope { SCOPE_NO_HOST, SCOPE_LINK, SCOPE_WIDE };

/* Whether an address is provisioned, from the view of the MAC that claims it. */
enum provision { NOT_PROVISIONED, PROVISIONED_FOR_IT, PROVISIONED_FOR_OTHERS };

static __always_inline void count(__u32 counter)
{
	__u64 *value = bpf_map_lookup_elem(&snoopy_counters, &counter);

	if (value)
		*value += 1;
}

/*
 * Makes the first `size` bytes of a frame linear, or all of it. Nearly always they are already. Where a
 * driver has left a frame in pages, the kernel would do the same a moment later. Pointers into the frame are
 * invalid afterwards.
 */
static __always_inline void gather(struct __sk_buff *skb, __u32 size)
{
	if (size > skb->len)
		size = skb->len;
	if ((void *)(long)skb->data + size > (void *)(long)skb->data_end)
		bpf_skb_pull_data(skb, size);
}

static __always_inline struct cursor cursor_at(struct __sk_buff *skb, __u32 offset)
{
	struct cursor cursor = {
		.next = (void *)(long)skb->data + offset,
		.end = (void *)(long)skb->data_end,
	};

	return cursor;
}

/*
 * Steps over the next `size` bytes, which may be read from then on; false: the frame ends before.
 */
static __always_inline bool step(struct cursor *cursor, __u32 size)
{
	void *next = cursor->next + size;
	void *end = cursor->end;

	barrier_var(end); /* or a loop becomes arithmetic on the end, which the verifier forbids */
	if (next > end)
		return false;
	cursor->next = next;
	return true;
}

static __always_inline bool same_mac(const __u8 *a, const __u8 *b)
{
	__u8 difference = 0;

	for (int i = 0; i < ETH_ALEN; i++)
		difference |= a[i] ^ b[i];
	return !difference;
}

/* True for a MAC that a single host can have: not zero, no group bit (IEEE 802, I/G). */
static __always_inline bool is_host_mac(const __u8 *mac)
{
	__u8 any = 0;

	for (int i = 0; i < ETH_ALEN; i++)
		any |= mac[i];
	return any && !(mac[0] & 1);
}

/*
 * How well a MAC suits an address of `family`: 2 for the virtual router MAC of that family (RFC 9568, 7.3:
 * 00-00-5E-00-01 for IPv4, 00-00-5E-00-02 for IPv6, then the VRID), 1 for that of the other (CARP has one
 * MAC for both), 0 for a physical one.
 */
static __always_inline int virtual_rank(const __u8 *mac, __u16 family)
{
	if (mac[0] | mac[1] | mac[3] || mac[2] != 0x5e || (mac[4] != 1 && mac[4] != 2))
		return 0;
	return (mac[4] == 1) == (family == AF_INET) ? 2 : 1;
}

/*
 * At one port, a virtual router and another MAC that use one address are one host. keepalived with use_vmac
 * answers for the address with its virtual MAC, and resolves each new client with the physical one; if it has
 * a virtual router for each family, the interface of the IPv6 one answers ARP requests as well.
 */
static __always_inline bool outranks(const __u8 *mac, const __u8 *other, __u16 family)
{
	return virtual_rank(mac, family) > virtual_rank(other, family);
}

static __always_inline bool is_vlan(__be16 protocol)
{
	return protocol == bpf_htons(ETH_P_8021Q) || protocol == bpf_htons(ETH_P_8021AD);
}

/* Nearly every frame leaves here. IPv6 is inspected only where its header is linear. */
static __always_inline bool is_data(struct __sk_buff *skb)
{
	struct cursor cursor = cursor_at(skb, ETH_HLEN);
	const struct ipv6hdr *ip = cursor.next;

	if (skb->protocol == bpf_htons(ETH_P_ARP) || is_vlan(skb->protocol))
		return false;
	if (skb->protocol != bpf_htons(ETH_P_IPV6))
		return true;
	if (!step(&cursor, sizeof(*ip)))
		return false;
	return ip->nexthdr != IPPROTO_ICMPV6 && ip->nexthdr != IPPROTO_FRAGMENT;
}

static __always_inline void add_tag(struct frame *frame, __be16 protocol, __u16 tci)
{
	frame->tags++;
	frame->vid = tci & VLAN_VID_MASK;
	if (protocol != bpf_htons(ETH_P_8021Q))
		frame->foreign_tag = true;
}

/*
 * True for solicitations and advertisements directly behind the IPv6 header, or behind a fragment header.
 * Hosts use no other extension header before Neighbor Discovery, and a message behind one is not learned
 * from. Only the first piece of a fragmented message shows its type.
 */
static __always_inline bool find_nd(struct cursor cursor, struct frame *frame)
{
	const struct ipv6hdr *ip = cursor.next;
	const struct ipv6_fragment *fragment;
	const __u8 *type;
	__u8 nexthdr;

	if (!step(&cursor, sizeof(*ip)) || ip->version != 6)
		return false;
	nexthdr = ip->nexthdr;
	if (nexthdr == IPPROTO_FRAGMENT) {
		fragment = cursor.next;
		if (!step(&cursor, sizeof(*fragment)) || (fragment->offset & bpf_htons(0xfff8)))
			return false;
		nexthdr = fragment->nexthdr;
		frame->fragment = true;
	}
	type = cursor.next;
	if (nexthdr != IPPROTO_ICMPV6 || !step(&cursor, sizeof(*type)))
		return false;
	frame->type = *type;
	return *type == ND_ADVERTISEMENT || *type == ND_SOLICITATION;
}

/*
 * Steps over the VLAN tags. The kernel takes the outermost one out of a received frame and keeps it beside
 * it, so a tag that is still inside is a second one. A frame of BPF_PROG_TEST_RUN has all tags inside.
 */
static __always_inline bool find_message(struct __sk_buff *skb, struct frame *frame)
{
	struct cursor cursor = cursor_at(skb, ETH_HLEN);
	const struct vlan_tag *tag;

	frame->offset = ETH_HLEN;
	frame->protocol = skb->protocol;
	if (skb->vlan_present)
		add_tag(frame, skb->vlan_proto, skb->vlan_tci);
	for (int i = 0; i < MAX_TAGS; i++) {
		if (!is_vlan(frame->protocol))
			break;
		tag = cursor.next;
		if (!step(&cursor, sizeof(*tag)))
			return false;
		add_tag(frame, frame->protocol, bpf_ntohs(tag->tci));
		frame->offset += sizeof(*tag);
		frame->protocol = tag->protocol;
	}
	if (frame->protocol == bpf_htons(ETH_P_ARP))
		return true;
	return frame->protocol == bpf_htons(ETH_P_IPV6) && find_nd(cursor, frame);
}

/* 0/8 "this network", 127/8 loopback, 224/4 multicast, 240/4 reserved and broadcast (RFC 6890). */
static __always_inline enum scope scope_of_ipv4(const __u8 *ip)
{
	if (ip[0] == 0 || ip[0] == 127 || ip[0] >= 224)
		return SCOPE_NO_HOST;
	return ip[0] == 169 && ip[1] == 254 ? SCOPE_LINK : SCOPE_WIDE;
}

static __always_inline bool is_multicast(const struct in6_addr *ip)
{
	return ip->in6_u.u6_addr8[0] == 0xff;
}

static __always_inline bool is_unspecified(const struct in6_addr *ip)
{
	const __be32 *word = ip->in6_u.u6_addr32;

	return !(word[0] | word[1] | word[2] | word[3]);
}

/* ff02::1:ff00:0/104 (RFC 4291, 2.7.1) */
static __always_inline bool is_solicited_node(const struct in6_addr *ip)
{
	const __be32 *word = ip->in6_u.u6_addr32;

	return word[0] == bpf_htonl(0xff020000) && !word[1] && word[2] == bpf_htonl(1) &&
	       ip->in6_u.u6_addr8[12] == 0xff;
}

static __always_inline bool same_ipv4(const __u8 *a, const __u8 *b)
{
	__u8 difference = 0;

	for (int i = 0; i < 4; i++)
		difference |= a[i] ^ b[i];
	return !difference;
}

static __always_inline bool same_ip(const struct in6_addr *a, const struct in6_addr *b)
{
	__be32 difference = 0;

	for (int i = 0; i < 4; i++)
		difference |= a->in6_u.u6_addr32[i] ^ b->in6_u.u6_addr32[i];
	return !difference;
}

/* ff00::/8 multicast; ::, ::1 and all of ::/96; ::ffff:0:0/96 IPv4-mapped (RFC 4291, 2.5 and 2.7). */
static __always_inline enum scope scope_of_ipv6(const struct in6_addr *ip)
{
	const __be32 *word = ip->in6_u.u6_addr32;

	if (is_multicast(ip))
		return SCOPE_NO_HOST;
	if (!word[0] && !word[1] && (!word[2] || word[2] == bpf_htonl(0xffff)))
		return SCOPE_NO_HOST;
	return (word[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000) ? SCOPE_LINK : SCOPE_WIDE;
}

/* Checks that ARP and Neighbor Discovery share: the sender of the message, and the address it is about. */
static __always_inline __u32 check_sender(struct __sk_buff *skb, const struct snoopy_port *port,
					  struct sighting *seen, enum scope scope)
{
	struct cursor cursor = cursor_at(skb, 0);
	const struct ethhdr *eth = cursor.next;

	if (!step(&cursor, sizeof(*eth)))
		return SNOOPY_COUNTER_TRUNCATED;
	if (seen->unnamed)
		__builtin_memcpy(seen->mac, eth->h_source, ETH_ALEN);
	if (!is_host_mac(seen->mac))
		return SNOOPY_COUNTER_MAC;
	if (!same_mac(seen->mac, eth->h_source))
		return SNOOPY_COUNTER_SPOOFED;
	if (scope == SCOPE_NO_HOST)
		return SNOOPY_COUNTER_IP;
	seen->link_local = scope == SCOPE_LINK;
	if (seen->link_local && !(port->flags & SNOOPY_PORT_LINK_LOCAL))
		return SNOOPY_COUNTER_LINK_LOCAL;
	return SNOOPY_COUNTER_SIGHTINGS;
}

static __always_inline __u32 check_arp(struct __sk_buff *skb, const struct frame *frame,
				       const struct snoopy_port *port, struct sighting *seen)
{
	struct cursor cursor = cursor_at(skb, frame->offset);
	const struct arp *arp = cursor.next;
	const __u8 *ip;
	__u8 kind;

	if (!step(&cursor, sizeof(*arp)))
		return SNOOPY_COUNTER_TRUNCATED;
	if (arp->htype != bpf_htons(ARP_HTYPE_ETHERNET) || arp->ptype != bpf_htons(ETH_P_IP) ||
	    arp->hlen != sizeof(arp->sender_mac) || arp->plen != sizeof(arp->sender_ip))
		return SNOOPY_COUNTER_ARP_HEADER;
	if (arp->op == bpf_htons(ARP_OP_REQUEST))
		kind = SNOOPY_LEARN_ARP_REQUEST;
	else if (arp->op == bpf_htons(ARP_OP_REPLY))
		kind = SNOOPY_LEARN_ARP_REPLY;
	else
		return SNOOPY_COUNTER_ARP_HEADER;

	ip = arp->sender_ip;
	/* An ARP Probe (RFC 5227, 2.1.1): the sender checks the address before it uses it. */
	if (kind == SNOOPY_LEARN_ARP_REQUEST && !(ip[0] | ip[1] | ip[2] | ip[3])) {
		ip = arp->target_ip;
		seen->weak = SNOOPY_COUNTER_IP;
		seen->hint = SNOOPY_HINT_TENTATIVE;
	}
	seen->asks = kind == SNOOPY_LEARN_ARP_REQUEST && !same_ipv4(ip, arp->target_ip);
	seen->key.family = AF_INET;
	__builtin_memcpy(seen->key.ip, ip, sizeof(arp->sender_ip));
	__builtin_memcpy(seen->mac, arp->sender_mac, sizeof(arp->sender_mac));
	seen->unlearned = !(port->learn & kind);
	if (seen->unlearned && !seen->weak)
		return SNOOPY_COUNTER_IGNORED;
	return check_sender(skb, port, seen, scope_of_ipv4(ip));
}

/*
 * RFC 4443, 2.3: over the pseudo header of RFC 8200, 8.1, and the `length` bytes behind the IPv6 header at
 * `offset`. A global function, neither static nor inlined: the verifier checks it once by itself, instead of
 * once for every length of a message on every path that leads here.
 */
__attribute__((noinline)) int is_checksum_valid(struct __sk_buff *skb, __u32 offset, __u32 length)
{
	__u64 sum = (__u64)bpf_htonl(length) + bpf_htonl(IPPROTO_ICMPV6);
	const struct ipv6hdr *ip;
	struct cursor cursor;
	const __u32 *unit;

	if (offset > HEADERS_END) /* never, but the verifier wants to see it */
		return false;
	cursor = cursor_at(skb, offset);
	ip = cursor.next;
	if (!step(&cursor, sizeof(*ip)))
		return false;
	for (int i = 0; i < 4; i++)
		sum += (__u64)ip->saddr.in6_u.u6_addr32[i] + ip->daddr.in6_u.u6_addr32[i];
	for (__u32 done = 0; done < ND_MAX_LENGTH; done += ND_UNIT) {
		if (done >= length)
			break;
		unit = cursor.next;
		if (!step(&cursor, ND_UNIT))
			return false;
		sum += (__u64)unit[0] + unit[1];
	}

	/* Words of 32 bits, folded to 16 at the end, so the byte order has no effect (RFC 1071, 2). */
	sum = (sum >> 32) + (sum & 0xffffffff);
	sum = (sum >> 32) + (sum & 0xffffffff);
	sum = (sum >> 16) + (sum & 0xffff);
	sum = (sum >> 16) + (sum & 0xffff);
	return sum == 0xffff;
}

/* Searches `length` bytes of options for the link-layer address of type `wanted` (RFC 4861, 4.6). */
static __always_inline __u32 check_options(struct cursor cursor, __u32 length, __u8 wanted,
					   struct sighting *seen)
{
	const struct nd_option *option;
	__u32 size;

	seen->unnamed = true;
	for (int i = 0; i < ND_MAX_OPTIONS; i++) {
		if (length == 0)
			return SNOOPY_COUNTER_SIGHTINGS;
		option = cursor.next;
		if (!step(&cursor, sizeof(*option)))
			return SNOOPY_COUNTER_TRUNCATED;
		size = option->units * ND_UNIT;
		if (size == 0 || size > length)
			return SNOOPY_COUNTER_ND_OPTION;
		if (option->type == wanted) {
			/* Of two addresses, or one longer than Ethernet's, none can be chosen. */
			if (!seen->unnamed || size != sizeof(*option))
				return SNOOPY_COUNTER_ND_OPTION;
			seen->unnamed = false;
			__builtin_memcpy(seen->mac, option->mac, sizeof(option->mac));
		}
		cursor.next = (void *)option + size;
		length -= size;
	}
	return length == 0 ? SNOOPY_COUNTER_SIGHTINGS : SNOOPY_COUNTER_ND_OPTION;
}

/* RFC 4861, 7.1.1 (solicitations) and 7.1.2 (advertisements) */
static __always_inline __u32 check_nd(struct __sk_buff *skb, const struct frame *frame,
				      const struct snoopy_port *port, struct sighting *seen)
{
	struct cursor cursor = cursor_at(skb, frame->offset);
	const struct ipv6hdr *ip = cursor.next;
	bool advertisement = frame->type == ND_ADVERTISEMENT;
	__u8 kind = advertisement ? SNOOPY_LEARN_NA : SNOOPY_LEARN_NS;
	const struct nd_message *message;
	const struct in6_addr *sender;
	bool whole, tentative = false;
	__u32 length, verdict;
	enum scope scope;

	if (!step(&cursor, sizeof(*ip)))
		return SNOOPY_COUNTER_TRUNCATED;
	message = cursor.next;
	whole = !frame->fragment && step(&cursor, sizeof(*message));
	if (whole) {
		/* Duplicate Address Detection (RFC 4862, 5.4.2): its sender has no address yet. */
		tentative = !advertisement && is_unspecified(&ip->saddr);
		/* An advertisement is about its target, any other solicitation about its source. */
		sender = advertisement || tentative ? &message->target : &ip->saddr;
		seen->key.family = AF_INET6;
		__builtin_memcpy(seen->key.ip, sender, sizeof(*sender));
	}
	seen->unlearned = !(port->learn & kind);
	/* Where advertisements are learned from, a solicitation may hint. */
	if (!(port->learn & (kind | SNOOPY_LEARN_NA)))
		return SNOOPY_COUNTER_IGNORED;
	if (frame->fragment)
		return SNOOPY_COUNTER_FRAGMENT;
	if (ip->hop_limit != ND_HOP_LIMIT)
		return SNOOPY_COUNTER_HOP_LIMIT;
	length = bpf_ntohs(ip->payload_len);
	if (length < sizeof(*message) || length > ND_MAX_LENGTH)
		return SNOOPY_COUNTER_ND_HEADER;
	if (!whole || frame->offset + sizeof(*ip) + length > skb->len)
		return SNOOPY_COUNTER_TRUNCATED;
	if (message->icmp.icmp6_code != 0)
		return SNOOPY_COUNTER_ND_HEADER;
	/* The message and its options all have a multiple of eight octets. */
	if (length % ND_UNIT)
		return SNOOPY_COUNTER_ND_OPTION;
	if (!is_checksum_valid(skb, frame->offset, length))
		return SNOOPY_COUNTER_CHECKSUM;
	/* RFC 4861, 4.4: its source is an address of the interface. */
	if (advertisement && (is_unspecified(&ip->saddr) || is_multicast(&ip->saddr)))
		return SNOOPY_COUNTER_ND_HEADER;
	/* A solicited advertisement goes to the host that solicited it. */
	if (advertisement && message->icmp.icmp6_solicited && is_multicast(&ip->daddr))
		return SNOOPY_COUNTER_ND_HEADER;
	if (tentative && !is_solicited_node(&ip->daddr))
		return SNOOPY_COUNTER_ND_HEADER;
	verdict = check_options(cursor, length - sizeof(*message),
				advertisement ? ND_OPTION_TARGET_MAC : ND_OPTION_SOURCE_MAC, seen);
	if (verdict != SNOOPY_COUNTER_SIGHTINGS)
		return verdict;

	if (advertisement && seen->unnamed) {
		/* The answer to a unicast solicitation (RFC 4861, 7.2.4), whatever its O flag. */
		seen->weak = SNOOPY_COUNTER_ND_OPTION;
		if (message->icmp.icmp6_solicited && same_ip(&ip->saddr, &message->target))
			seen->hint = SNOOPY_HINT_UNNAMED;
	} else if (advertisement && !message->icmp.icmp6_override) {
		/* An anycast address or a proxy, which displaces no host (RFC 9161, 3.2). */
		seen->weak = SNOOPY_COUNTER_OVERRIDE;
		seen->hint = SNOOPY_HINT_ANYCAST;
	} else if (tentative) {
		if (!seen->unnamed)
			return SNOOPY_COUNTER_ND_OPTION;
		seen->weak = SNOOPY_COUNTER_IP;
		seen->hint = SNOOPY_HINT_TENTATIVE;
	} else if (seen->unnamed) {
		if (seen->unlearned)
			return SNOOPY_COUNTER_ND_OPTION;
		seen->weak = SNOOPY_COUNTER_ND_OPTION;
	} else if (seen->unlearned) {
		seen->weak = SNOOPY_COUNTER_IGNORED;
		seen->hint = SNOOPY_HINT_SOLICITATION;
	}

	scope = is_multicast(&message->target) ? SCOPE_NO_HOST : scope_of_ipv6(sender);
	seen->advertisement = advertisement;
	seen->asks = !advertisement && !tentative;
	seen->router = advertisement && message->icmp.icmp6_router;
	return check_sender(skb, port, seen, scope);
}

/*
 * Link-local addresses are in no subnet, so only an explicit denial applies to them. The node's own
 * addresses have such a denial, which keeps them from being learned.
 */
static __always_inline bool is_allowed(const struct sighting *seen)
{
	struct snoopy_prefix_key key = {
		.prefixlen = seen->key.family == AF_INET ? 64 + 32 : 64 + 128,
		.bridge = seen->key.bridge,
		.vlan = seen->key.vlan,
		.family = seen->key.family,
	};
	__u8 *allowed;

	__builtin_memcpy(key.ip, seen->key.ip, sizeof(key.ip));
	allowed = bpf_map_lookup_elem(&snoopy_prefixes, &key);
	return allowed ? *allowed : seen->link_local;
}

static __always_inline enum provision provision_of(const struct sighting *seen)
{
	struct snoopy_static_key key = {
		.bridge = seen->key.bridge,
		.vlan = seen->key.vlan,
		.family = seen->key.family,
	};

	__builtin_memcpy(key.ip, seen->key.ip, sizeof(key.ip));
	if (!bpf_map_lookup_elem(&snoopy_statics, &key))
		return NOT_PROVISIONED;
	__builtin_memcpy(key.mac, seen->mac, ETH_ALEN);
	return bpf_map_lookup_elem(&snoopy_statics, &key) ? PROVISIONED_FOR_IT : PROVISIONED_FOR_OTHERS;
}

/*
 * Signed, because the two sides write their parts at different moments: a binding that user space deletes
 * while it moves may be subtracted first.
 */
static __always_inline bool has_room(const struct snoopy_port *port, const struct snoopy_port_state *state)
{
	return (__s64)(state->gained - state->lost - port->released) < (__s64)port->max_bindings;
}

/*
 * The generic cell rate algorithm (ITU-T I.371): next_ns is when the next event is due at the average
 * rate, and a burst may run ahead of it. After a limit was raised, what the lower one has put off counts no more
 * than a burst. Two CPUs at once may let one more through, which is acceptable without a lock.
 */
static __always_inline bool is_in_rate(__u64 *next_ns, __u64 interval_ns, __u32 burst, __u64 now)
{
	__u64 ahead = burst > 1 ? interval_ns * (burst - 1) : 0;
	__u64 latest = now + ahead + interval_ns;
	__u64 due;

	if (*next_ns > latest)
		*next_ns = latest;
	due = *next_ns > now ? *next_ns : now;
	if (due - now > ahead)
		return false;
	*next_ns = due + interval_ns;
	return true;
}

static __always_inline __u32 limited(struct snoopy_port_state *state, __u32 reason)
{
	__sync_fetch_and_add(&state->limited, 1);
	return reason;
}

/* `old` is zero for a new binding. */
static __always_inline void report(__u32 kind, const struct sighting *seen, __u32 ifindex,
				   const struct snoopy_binding *old, __u64 now)
{
	struct snoopy_change *change = bpf_ringbuf_reserve(&snoopy_changes, sizeof(*change), 0);

	if (!change) {
		count(SNOOPY_COUNTER_RING_DROPPED);
		return;
	}
	change->kind = kind;
	change->port = ifindex;
	change->old_port = old->port;
	__builtin_memcpy(change->mac, seen->mac, ETH_ALEN);
	__builtin_memcpy(change->old_mac, old->mac, ETH_ALEN);
	change->key = seen->key;
	change->time_ns = now;
	bpf_ringbuf_submit(change, 0);
}

/* FNV-1a over the address and the MAC. */
static __always_inline __u32 slot_of(const struct sighting *seen)
{
	const __u8 *key = (const __u8 *)&seen->key;
	__u64 hash = 0xcbf29ce484222325;

	for (__u32 i = 0; i < sizeof(seen->key); i++)
		hash = (hash ^ key[i]) * 0x100000001b3;
	for (int i = 0; i < ETH_ALEN; i++)
		hash = (hash ^ seen->mac[i]) * 0x100000001b3;
	return (hash >> 32 ^ hash) % SNOOPY_SEEN_SLOTS;
}

/* Whether the last hint in a slot is about the same address and MAC: whatever its kind, the same probe. */
static __always_inline bool same_hint(const struct snoopy_seen_hint *last,
				      const struct snoopy_seen_hint *next)
{
	__u8 difference = 0;

	for (__u32 i = 0; i < sizeof(next->key.ip); i++)
		difference |= last->key.ip[i] ^ next->key.ip[i];
	return !difference && last->key.bridge == next->key.bridge && last->key.vlan == next->key.vlan &&
	       last->key.family == next->key.family && same_mac(last->mac, next->mac);
}

/*
 * Leaves a hint for user space. The same hint again is updated in place, and keeps the probes that user space
 * has counted; any other one replaces the entry, so no reader sees half of each.
 */
static __always_inline void hint(const struct sighting *seen, __u8 kind, __u32 ifindex, __u64 now)
{
	struct snoopy_seen_hint_key slot = {.port = ifindex, .slot = slot_of(seen)};
	struct snoopy_seen_hint next = {.key = seen->key, .kind = kind, .time_ns = now};
	struct snoopy_seen_hint *last = bpf_map_lookup_elem(&snoopy_seen, &slot);
	struct snoopy_port_state *state;
	struct snoopy_binding none = {};
	__u64 before;

	__builtin_memcpy(next.mac, seen->mac, ETH_ALEN);
	if (last && same_hint(last, &next)) {
		before = last->time_ns;
		if (last->kind != kind)
			last->kind = kind;
		if (now <= before + QUIET_NS)
			return;
		last->time_ns = now;
		if (now <= before + HINT_PAUSE_NS)
			return;
	} else if (bpf_map_update_elem(&snoopy_seen, &slot, &next, BPF_ANY)) {
		return;
	}
	state = bpf_map_lookup_elem(&snoopy_state, &ifindex);
	if (state && is_in_rate(&state->hint_next_ns, HINT_INTERVAL_NS, HINT_BURST, now))
		report(SNOOPY_CHANGE_HINT, seen, ifindex, &none, now);
}

/* User space finds out by a probe, so the answer to it must be one that the port learns from. */
static __always_inline bool can_probe(const struct sighting *seen, const struct snoopy_port *port)
{
	return port->learn & (seen->key.family == AF_INET ? SNOOPY_LEARN_ARP_REPLY : SNOOPY_LEARN_NA);
}

/*
 * The owner has sent again. The fields other than the MAC are written in place: a reader sees each one
 * whole, and a freeze that has ended means the same as none.
 */
static __always_inline __u32 refresh(struct snoopy_binding *binding, const struct sighting *seen,
				     __u32 ifindex, __u64 now)
{
	__u8 flags = seen->router ? SNOOPY_BINDING_ROUTER : 0;
	__u32 tick = now >> FLAGS_SHIFT;

	if (binding->frozen_until_ns && now >= binding->frozen_until_ns) {
		binding->moves = 0;
		binding->window_ns = 0;
		binding->frozen_until_ns = 0;
	}
	if (now > binding->last_seen_ns + QUIET_NS)
		binding->last_seen_ns = now;
	/*
	 * RFC 4861, 7.2.5: an advertisement of the MAC that is known sets the flag, also with O = 0 or
	 * without an address. A change that comes too soon is not lost: the next one has it again.
	 */
	if (seen->advertisement && binding->flags != flags && tick - binding->flags_changed >= FLAGS_PAUSE) {
		binding->flags = flags;
		binding->flags_changed = tick;
		report(SNOOPY_CHANGE_MOVE, seen, ifindex, binding, now);
	}
	return SNOOPY_COUNTER_SIGHTINGS;
}

static __always_inline __u32 create(const struct sighting *seen, const struct snoopy_port *port,
				    __u32 ifindex, struct snoopy_port_state *state, __u64 now)
{
	struct snoopy_binding binding = {
		.flags = seen->router ? SNOOPY_BINDING_ROUTER : 0,
		.port = ifindex,
		.first_seen_ns = now,
		.last_seen_ns = now,
	};
	struct snoopy_binding none = {};
	long error;

	if (!has_room(port, state))
		return limited(state, SNOOPY_COUNTER_PORT_LIMIT);
	if (port->new_interval_ns &&
	    !is_in_rate(&state->next_ns, port->new_interval_ns, port->new_burst, now)) {
		/* A host that sends once, with many others, is learned when it answers. */
		if (can_probe(seen, port))
			hint(seen, SNOOPY_HINT_RATE, ifindex, now);
		return limited(state, SNOOPY_COUNTER_RATE_LIMIT);
	}
	__builtin_memcpy(binding.mac, seen->mac, ETH_ALEN);
	error = bpf_map_update_elem(&snoopy_bindings, &seen->key, &binding, BPF_NOEXIST);
	if (error == -EEXIST) /* another CPU was faster, and has reported it */
		return SNOOPY_COUNTER_SIGHTINGS;
	if (error)
		return SNOOPY_COUNTER_TABLE_FULL;
	__sync_fetch_and_add(&state->gained, 1);
	count(SNOOPY_COUNTER_CREATED);
	report(SNOOPY_CHANGE_NEW, seen, ifindex, &none, now);
	return SNOOPY_COUNTER_SIGHTINGS;
}

/* The binding counts of two ports when a binding moves from one to the other. */
static __always_inline void hand_over(__u32 from, __u32 to)
{
	struct snoopy_port_state *state;

	if (from == to)
		return;
	state = bpf_map_lookup_elem(&snoopy_state, &to);
	if (state)
		__sync_fetch_and_add(&state->gained, 1);
	state = bpf_map_lookup_elem(&snoopy_state, &from);
	if (state)
		__sync_fetch_and_add(&state->lost, 1);
}

/* Whether the owner's port still belongs to the bridge. */
static __always_inline bool is_port_of(__u32 ifindex, __u32 bridge)
{
	const struct snoopy_port *port = bpf_map_lookup_elem(&snoopy_ports, &ifindex);

	return port && port->bridge == bridge;
}

/*
 * Whether the owner takes the address back from a MAC that has had it for less than a window. Otherwise a
 * claim at the end of a window, answered in the next, would make the claimant the owner.
 */
static __always_inline bool returns(const struct snoopy_binding *old, const struct sighting *seen,
				    __u64 since)
{
	return same_mac(old->owner_mac, seen->mac) && old->first_seen_ns > since;
}

/*
 * Another MAC or another port claims the address. The entry is replaced as a whole, so no reader sees half a
 * MAC. RFC 9161, 3.7: a MAC that changes too often means two hosts with one address. Then the binding is
 * frozen and goes back to the owner before the first claim; otherwise a host with many MACs would keep it
 * when the hold time is over. A change of the port alone is no duplicate, and neither is a change
 * between the MACs of a virtual router and its interface at one port: but the first owner is recorded then
 * too.
 *
 * Unlike new bindings, moves have no rate limit. When fifty addresses fail over at once, each is announced
 * one to three times and then no more; a rejected move would leave its traffic with a host that is gone. A
 * move takes no memory, max_bindings applies to its new port, and a MAC that keeps changing is frozen. One
 * cost remains: a host on two ports of one bridge makes a record with each move.
 */
static __always_inline __u32 move(const struct snoopy_binding *known, const struct sighting *seen,
				  const struct snoopy_port *port, __u32 ifindex,
				  struct snoopy_port_state *state, bool provisioned, __u64 now)
{
	struct snoopy_binding old = *known; /* a copy: the update hands the element on to another key */
	struct snoopy_binding next = old;
	bool other_mac = !same_mac(old.mac, seen->mac);
	bool one_host = old.port == ifindex && (outranks(seen->mac, old.mac, seen->key.family) ||
						outranks(old.mac, seen->mac, seen->key.family));

	if (old.port != ifindex && !has_room(port, state))
		return limited(state, SNOOPY_COUNTER_PORT_LIMIT);
	if (next.frozen_until_ns) {
		next.moves = 0;
		next.window_ns = 0;
		next.frozen_until_ns = 0;
	}
	if (other_mac && !provisioned) {
		if (!next.window_ns || now > next.window_ns + port->duplicate_window_ns) {
			next.moves = 0;
			next.window_ns = now;
			if (!returns(&old, seen, now - port->duplicate_window_ns)) {
				__builtin_memcpy(next.owner_mac, old.mac, ETH_ALEN);
				next.owner_port = old.port;
			}
		}
		if (!one_host && next.moves < 255)
			next.moves++;
		if (!one_host && port->duplicate_moves && next.moves >= port->duplicate_moves) {
			next.frozen_until_ns = now + port->duplicate_hold_ns;
			if (is_port_of(next.owner_port, seen->key.bridge)) {
				__builtin_memcpy(next.mac, next.owner_mac, ETH_ALEN);
				next.port = next.owner_port;
			}
			if (bpf_map_update_elem(&snoopy_bindings, &seen->key, &next, BPF_EXIST))
				return SNOOPY_COUNTER_SIGHTINGS;
			hand_over(old.port, next.port);
			count(SNOOPY_COUNTER_DUPLICATES);
			report(SNOOPY_CHANGE_DUPLICATE, seen, ifindex, &old, now);
			return SNOOPY_COUNTER_SIGHTINGS;
		}
	}

	if (other_mac) {
		__builtin_memcpy(next.mac, seen->mac, ETH_ALEN);
		next.first_seen_ns = now;
	}
	if (other_mac || seen->advertisement)
		next.flags = seen->router ? SNOOPY_BINDING_ROUTER : 0;
	next.port = ifindex;
	next.last_seen_ns = now;
	/* Fails when user space has just deleted the binding: the host's next message creates it again. */
	if (bpf_map_update_elem(&snoopy_bindings, &seen->key, &next, BPF_EXIST))
		return SNOOPY_COUNTER_SIGHTINGS;
	hand_over(old.port, ifindex);
	count(SNOOPY_COUNTER_MOVED);
	report(SNOOPY_CHANGE_MOVE, seen, ifindex, &old, now);
	return SNOOPY_COUNTER_SIGHTINGS;
}

/* Whether this MAC may have the address now. */
static __always_inline __u32 check_claim(const struct sighting *seen, const struct snoopy_binding *known,
					 __u64 now, bool *provisioned)
{
	enum provision provision;

	if (known && now < known->frozen_until_ns)
		return SNOOPY_COUNTER_FROZEN;
	if (!is_allowed(seen))
		return SNOOPY_COUNTER_SUBNET;
	provision = provision_of(seen);
	*provisioned = provision == PROVISIONED_FOR_IT;
	return provision == PROVISIONED_FOR_OTHERS ? SNOOPY_COUNTER_STATIC : SNOOPY_COUNTER_SIGHTINGS;
}

/*
 * A valid message updates a binding. The owner comes first and is fastest: its right to the address was
 * checked when the binding was created, and user space deletes bindings that no longer fit.
 */
static __always_inline __u32 learn(const struct sighting *seen, const struct snoopy_port *port, __u32 ifindex)
{
	__u64 now = bpf_ktime_get_ns();
	struct snoopy_binding *known = bpf_map_lookup_elem(&snoopy_bindings, &seen->key);
	bool tentative = seen->hint == SNOOPY_HINT_TENTATIVE;
	struct snoopy_port_state *state;
	bool provisioned = false;
	__u32 verdict;

	if (known && tentative) /* it checks whether the address is in use, and it is */
		return seen->weak;
	if (known && known->port == ifindex && same_mac(known->mac, seen->mac))
		return refresh(known, seen, ifindex, now);
	verdict = check_claim(seen, known, now, &provisioned);
	/*
	 * At one port the virtual MAC keeps the address when the physical one sends a request, unless only
	 * the physical one is in a static entry. The binding is not refreshed, so it ages out if the host
	 * stops using the virtual MAC. Any other message of the physical MAC is a claim: the host has no
	 * virtual MAC any more, or it answers an owner check.
	 */
	if (verdict == SNOOPY_COUNTER_SIGHTINGS && known && known->port == ifindex && !provisioned &&
	    outranks(known->mac, seen->mac, seen->key.family) &&
	    (seen->asks || virtual_rank(seen->mac, seen->key.family)))
		return SNOOPY_COUNTER_SIGHTINGS;
	if (seen->weak) {
		if (verdict != SNOOPY_COUNTER_SIGHTINGS || !seen->hint || !can_probe(seen, port))
			return seen->weak;
		hint(seen, seen->hint, ifindex, now);
		return SNOOPY_COUNTER_HINTS;
	}
	if (verdict != SNOOPY_COUNTER_SIGHTINGS)
		return verdict;
	state = bpf_map_lookup_elem(&snoopy_state, &ifindex);
	if (!state) /* a port without counts has no room */
		return SNOOPY_COUNTER_PORT_LIMIT;
	if (known)
		return move(known, seen, port, ifindex, state, provisioned, now);
	return create(seen, port, ifindex, state, now);
}

/*
 * A bridge with VLANs drops frames of a VLAN that the port is not in, and untagged ones without a PVID. They
 * must not be learned from either, or a host could claim addresses in a VLAN that it cannot reach.
 */
static __always_inline bool is_in_vlan(const struct snoopy_port *port, __u16 vlan)
{
	if (!(port->flags & SNOOPY_PORT_VLAN_AWARE))
		return true;
	if (vlan == 0 || vlan > VLAN_VID_MASK)
		return false;
	return port->vlans[vlan / 64] >> vlan % 64 & 1;
}

static __always_inline enum scope scope_of(const struct snoopy_binding_key *key)
{
	if (key->family == AF_INET)
		return scope_of_ipv4(key->ip);
	return scope_of_ipv6((const struct in6_addr *)key->ip);
}

/* True when this very host has the address already, through another kind of message. */
static __always_inline bool is_known(const struct sighting *seen, const __u8 *source, __u32 ifindex)
{
	const struct snoopy_binding *known = bpf_map_lookup_elem(&snoopy_bindings, &seen->key);

	return known && known->port == ifindex && same_mac(known->mac, source);
}

/*
 * Records for explain why a message about an address was rejected. A repeated rejection is updated in place,
 * each field whole by itself. Any other replaces the entry, so no reader sees half a MAC.
 */
static __always_inline void note(struct __sk_buff *skb, const struct sighting *seen,
				 const struct snoopy_port *port, __u32 ifindex, __u32 reason)
{
	struct cursor cursor = cursor_at(skb, 0);
	const struct ethhdr *eth = cursor.next;
	__u64 now = bpf_ktime_get_ns();
	struct snoopy_rejection *last;
	enum scope scope;
	struct snoopy_rejection next = {
		.reason = reason,
		.port = ifindex,
		.count = 1,
		.first_ns = now,
		.last_ns = now,
	};

	if (!seen->key.family || reason == SNOOPY_COUNTER_IP || !step(&cursor, sizeof(*eth)))
		return;
	/* Its sender does not claim the address yet. */
	if (seen->hint == SNOOPY_HINT_TENTATIVE)
		return;
	scope = scope_of(&seen->key);
	if (scope == SCOPE_NO_HOST)
		return;
	/* Hosts keep sending ignored kinds of messages that need no record: from known hosts, and
	 * about link-local addresses. */
	if (reason == SNOOPY_COUNTER_IGNORED &&
	    (is_known(seen, eth->h_source, ifindex) ||
	     (scope == SCOPE_LINK && !(port->flags & SNOOPY_PORT_LINK_LOCAL))))
		return;
	last = bpf_map_lookup_elem(&snoopy_rejected, &seen->key);
	if (last && last->reason == reason && last->port == ifindex &&
	    same_mac(last->source, eth->h_source) && same_mac(last->claimed, seen->mac)) {
		__sync_fetch_and_add(&last->count, 1);
		last->last_ns = now;
		return;
	}
	__builtin_memcpy(next.source, eth->h_source, ETH_ALEN);
	__builtin_memcpy(next.claimed, seen->mac, ETH_ALEN);
	if (last) {
		next.count += last->count;
		next.first_ns = last->first_ns;
	}
	bpf_map_update_elem(&snoopy_rejected, &seen->key, &next, BPF_ANY);
}

static __always_inline void snoop(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ifindex;
	struct sighting seen = {};
	struct frame frame = {};
	struct snoopy_port *port;
	__u32 verdict;

	gather(skb, HEADERS_END);
	if (!find_message(skb, &frame))
		return;
	port = bpf_map_lookup_elem(&snoopy_ports, &ifindex);
	if (!port)
		return;

	gather(skb, MESSAGE_END);
	seen.key.bridge = port->bridge;
	seen.key.vlan = frame.vid ? frame.vid : port->pvid;
	if (frame.protocol == bpf_htons(ETH_P_ARP))
		verdict = check_arp(skb, &frame, port, &seen);
	else
		verdict = check_nd(skb, &frame, port, &seen);
	/* Checked after the message, because only then its address is known for the rejection. */
	if (frame.tags > 1 || frame.foreign_tag || !is_in_vlan(port, seen.key.vlan))
		verdict = SNOOPY_COUNTER_VLAN;
	else if (verdict == SNOOPY_COUNTER_SIGHTINGS)
		verdict = learn(&seen, port, ifindex);
	/* What is wrong with a message that would not be learned from anyway does not matter. */
	if (seen.unlearned && verdict > SNOOPY_COUNTER_VLAN)
		verdict = SNOOPY_COUNTER_IGNORED;
	count(verdict);
	if (verdict != SNOOPY_COUNTER_SIGHTINGS && verdict != SNOOPY_COUNTER_HINTS)
		note(skb, &seen, port, ifindex, verdict);
}

SEC("tc")
int snoopy(struct __sk_buff *skb)
{
	if (!is_data(skb))
		snoop(skb);
	return TC_ACT_UNSPEC;
}
