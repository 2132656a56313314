package tracker

import "maas-netmon/parser"

// ObserveND is [Table.Observe] for a Neighbor Discovery packet, which contains at most one binding.
// The table must have been made with [Config.IPv6].
func (t *Table) ObserveND(dst []Event, iface uint16, seconds int64, nd *parser.ND) []Event {
	return t.observeND(dst, t.store.ready == 0, iface, seconds, nd)
}

// NoteND is [Table.Note] for a Neighbor Discovery packet.
func (t *Table) NoteND(iface uint16, seconds int64, nd *parser.ND) {
	t.observeND(nil, false, iface, seconds, nd)
}

// observeND implements ObserveND if atOnce is true, otherwise NoteND.
func (t *Table) observeND(dst []Event, atOnce bool, iface uint16, seconds int64, nd *parser.ND) []Event {
	if t.store.wide == nil {
		panic("tracker: a packet of IPv6 for a table without IPv6")
	}
	stats := t.of(iface)
	addr := &nd.Source
	switch nd.Type {
	case parser.TypeRouterSolicitation, parser.TypeRouterAdvertisement, parser.TypeNeighborSolicitation:
	case parser.TypeNeighborAdvertisement:
		addr = &nd.Target
	default:
		stats.Ignored++
		return dst
	}
	mac := &nd.LinkLayer
	switch {
	case !nd.HasLinkLayer:
		return dst
	case !usable6(mac, addr):
		stats.Refused++
		return dst
	}
	k := t.store.wideKeyOf(addr, iface, nd.VID, nd.InnerVID)
	if nd.Type == parser.TypeNeighborAdvertisement && !nd.Override {
		// Such an advertisement must not change a neighbor cache (RFC 4861 7.2.5). Hosts that share
		// an anycast address and hosts that answer for another one send it.
		if i, e := t.store.find(t.store.hash(k), k); i != none && e.mac != *mac {
			stats.Ignored++
			return dst
		}
	}
	if i, kind := t.see(k, mac, storedTime(seconds), none); kind != 0 {
		dst = t.change(dst, atOnce, kind, i, mac, seconds)
	}
	return dst
}

// usable6 reports whether a host can have this pair of addresses. An IPv4-mapped address represents
// an IPv4 node within a host (RFC 4291 section 2.5.5.2), and no interface has one.
func usable6(mac *parser.MAC, addr *parser.Addr6) bool {
	switch {
	case !usableMAC(mac), addr[0] == 0xff: // multicast, RFC 4291 section 2.7
		return false
	case [10]byte(addr[:]) != [10]byte{}:
		return true
	}
	mapped := addr[10] == 0xff && addr[11] == 0xff
	return !mapped && *addr != parser.Addr6{} && *addr != parser.Addr6{15: 1} // unspecified, loopback
}
