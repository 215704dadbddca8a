"""An independent statement of what may be learned from a frame.

scapy does the dissection. The rules follow the documentation and the RFCs that it names, one after the other. None
is taken from the eBPF program: where the two differ, one of them is wrong.
"""

from collections import namedtuple
from ipaddress import IPv4Address, IPv6Address, IPv4Network, IPv6Network, ip_address, ip_network

from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, IPv6, in6_chksum
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Raw

# scapy's options have the length of their type, whatever their length field says. options() below uses the length
# field.
for message in (ICMPv6ND_NA, ICMPv6ND_NS):
    message.guess_payload_class = lambda self, payload: Raw
# The message follows the IPv6 header directly (see neighbor_discovery), so other payloads stay undissected.
dissect_ipv6 = IPv6.guess_payload_class
IPv6.guess_payload_class = lambda self, payload: dissect_ipv6(self, payload) if self.nh == 58 else Raw

ICMPV6 = 58
TARGET_LINK_LAYER, SOURCE_LINK_LAYER = 2, 1  # RFC 4861, 4.6
NO_HOST_IPV6 = (
    IPv6Network("::/96"),  # RFC 4291, 2.5.2, 2.5.3 and 2.5.5.1: unspecified, loopback, IPv4-compatible
    IPv6Network("::ffff:0:0/96"),  # 2.5.5.2: IPv4-mapped
    IPv6Network("ff00::/8"),
)
NO_HOST_IPV4 = (
    IPv4Network("0.0.0.0/8"),  # RFC 6890
    IPv4Network("127.0.0.0/8"),
    IPv4Network("224.0.0.0/4"),
    IPv4Network("240.0.0.0/4"),
)
LINK_LOCAL = (IPv4Network("169.254.0.0/16"), IPv6Network("fe80::/10"))

VIRTUAL_ROUTERS = {4: "00:00:5e:00:01:", 6: "00:00:5e:00:02:"}
SOLICITED_NODE = IPv6Network("ff02::1:ff00:0/104")  # RFC 4291, 2.7.1

# The claim of a valid message: "this address has this MAC". `strength` says what may come of it: LEARNED; REFRESHES a
# binding that its host has; or the name of a hint, which refreshes such a binding too, unless it is TENTATIVE.
# `router` is None where the message has no router flag (RFC 4861, 7.2.5: only an advertisement has one). `asks`: it is a
# question about another address.
Claim = namedtuple("Claim", "vlan ip mac strength router asks")
LEARNED, REFRESHES = "learned", "refreshes"
SOLICITATION, UNNAMED, ANYCAST, TENTATIVE = "solicitation", "unnamed", "anycast", "tentative"
# What a hint leaves for user space.
Hint = namedtuple("Hint", "vlan ip mac port kind")
# The fields of a binding that one frame can change.
Bound = namedtuple("Bound", "mac port router fresh")


class Port:
    """The policy of a port, as the test has written it into the maps."""

    def __init__(self, given):
        self.ifindex = given["ifindex"]
        self.bridge = given["bridge"]
        self.pvid = given["pvid"]
        self.learn = frozenset(given["learn"])
        self.link_local = given["linkLocal"]
        self.vlans = None if given["vlans"] is None else frozenset(given["vlans"])
        self.all = given["all"]
        self.prefixes = [(vlan, ip_network(prefix), allow) for vlan, prefix, allow in given["prefixes"]]
        self.statics = {(vlan, ip_address(ip)): frozenset(macs) for vlan, ip, macs in given["statics"]}


def decideOwnerChecks(frame, port):
    """The claim that a frame makes on a port, or None."""
    if len(frame) < 14:
        return None
    ether = Ether(frame)
    if not isinstance(ether, Ether):  # IEEE 802.3: a length in place of the type.
        return None
    tags, layer = [], ether.payload
    while isinstance(layer, Dot1Q):  # Dot1AD is one too.
        tags.append(layer)
        layer = layer.payload
    vlan = vlan_of(tags, port)
    if vlan is None:
        return None
    if isinstance(layer, ARP):
        claim = address_resolution(layer, port)
    elif isinstance(layer, IPv6):
        claim = neighbor_discovery(layer, port)
    else:
        return None
    if claim is None:
        return None
    ip, mac, strength, router, asks = claim
    # The Ethernet source must be the sender of the message.
    if mac is not None and mac != ether.src:
        return None
    if not is_unicast(ether.src) or not is_host(ip, port):
        return None
    return Claim(vlan, ip, ether.src, strength, router, asks)


def vlan_of(tags, port):
    """IEEE 802.1Q: a VID of 0 is a priority tag, so the frame counts as untagged."""
    if len(tags) > 1 or any(isinstance(tag, Dot1AD) for tag in tags):
        return None
    vlan = (tags[0].vlan if tags else 0) or port.pvid
    # A bridge with VLANs accepts only VLANs that the port is in; 0 and 4095 are no VLANs.
    if port.vlans is not None and (vlan not in port.vlans or not 1 <= vlan <= 4094):
        return None
    return vlan


def address_resolution(arp, port):
    """RFC 826 for IPv4 (0x0800) on Ethernet (1)."""
    if len(arp.original) < 28:
        return None
    if (arp.hwtype, arp.ptype, arp.hwlen, arp.plen) != (1, 0x0800, 6, 4):
        return None
    kind = {1: "arp-request", 2: "arp-reply"}.get(arp.op)
    # RFC 5227, 2.1.1: an ARP Probe. Its sender is about to use the target address.
    if kind == "arp-request" and arp.psrc == "0.0.0.0":
        return ip_address(arp.pdst), arp.hwsrc, TENTATIVE, None, False
    if kind not in port.learn:
        return None
    asks = kind == "arp-request" and arp.psrc != arp.pdst
    return ip_address(arp.psrc), arp.hwsrc, LEARNED, None, asks


def neighbor_discovery(ip, port):
    """RFC 4861, 7.1.1 and 7.1.2; RFC 6980: no fragments. A message behind another extension header does not count."""
    nd = ip.payload
    if ip.version != 6 or ip.nh != ICMPV6 or not isinstance(nd, (ICMPv6ND_NA, ICMPv6ND_NS)):
        return None
    message = nd.original
    if ip.plen < 24 or len(message) != ip.plen or ip.plen > 1280 - 40:  # The smallest MTU that every link has.
        return None
    if ip.hlim != 255 or nd.code != 0 or in6_chksum(ICMPV6, ip, message) != 0:
        return None
    if IPv6Address(nd.tgt).is_multicast:
        return None
    advertises = isinstance(nd, ICMPv6ND_NA)
    if advertises and "na" not in port.learn:
        return None
    if advertises and (ip.src == "::" or IPv6Address(ip.src).is_multicast):  # RFC 4861, 4.4: an address of the interface.
        return None
    if advertises and nd.S and IPv6Address(ip.dst).is_multicast:
        return None
    found = options(message[24:])
    if found is None or len(found) > 8:  # A bound on the work for one frame.
        return None
    wanted = TARGET_LINK_LAYER if advertises else SOURCE_LINK_LAYER
    addresses = [body for kind, body in found if kind == wanted]
    if len(addresses) > 1 or any(len(body) != 6 for body in addresses):
        return None
    mac = addresses[0].hex(":") if addresses else None
    if advertises:
        return ip_address(nd.tgt), mac, strength_of_advertisement(ip, nd, mac), bool(nd.R), False
    if ip.src == "::":
        # RFC 4861, 7.1.1, and Duplicate Address Detection, RFC 4862, 5.4.2.
        valid = IPv6Address(ip.dst) in SOLICITED_NODE and mac is None
        return (ip_address(nd.tgt), mac, TENTATIVE, None, False) if valid else None
    # RFC 9161, 3.2: nothing is to be learned from a solicitation, unless the operator wants it.
    if "ns" in port.learn:
        return ip_address(ip.src), mac, LEARNED if mac is not None else REFRESHES, None, True
    return (ip_address(ip.src), mac, SOLICITATION, None, True) if mac is not None else None


def strength_of_advertisement(ip, nd, mac):
    """RFC 9161, 3.2: O = 0 with an address is an anycast address; without one it answers a probe (RFC 4861, 7.2.4)."""
    if mac is None:
        return UNNAMED if nd.S and IPv6Address(ip.src) == IPv6Address(nd.tgt) else REFRESHES
    return LEARNED if nd.O else ANYCAST


def options(data):
    """RFC 4861, 4.6: type, length in units of eight octets (never 0); None where the options do not fill the message."""
    found = []
    while data:
        if len(data) < 2 or data[1] == 0 or data[1] * 8 > len(data):
            return None
        found.append((data[0], data[2 : data[1] * 8]))
        data = data[data[1] * 8 :]
    return found


def is_unicast(mac):
    octets = bytes.fromhex(mac.replace(":", ""))
    return any(octets) and octets[0] % 2 == 0


def is_host(ip, port):
    refused = NO_HOST_IPV4 if isinstance(ip, IPv4Address) else NO_HOST_IPV6
    if any(ip in network for network in refused):
        return False
    return port.link_local or not is_link_local(ip)


def is_link_local(ip):
    return any(ip.version == network.version and ip in network for network in LINK_LOCAL)


def is_allowed(claim, port):
    """The longest prefix decides; link-local addresses are in no subnet."""
    fitting = [
        (network.prefixlen, allow)
        for vlan, network, allow in port.prefixes
        if vlan == claim.vlan and network.version == claim.ip.version and claim.ip in network
    ]
    if fitting:
        return max(fitting)[1]
    return port.all or is_link_local(claim.ip)


def is_provisioned_for_another(claim, port):
    macs = port.statics.get((claim.vlan, claim.ip))
    return macs is not None and claim.mac not in macs


def virtual_rank(mac, ip):
    """RFC 9568, 7.3: the MAC of a virtual router of the address's family (2), of the other one (1), or of none (0)."""
    if mac.startswith(VIRTUAL_ROUTERS[ip.version]):
        return 2
    return 1 if mac.startswith(tuple(VIRTUAL_ROUTERS.values())) else 0


# What comes of a claim: whether the message is accepted, the bindings of the port's bridge, (vlan, ip) -> Bound, and the
# Hint or None. A binding that the claim does not change is not fresh.
Result = namedtuple("Result", "accepted bindings hint")


def apply(known, claim, port):
    nothing = Result(False, known, None)
    if claim is None:
        return nothing
    key = (claim.vlan, claim.ip)
    old = known.get(key)
    if old is not None and claim.strength == TENTATIVE:
        return nothing
    if old is not None and (old.mac, old.port) == (claim.mac, port.ifindex):
        # The binding is the sender's already: what it may have was decided when the binding was created.
        return Result(True, {**known, key: Bound(old.mac, old.port, router_of(old, claim), True)}, None)
    if not is_allowed(claim, port) or is_provisioned_for_another(claim, port):
        return nothing
    rank = virtual_rank(claim.mac, claim.ip)
    if old is not None and old.port == port.ifindex and virtual_rank(old.mac, claim.ip) > rank:
        # Another MAC of the router's host, unless it is the one that is provisioned: its questions are no claim.
        if (claim.vlan, claim.ip) not in port.statics and (claim.asks or rank > 0):
            return Result(True, known, None)
    if claim.strength == LEARNED:
        return Result(True, {**known, key: Bound(claim.mac, port.ifindex, router_of(old, claim), True)}, None)
    # A hint is of use where the answer to a probe is learned from.
    if claim.strength == REFRESHES or ("arp-reply" if claim.ip.version == 4 else "na") not in port.learn:
        return nothing
    return Result(False, known, Hint(claim.vlan, claim.ip, claim.mac, port.ifindex, claim.strength))


def router_of(old, claim):
    """A field that the message does not have keeps its value for the same host."""
    if claim.router is None:
        return old is not None and old.mac == claim.mac and old.router
    return claim.router
