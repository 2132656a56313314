package parser

// Types are the fields of an ARP packet that define its addresses (RFC 826), in host byte order.
type Types struct {
	Hardware, Protocol       uint16 // HTYPE, PTYPE
	HardwareLen, ProtocolLen uint8  // of an address, in bytes
}

// EthernetIPv4 are the types of the packets that [Parse] decodes.
var EthernetIPv4 = Types{hardwareEthernet, etherTypeIPv4, hardwareLen, protocolLen}

// ParseForeign decodes an ARP packet of any types as if they were [EthernetIPv4], and returns its
// real types. The addresses in arp are the bytes at the positions of Ethernet and IPv4 addresses.
// They are only for display, as in MAAS's observe-arp, and never form a binding. The errors are
// those of Parse; [ErrUnsupported] is returned only for the tags.
func ParseForeign(arp *ARP, frame []byte, tag Tag) (Types, error) {
	*arp = ARP{}
	_, _, rest, err := afterTags(frame, tag)
	if err != nil {
		return Types{}, err
	}
	packet := rest[etherTypeLen:]
	if uint16At(rest, 0) != etherTypeARP {
		return Types{}, ErrNotARP
	}
	if len(packet) < arpLen {
		return Types{}, ErrShort
	}
	types := Types{
		Hardware:    uint16At(packet, offHardwareType),
		Protocol:    uint16At(packet, offProtocolType),
		HardwareLen: packet[offHardwareLen],
		ProtocolLen: packet[offProtocolLen],
	}
	var usual [MaxLen]byte
	n := copy(usual[:], frame)
	p := usual[len(frame)-len(packet):]
	p[offHardwareType], p[offHardwareType+1] = 0, hardwareEthernet
	p[offProtocolType], p[offProtocolType+1] = etherTypeIPv4>>8, etherTypeIPv4&0xff
	p[offHardwareLen], p[offProtocolLen] = hardwareLen, protocolLen
	return types, Parse(arp, usual[:n], tag)
}
