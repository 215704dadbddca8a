/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The ABI between the eBPF program and user space. Structures and constants are defined only here: the
 * build generates src/generated/layouts.ts from this file (bpf/layouts.mjs).
 *
 * Fixed widths, explicit padding, no holes: every byte has a field. Any change of a size, an offset or a
 * meaning below raises SNOOPY_ABI. Integers are in host order unless a comment says otherwise.
 */
#ifndef SNOOPY_H
#define SNOOPY_H

#define SNOOPY_ABI 2

/* Messages that a port learns from (snoopy_port.learn). */
#define SNOOPY_LEARN_ARP_REQUEST (1 << 0)
#define SNOOPY_LEARN_ARP_REPLY   (1 << 1)
#define SNOOPY_LEARN_NA          (1 << 2)
#define SNOOPY_LEARN_NS          (1 << 3)

/* snoopy_port.flags */
#define SNOOPY_PORT_LINK_LOCAL  (1 << 0) /* learn fe80::/10 and 169.254.0.0/16 */
#define SNOOPY_PORT_OWNS_CLSACT (1 << 1) /* a note of user space: snoopy created the port's clsact qdisc */
#define SNOOPY_PORT_VLAN_AWARE  (1 << 2) /* the bridge accepts frames of snoopy_port.vlans only */

/* snoopy_binding.flags */
#define SNOOPY_BINDING_ROUTER (1 << 0) /* the R flag of the last Neighbor Advertisement (RFC 4861, 4.4) */

/*
 * Map "bindings" (hash): which MAC and port has each address, now. The program creates, refreshes and moves
 * entries, user space deletes them. The key is a domain (bridge, VLAN) and an address in it.
 *
 * Bindings survive every upgrade: the key and the fields below never change their places, new fields are
 * added at the end, and zero in them means "not known". So a newer version can migrate the bindings of any
 * older one.
 */
struct snoopy_binding_key {
	__u32 bridge; /* ifindex of the bridge */
	__u16 vlan;   /* VLAN ID; 0: untagged on a port without a PVID */
	__u16 family; /* AF_INET or AF_INET6 */
	__u8 ip[16];  /* network order; IPv4 in the first four bytes, the others zero */
};

/* Times are CLOCK_MONOTONIC in nanoseconds (bpf_ktime_get_ns). */
struct snoopy_binding {
	__u8 mac[6];
	__u8 flags;
	__u8 moves;          /* changes of the MAC since window_ns (RFC 9161, 3.7) */
	__u32 port;          /* ifindex of the port that last sent */
	__u32 flags_changed; /* time >> 20, about milliseconds, of the last change of flags alone; 0: none */
	__u64 first_seen_ns; /* of this IP with this MAC */
	__u64 last_seen_ns;
	__u64 window_ns;       /* start of the window in which moves are counted; 0: no move yet */
	__u64 frozen_until_ns; /* 0: not frozen; until then claims are counted and change nothing */
	/* Since ABI 2: the owner when the window began, which gets the address back; 0: not known. */
	__u8 owner_mac[6];
	__u8 pad[2]; /* zero */
	__u32 owner_port;
	__u32 pad2; /* zero */
};

/* Map "ports" (hash by ifindex of the port): the policy from user space. Other ports are not learned from. */
struct snoopy_port {
	__u32 bridge;          /* ifindex of the bridge the port belongs to */
	__u16 pvid;            /* VLAN ID of untagged frames; 0: none, they keep VLAN 0 */
	__u8 learn;            /* SNOOPY_LEARN_* */
	__u8 flags;            /* SNOOPY_PORT_* */
	__u32 max_bindings;    /* limit for the bindings of this port; 0: none may be created */
	__u32 new_interval_ns; /* least average time between two new bindings; 0: no limit */
	__u32 new_burst;       /* how many new bindings may come at once */
	__u32 duplicate_moves; /* this many moves (up to 255) within the window freeze it; 0: never */
	__u64 duplicate_window_ns;
	__u64 duplicate_hold_ns;
	__u64 released; /* bindings of this port that user space has ever deleted: see snoopy_port_state */
	/* The VLANs the port is in, with SNOOPY_PORT_VLAN_AWARE: bit v % 64 of word v / 64. */
	__u64 vlans[64];
};

/*
 * Map "port_state" (hash by ifindex of the port): the program's own data about a port. User space creates
 * the entry with zeroes before it attaches, and never writes it afterwards, so neither side overwrites the
 * other. The current number of bindings of a port is gained - lost - snoopy_port.released.
 */
struct snoopy_port_state {
	__u64 gained;  /* bindings created on, or moved to, this port (atomic) */
	__u64 lost;    /* bindings moved away from this port (atomic) */
	__u64 next_ns; /* theoretical arrival time of the next new binding (GCRA) */
	__u64 limited; /* sightings rejected for max_bindings or for the rate (atomic) */
};

/*
 * Map "prefixes" (LPM trie): which addresses may be learned. The value of the longest match decides:
 * 1 = allowed, 0 = denied. Without a match an address is denied, except a link-local one: it is in no subnet,
 * so on a port that learns link-local addresses only a 0 denies it. A prefixlen of 32 covers a whole bridge,
 * 64 one family of one domain, 64 + n a prefix of n bits. The node's own addresses are denied at full length.
 */
struct snoopy_prefix_key {
	__u32 prefixlen; /* in bits, counted from the field after this one */
	__u32 bridge;
	__u16 vlan;
	__u16 family;
	__u8 ip[16];
};

/*
 * Map "statics" (hash, value __u8 1): provisioned addresses. An entry with a zero MAC says that the address
 * is static in this domain; then only a MAC with an entry of its own may claim it (RFC 9161, 3.2).
 */
struct snoopy_static_key {
	__u32 bridge;
	__u16 vlan;
	__u16 family;
	__u8 ip[16];
	__u8 mac[6];
	__u8 pad[2]; /* zero */
};

/* Ring buffer "changes": one record for each change. The bindings map has the current state. */
#define SNOOPY_CHANGE_NEW       1 /* a binding was created */
#define SNOOPY_CHANGE_MOVE      2 /* its MAC, its port or its router flag changed */
#define SNOOPY_CHANGE_DUPLICATE 3 /* it was frozen: mac and port are the claim's, old_* the last holder's */

struct snoopy_change {
	__u32 kind;
	__u32 port;     /* ifindex */
	__u32 old_port; /* ifindex; 0 with SNOOPY_CHANGE_NEW */
	__u8 mac[6];
	__u8 old_mac[6]; /* zero with SNOOPY_CHANGE_NEW */
	struct snoopy_binding_key key;
	__u64 time_ns;
};

/* Map "counters" (per-CPU array of __u64). A message counts once: seen, ignored or rejected. */
#define SNOOPY_COUNTER_SIGHTINGS    0 /* passed every check */
#define SNOOPY_COUNTER_IGNORED      1 /* a kind of message that the port's policy does not learn from */
#define SNOOPY_COUNTER_RING_DROPPED 2 /* change records that found the ring full (beside the sighting) */
#define SNOOPY_COUNTER_CREATED      3 /* bindings created (beside the sighting) */
#define SNOOPY_COUNTER_MOVED        4 /* bindings moved to another MAC or port (beside the sighting) */
#define SNOOPY_COUNTER_DUPLICATES   5 /* bindings frozen (beside the sighting) */
#define SNOOPY_COUNTER_VLAN         6 /* rejected: two tags, one not 802.1Q's, or a VLAN the port is not in */
#define SNOOPY_COUNTER_TRUNCATED    7 /* rejected: shorter than its headers say */
#define SNOOPY_COUNTER_ARP_HEADER   8 /* rejected: ARP types, lengths or operation (RFC 826) */
#define SNOOPY_COUNTER_SPOOFED      9 /* rejected: Ethernet source differs from the address in the message */
#define SNOOPY_COUNTER_MAC          10 /* rejected: zero or multicast MAC */
#define SNOOPY_COUNTER_IP           11 /* rejected: not an address that a host can have */
#define SNOOPY_COUNTER_LINK_LOCAL   12 /* rejected: link-local, which the policy does not learn */
#define SNOOPY_COUNTER_FRAGMENT     13 /* rejected: fragmented ND (RFC 6980) */
#define SNOOPY_COUNTER_HOP_LIMIT    14 /* rejected: hop limit is not 255 (RFC 4861, 7.1) */
#define SNOOPY_COUNTER_CHECKSUM     15 /* rejected: ICMPv6 checksum */
#define SNOOPY_COUNTER_ND_HEADER    16 /* rejected: code, length or solicited flag (RFC 4861, 7.1) */
#define SNOOPY_COUNTER_ND_OPTION    17 /* rejected: options malformed, too many, repeated, or no address */
#define SNOOPY_COUNTER_OVERRIDE     18 /* rejected: NA with O = 0, an anycast address (RFC 9161, 3.2) */
#define SNOOPY_COUNTER_SUBNET       19 /* rejected: not in a prefix that may be learned */
#define SNOOPY_COUNTER_STATIC       20 /* rejected: the address is provisioned for another MAC */
#define SNOOPY_COUNTER_FROZEN       21 /* rejected: a claim on a frozen binding */
#define SNOOPY_COUNTER_PORT_LIMIT   22 /* rejected: the port has reached its limit of bindings */
#define SNOOPY_COUNTER_RATE_LIMIT   23 /* rejected: new bindings come too fast on this port */
#define SNOOPY_COUNTER_TABLE_FULL   24 /* rejected: no room in the bindings map */
#define SNOOPY_COUNTERS             25

/*
 * Map "probes" (hash by struct snoopy_binding_key): user space's record of its probes of a silent host (RFC
 * 9161, 3.5). The program does not read it. An entry is valid for a binding only while last_ns is later
 * than the binding's last_seen_ns.
 */
struct snoopy_probe {
	__u64 last_ns; /* CLOCK_MONOTONIC */
	__u32 count;   /* probes since the host was seen */
	__u32 pad;     /* zero */
};

/*
 * Map "rejected" (LRU hash by struct snoopy_binding_key): the last message about an address that was
 * rejected or ignored, from any sender. It only serves explain: no decision depends on it, and a flood of
 * claims can displace nothing else. It leaves out messages whose address is unknown, and those about an
 * address that no host can have.
 */
struct snoopy_rejection {
	__u32 reason;    /* SNOOPY_COUNTER_* of the last one */
	__u32 port;      /* ifindex of the port that received the last one */
	__u8 source[6];  /* its Ethernet source */
	__u8 claimed[6]; /* the MAC that it claims for the address; zero: rejected before that was read */
	__u32 pad;       /* zero */
	__u64 count;     /* since first_ns, for any reason (atomic) */
	__u64 first_ns;
	__u64 last_ns;
};

/* Map "layout" (array of one): identifies the pins. */
struct snoopy_layout {
	__u32 abi;       /* SNOOPY_ABI of the pinned maps */
	__u32 pad;       /* zero */
	__u64 netns;     /* inode of the network namespace the pins belong to */
	__u8 digest[32]; /* SHA-256 of the object file, written last; zero: the load did not finish */
};

#define SNOOPY_SIZE(type, size) _Static_assert(sizeof(struct type) == (size), #type)
SNOOPY_SIZE(snoopy_binding_key, 24);
SNOOPY_SIZE(snoopy_binding, 64);
SNOOPY_SIZE(snoopy_port, 560);
SNOOPY_SIZE(snoopy_port_state, 32);
SNOOPY_SIZE(snoopy_prefix_key, 28);
SNOOPY_SIZE(snoopy_static_key, 32);
SNOOPY_SIZE(snoopy_change, 56);
SNOOPY_SIZE(snoopy_probe, 16);
SNOOPY_SIZE(snoopy_rejection, 48);
SNOOPY_SIZE(snoopy_layout, 48);
#undef SNOOPY_SIZE

#endif
