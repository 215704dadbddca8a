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

# The claim of a valid message: "this address has this MAC". `named` is false when the message has no such option and
# the MAC is the frame's source. `router` is None where the message has no router flag (RFC 4861, 7.2.5: only an
# advertisement has one).
Claim = namedtuple("Claim", "vlan ip mac named router")
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


def judge(frame, port):
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
    ip, mac, router = claim
    # The Ethernet source must be the sender of the message.
    if mac is not None and mac != ether.src:
        return None
    if not is_unicast(ether.src) or not is_host(ip, port):
        return None
    return Claim(vlan, ip, ether.src, mac is not None, router)


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
    if kind not in port.learn:
        return None
    return ip_address(arp.psrc), arp.hwsrc, None


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
    if ("na" if advertises else "ns") not in port.learn:
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
    # RFC 9161, 3.2: O = 0 with an address is an anycast address; without one it answers a probe (RFC 4861, 7.2.4).
    if advertises and mac is not None and not nd.O:
        return None
    return ip_address(nd.tgt if advertises else ip.src), mac, bool(nd.R) if advertises else None


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


def apply(known, claim, port):
    """The bindings of the port's bridge after a claim: (vlan, ip) -> Bound. Those that the claim does not change are not fresh."""
    if claim is None:
        return known
    key = (claim.vlan, claim.ip)
    old = known.get(key)
    if old is not None and (old.mac, old.port) == (claim.mac, port.ifindex):
        # The binding is the sender's already: what it may have was decided when the binding was created.
        return {**known, key: Bound(old.mac, old.port, router_of(old, claim), True)}
    if not claim.named or not is_allowed(claim, port) or is_provisioned_for_another(claim, port):
        return known
    return {**known, key: Bound(claim.mac, port.ifindex, router_of(old, claim), True)}


def router_of(old, claim):
    """A field that the message does not have keeps its value for the same host."""
    if claim.router is None:
        return old is not None and old.mac == claim.mac and old.router
    return claim.router
