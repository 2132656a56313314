package report

import (
	"net/netip"
	"strconv"
	"time"
	"unicode"

	"maas-netmon/parser"
	"maas-netmon/tracker"
)

// Widths of the columns of AppendText, in characters. A line without an interface's name has at
// most 80 columns, unless its frame had two VLAN tags or the line reports several moves. A long
// address of IPv6 moves the rest of its line to the right: then the line has at most 81 columns,
// and 103 if the binding has moved.
const (
	kindWidth = len("REFRESHED")
	addrWidth = len("255.255.255.255") // longer for IPv6
	vlanWidth = len("4095")            // longer with two tags
	nameWidth = 15                     // IFNAMSIZ less the final zero, netdevice(7)
)

// Colours of the events: new bindings are green, possible takeovers red and bold, refreshed
// bindings faint (ECMA-48 8.3.117).
const (
	colourNew       = "\x1b[32m"
	colourMoved     = "\x1b[1;31m"
	colourRefreshed = "\x1b[2m"
	colourOff       = "\x1b[0m"
)

// AppendText appends an event to dst as one line of aligned columns for people, including its
// newline, and returns the result: time of day in the zone, event, protocol address, hardware
// address, VLAN IDs (outer.inner if there are two, - if there is none), the name of the interface
// unless it is empty, and for [tracker.Moved] the previous hardware address, and the number of
// moves if there is more than one. colour colours the name of the event, for a terminal.
func AppendText(dst []byte, e *tracker.Event, ifname string, colour bool, zone *time.Location) []byte {
	dst = time.Unix(e.Time, 0).In(zone).AppendFormat(dst, time.TimeOnly+" ")

	start := len(dst)
	if colour {
		dst = append(dst, colourOf(e.Kind)...)
		start = len(dst)
	}
	dst = append(dst, e.Kind.String()...)
	width := len(dst) - start
	if colour {
		dst = append(dst, colourOff...)
	}
	dst = appendSpaces(dst, kindWidth-width+1)

	start = len(dst)
	dst = appendAddr(dst, e.Addr)
	dst = appendSpaces(dst, max(addrWidth-(len(dst)-start), 0)+1)
	dst = e.MAC.AppendTo(dst)
	dst = append(dst, ' ')

	start = len(dst)
	if e.VID == 0 {
		dst = append(dst, '-')
	} else {
		dst = strconv.AppendUint(dst, uint64(e.VID), 10)
	}
	if e.InnerVID != 0 {
		dst = append(dst, '.')
		dst = strconv.AppendUint(dst, uint64(e.InnerVID), 10)
	}
	padding := max(vlanWidth-(len(dst)-start), 0)
	if ifname != "" {
		dst = appendSpaces(dst, padding+1)
		start = len(dst)
		dst = appendName(dst, ifname)
		padding = max(nameWidth-(len(dst)-start), 0)
	}
	if e.Kind == tracker.Moved {
		dst = appendSpaces(dst, padding)
		dst = append(dst, " was "...)
		dst = e.PreviousMAC.AppendTo(dst)
		if e.Moves > 1 {
			dst = append(dst, " ("...)
			dst = strconv.AppendUint(dst, uint64(e.Moves), 10)
			dst = append(dst, " moves)"...)
		}
	}
	return append(dst, '\n')
}

func colourOf(k tracker.Kind) string {
	switch k {
	case tracker.New:
		return colourNew
	case tracker.Moved:
		return colourMoved
	default:
		return colourRefreshed
	}
}

// appendName appends the name of an interface. The name is quoted, in ASCII, if it contains a
// character that a terminal could interpret or show as another one.
func appendName(dst []byte, name string) []byte {
	for _, r := range name {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar || r == '"' || r == '\\' {
			return strconv.AppendQuoteToASCII(dst, name)
		}
	}
	return append(dst, name...)
}

func appendSpaces(dst []byte, n int) []byte {
	for range n {
		dst = append(dst, ' ')
	}
	return dst
}

// AppendPacket appends an ARP packet of any types, seen at a time in seconds since the Unix epoch,
// to dst as the block of lines that `observe-arp -v` printed for it, including the empty line at
// its end, and returns the result. The time is in the zone. The name of the interface, unless it is
// empty, and a second VLAN ID have lines of their own, which observe-arp did not print. destination
// is false if the frame was captured without its destination.
func AppendPacket(dst []byte, arp *parser.ARP, types parser.Types, destination bool, ifname string, seconds int64, zone *time.Location) []byte {
	dst = append(dst, "ARP"...)
	dst = appendFrame(dst, arp.VID, arp.InnerVID, ifname, seconds, zone)
	dst = appendEthernet(dst, &arp.EthernetSource, &arp.EthernetDestination, destination)
	dst = append(dst, "          Hardware type: 0x"...)
	dst = appendHex(dst, types.Hardware, 4)
	dst = append(dst, "\n          Protocol type: 0x"...)
	dst = appendHex(dst, types.Protocol, 4)
	dst = append(dst, "\nHardware address length: "...)
	dst = strconv.AppendUint(dst, uint64(types.HardwareLen), 10)
	dst = append(dst, "\nProtocol address length: "...)
	dst = strconv.AppendUint(dst, uint64(types.ProtocolLen), 10)
	dst = append(dst, "\n              Operation: "...)
	dst = strconv.AppendUint(dst, uint64(arp.Operation), 10)
	switch arp.Operation {
	case parser.OperationRequest:
		dst = append(dst, " (request)"...)
	case parser.OperationReply:
		dst = append(dst, " (reply)"...)
	}
	dst = append(dst, "\nSender hardware address: "...)
	dst = arp.SenderHardware.AppendTo(dst)
	dst = append(dst, "\nSender protocol address: "...)
	dst = arp.SenderProtocol.AppendTo(dst)
	dst = append(dst, "\nTarget hardware address: "...)
	dst = arp.TargetHardware.AppendTo(dst)
	dst = append(dst, "\nTarget protocol address: "...)
	dst = arp.TargetProtocol.AppendTo(dst)
	return append(dst, "\n\n"...)
}

// AppendND is [AppendPacket] for a Neighbor Discovery packet. observe-arp had no such packets.
// There is a line for the target only in neighbor solicitations and advertisements, for the flags
// only in the latter, and for the link-layer address only if the packet has one.
func AppendND(dst []byte, nd *parser.ND, destination bool, ifname string, seconds int64, zone *time.Location) []byte {
	dst = append(dst, "ND"...)
	dst = appendFrame(dst, nd.VID, nd.InnerVID, ifname, seconds, zone)
	dst = appendEthernet(dst, &nd.EthernetSource, &nd.EthernetDestination, destination)
	dst = append(dst, "            ICMPv6 type: "...)
	dst = strconv.AppendUint(dst, uint64(nd.Type), 10)
	dst = append(dst, nameOf(nd.Type)...)
	dst = append(dst, "\n         Source address: "...)
	dst = netip.AddrFrom16(nd.Source).AppendTo(dst)
	dst = append(dst, "\n    Destination address: "...)
	dst = netip.AddrFrom16(nd.Destination).AppendTo(dst)
	switch nd.Type {
	case parser.TypeNeighborSolicitation, parser.TypeNeighborAdvertisement:
		dst = append(dst, "\n         Target address: "...)
		dst = netip.AddrFrom16(nd.Target).AppendTo(dst)
	}
	link := "\nSource hardware address: "
	if nd.Type == parser.TypeNeighborAdvertisement {
		link = "\nTarget hardware address: "
		dst = append(dst, "\n                  Flags:"...)
		dst = appendFlag(dst, " router", nd.Router)
		dst = appendFlag(dst, " solicited", nd.Solicited)
		dst = appendFlag(dst, " override", nd.Override)
		dst = appendFlag(dst, " none", !nd.Router && !nd.Solicited && !nd.Override)
	}
	if nd.HasLinkLayer {
		dst = append(dst, link...)
		dst = nd.LinkLayer.AppendTo(dst)
	}
	return append(dst, "\n\n"...)
}

// nameOf returns the name of a type of ICMPv6 as it follows the number.
func nameOf(icmp uint8) string {
	switch icmp {
	case parser.TypeRouterSolicitation:
		return " (router solicitation)"
	case parser.TypeRouterAdvertisement:
		return " (router advertisement)"
	case parser.TypeNeighborSolicitation:
		return " (neighbor solicitation)"
	case parser.TypeNeighborAdvertisement:
		return " (neighbor advertisement)"
	}
	return ""
}

func appendFlag(dst []byte, name string, set bool) []byte {
	if !set {
		return dst
	}
	return append(dst, name...)
}

// appendFrame appends the rest of the first line of a packet, and the lines of its frame before the
// Ethernet addresses.
func appendFrame(dst []byte, vid, inner uint16, ifname string, seconds int64, zone *time.Location) []byte {
	dst = append(dst, " observed at "...)
	dst = time.Unix(seconds, 0).In(zone).AppendFormat(dst, time.DateTime)
	dst = append(dst, ":\n"...)
	if ifname != "" {
		dst = append(dst, "              Interface: "...)
		dst = appendName(dst, ifname)
		dst = append(dst, '\n')
	}
	if vid != 0 {
		dst = appendVID(dst, "   802.1q VLAN ID (VID): ", vid)
	}
	if inner != 0 {
		dst = appendVID(dst, "    Inner VLAN ID (VID): ", inner)
	}
	return dst
}

// appendEthernet appends the lines with the Ethernet addresses of a frame.
func appendEthernet(dst []byte, source, destination *parser.MAC, captured bool) []byte {
	dst = append(dst, "        Ethernet source: "...)
	dst = source.AppendTo(dst)
	dst = append(dst, "\n   Ethernet destination: "...)
	if captured {
		dst = destination.AppendTo(dst)
	} else {
		dst = append(dst, "not captured"...)
	}
	return append(dst, '\n')
}

// appendVID appends a line with a VLAN ID, which is printed in decimal and hexadecimal.
func appendVID(dst []byte, heading string, vid uint16) []byte {
	dst = append(dst, heading...)
	dst = strconv.AppendUint(dst, uint64(vid), 10)
	dst = append(dst, " (0x"...)
	dst = appendHex(dst, vid, 3)
	return append(dst, ")\n"...)
}

// appendHex appends the lowest digits of v in hexadecimal.
func appendHex(dst []byte, v uint16, digits int) []byte {
	for i := digits - 1; i >= 0; i-- {
		dst = append(dst, "0123456789abcdef"[v>>(4*i)&0xf])
	}
	return dst
}
