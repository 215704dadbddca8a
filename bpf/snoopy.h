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

#define SNOOPY_ABI 3

/* Messages that a port learns from (snoopy_port.learn). */
#define SNOOPY_LEARN_ARP_REQUEST (1 << 0)
#define SNOOPY_LEARN_ARP_REPLY   (1 << 1)
#define SNOOPY_LEARN_NA          (1 << 2)
#define SNOOPY_LEARN_NS          (1 << 3)

/* snoopy_port.flags */
#define SNOOPY_PORT_LINK_LOCAL  (1 << 0) /* learn fe80::/10 and 169.254.0.0/16 */
#define SNOOPY_PORT_OWNS_QDISC (1 << 1) /* a note of user space: snoopy created the port's qdisc */
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
	__u64 reported; /* snoopy_port_state.limited when a run last reported it */
	/* The VLANs the port is in, with SNOOPY_PORT_VLAN_AWARE: bit v % 64 of word v / 64. */
	__u64 vlans[64];
};

/*
 * Map "state" (hash by ifindex of the port): the program's own data about a port. User space creates
 * the entry with zeroes before it attaches, and never writes it afterwards, so neither side overwrites the
 * other. The current number of bindings of a port is gained - lost - snoopy_port.released.
 */
struct snoopy_port_state {
	__u64 gained;       /* bindings created on, or moved to, this port (atomic) */
	__u64 lost;         /* bindings moved away from this port (atomic) */
	__u64 next_ns;      /* theoretical arrival time of the next new binding (GCRA) */
	__u64 limited;      /* sightings rejected for max_bindings or for the rate (atomic) */
	__u64 hint_next_ns; /* theoretical arrival time of the next SNOOPY_CHANGE_HINT (GCRA) */
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

/* Ring buffer "changes": one record for each change. The maps have the current state. */
#define SNOOPY_CHANGE_NEW       1 /* a binding was created */
#define SNOOPY_CHANGE_MOVE      2 /* its MAC, its port or its router flag changed */
#define SNOOPY_CHANGE_DUPLICATE 3 /* it was frozen: mac and port are the claim's, old_* the last holder's */
#define SNOOPY_CHANGE_HINT      4 /* a message hinted at a host: mac and port are its own, old_* are zero */

struct snoopy_change {
	__u32 kind;
	__u32 port;     /* ifindex */
	__u32 old_port; /* ifindex; 0 with SNOOPY_CHANGE_NEW */
	__u8 mac[6];
	__u8 old_mac[6]; /* zero with SNOOPY_CHANGE_NEW */
	struct snoopy_binding_key key;
	__u64 time_ns;
};

/* Map "counters" (per-CPU array of __u64). A message counts once: accepted (a sighting), ignored, a hint or
 * rejected. */
#define SNOOPY_COUNTER_SIGHTINGS    0 /* passed every check */
#define SNOOPY_COUNTER_IGNORED      1 /* a kind of message that the port's policy does not learn from */
#define SNOOPY_COUNTER_RING_DROPPED 2 /* change records that found the ring full (beside the sighting) */
#define SNOOPY_COUNTER_CREATED      3 /* bindings created (beside the sighting) */
#define SNOOPY_COUNTER_MOVED        4 /* bindings moved to another MAC or port (beside the sighting) */
#define SNOOPY_COUNTER_DUPLICATES   5 /* bindings frozen (beside the sighting) */
#define SNOOPY_COUNTER_HINTS        6 /* messages that only hint at a host */
#define SNOOPY_COUNTER_VLAN         7 /* rejected: two tags, one not 802.1Q's, or a VLAN the port is not in */
#define SNOOPY_COUNTER_TRUNCATED    8 /* rejected: shorter than its headers say */
#define SNOOPY_COUNTER_ARP_HEADER   9 /* rejected: ARP types, lengths or operation (RFC 826) */
#define SNOOPY_COUNTER_SPOOFED      10 /* rejected: Ethernet source differs from the address in the message */
#define SNOOPY_COUNTER_MAC          11 /* rejected: zero or multicast MAC */
#define SNOOPY_COUNTER_IP           12 /* rejected: not an address that a host can have */
#define SNOOPY_COUNTER_LINK_LOCAL   13 /* rejected: link-local, which the policy does not learn */
#define SNOOPY_COUNTER_FRAGMENT     14 /* rejected: fragmented ND (RFC 6980) */
#define SNOOPY_COUNTER_HOP_LIMIT    15 /* rejected: hop limit is not 255 (RFC 4861, 7.1) */
#define SNOOPY_COUNTER_CHECKSUM     16 /* rejected: ICMPv6 checksum */
#define SNOOPY_COUNTER_ND_HEADER    17 /* rejected: code, length or solicited flag (RFC 4861, 7.1) */
#define SNOOPY_COUNTER_ND_OPTION    18 /* rejected: options malformed, too many, repeated, or no address */
#define SNOOPY_COUNTER_OVERRIDE     19 /* rejected: NA with O = 0, an anycast address (RFC 9161, 3.2) */
#define SNOOPY_COUNTER_SUBNET       20 /* rejected: not in a prefix that may be learned */
#define SNOOPY_COUNTER_STATIC       21 /* rejected: the address is provisioned for another MAC */
#define SNOOPY_COUNTER_FROZEN       22 /* rejected: a claim on a frozen binding */
#define SNOOPY_COUNTER_PORT_LIMIT   23 /* rejected: the port has reached its limit of bindings */
#define SNOOPY_COUNTER_RATE_LIMIT   24 /* rejected: new bindings come too fast on this port */
#define SNOOPY_COUNTER_TABLE_FULL   25 /* rejected: no room in the bindings map */
#define SNOOPY_COUNTERS             26

/*
 * What shows that a host has an address, and is not enough to learn it: user space probes the host, and its
 * answer is learned.
 */
#define SNOOPY_HINT_SOLICITATION 1 /* an NS with its source's MAC, not to be learned (RFC 9161, 3.2) */
#define SNOOPY_HINT_UNNAMED      2 /* a solicited NA about its own source, without the target's MAC */
#define SNOOPY_HINT_ANYCAST      3 /* an NA with the target's MAC and O = 0 */
#define SNOOPY_HINT_TENTATIVE    4 /* DAD (RFC 4862, 5.4) or ARP Probe (RFC 5227): about to be used */
#define SNOOPY_HINT_RATE         5 /* a sighting that the rate of new bindings rejected */
/* The following come from user space only. */
#define SNOOPY_HINT_FABRIC 16 /* another node had the address, with a MAC that is local now */
#define SNOOPY_HINT_ENDED  17 /* its host was here or at another node, and left */

/*
 * Map "seen" (hash): the hints that the program has seen, for user space to take. A port has
 * SNOOPY_SEEN_SLOTS slots, and the address with its MAC decides which one: a flood of hints displaces only
 * those of its own port.
 */
#define SNOOPY_SEEN_SLOTS 128

struct snoopy_seen_hint_key {
	__u32 port; /* ifindex */
	__u32 slot; /* below SNOOPY_SEEN_SLOTS */
};

struct snoopy_seen_hint {
	struct snoopy_binding_key key; /* the address that was hinted at */
	__u8 mac[6];
	__u8 kind;       /* SNOOPY_HINT_*, below 16 */
	__u8 probes;     /* sent by user space */
	__u64 time_ns;   /* of the last such message, as exact as snoopy_binding.last_seen_ns */
	__u64 probed_ns; /* of the last probe; 0: none */
};

/* Map "hints" (hash): user space remembers hosts that are elsewhere or gone. The program does not read it. */
struct snoopy_hint_key {
	__u32 bridge;
	__u16 vlan;
	__u16 family;
	__u8 ip[16];
	__u8 mac[6];
	__u8 pad[2]; /* zero */
};

struct snoopy_hint {
	__u8 kind;       /* SNOOPY_HINT_*, from 16 on */
	__u8 probes;     /* sent while its MAC was on a local port */
	__u8 pad[6];     /* zero */
	__u64 seen_ns;   /* when the hint was last given */
	__u64 probed_ns; /* of the last probe, before the first: of the arrival here; 0: none */
};

/*
 * Map "probes" (hash by struct snoopy_binding_key): user space's record of its probes of a silent host (RFC
 * 9161, 3.5), and of owner checks (3.7b). The program does not read it. last_ns and count are valid for a
 * binding only while last_ns is later than the binding's last_seen_ns.
 */
struct snoopy_probe {
	__u64 last_ns;    /* CLOCK_MONOTONIC */
	__u32 count;      /* probes since the host was seen */
	__u32 pad;        /* zero */
	__u8 winner[6];   /* the MAC that got the address in the last owner check that an owner lost */
	__u8 pad2[2];     /* zero */
	__u64 decided_ns; /* when that was; 0: never */
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
SNOOPY_SIZE(snoopy_port, 568);
SNOOPY_SIZE(snoopy_port_state, 40);
SNOOPY_SIZE(snoopy_prefix_key, 28);
SNOOPY_SIZE(snoopy_static_key, 32);
SNOOPY_SIZE(snoopy_change, 56);
SNOOPY_SIZE(snoopy_seen_hint_key, 8);
SNOOPY_SIZE(snoopy_seen_hint, 48);
SNOOPY_SIZE(snoopy_hint_key, 32);
SNOOPY_SIZE(snoopy_hint, 24);
SNOOPY_SIZE(snoopy_probe, 32);
SNOOPY_SIZE(snoopy_rejection, 48);
SNOOPY_SIZE(snoopy_layout, 48);
#undef SNOOPY_SIZE

#endif
