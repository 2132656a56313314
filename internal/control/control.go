// Package control defines the contents of the messages between monitor and parser: the hello, the
// counters and the names of interfaces. Package privsep transports them.
package control

import (
	"log/slog"
	"time"

	"maas-netmon/privsep"
	"maas-netmon/sandbox"
)

// Counters are the counters of one interface or file. The parser sends them in answer to a Ping.
type Counters struct {
	Frames      uint64 // passed by the kernel's filter, including dropped ones
	Bytes       uint64 // their length on the wire
	Dropped     uint64 // dropped by the kernel because the ring was full
	Short       uint64 // malformed: truncated before the end of the packet
	NotARP      uint64 // and, with IPv6, not Neighbor Discovery; only in files, which pass no filter
	Unsupported uint64 // other ARP than for IPv4 over Ethernet, three tags, IPv6 extension headers
	Invalid     uint64 // Neighbor Discovery that every receiver must discard
	NewBindings uint64 // events
	Moved       uint64
	Refreshed   uint64
	Refused     uint64 // addresses that no host can have
	Ignored     uint64 // operations other than request and reply, advertisements without override
	Evicted     uint64
	Unreported  uint64 // bindings that were forgotten before their change was printed
	Bindings    uint64

	PacketsDropped uint64 // packets of -v that were not printed, of all interfaces

	// Rebound is the number of times that the socket was not bound to the interface of its name and
	// no message from the kernel had reported it. The monitor counts it; messages do not contain
	// it.
	Rebound uint64
	// Flaps is the number of changes of the interface's state. The monitor counts it, too.
	Flaps uint64

	Position uint64 // number of bytes of a file that were read; not logged
}

// A Counter describes a field of [Counters].
type Counter struct {
	Name     string                  // in the log; "" if it is not logged
	Metric   string                  // in the metrics file, after maas_netmon_; "" if not in it
	Help     string                  // for the metrics file
	Own      bool                    // counted by the monitor: not in a message
	IPv6     bool                    // only shown with --ipv6
	IPv6Help string                  // replaces Help with --ipv6; "" if it is the same
	Of       func(*Counters) *uint64 // the field
}

// Table has all counters, in their order in messages and in the log. It is the only place to add
// one.
var Table = [...]Counter{
	{Name: "frames", Metric: "frames_total", Help: "Frames that the kernel's filter let pass, those that were lost included.", Of: func(c *Counters) *uint64 { return &c.Frames }},
	{Name: "bytes", Metric: "frame_bytes_total", Help: "Length on the wire of the frames that the kernel's filter let pass, in bytes.", Of: func(c *Counters) *uint64 { return &c.Bytes }},
	{Name: "dropped", Metric: "dropped_total", Help: "Frames that were lost because the ring was full.", Of: func(c *Counters) *uint64 { return &c.Dropped }},
	{Name: "short", Metric: "short_total", Help: "Frames that ended before the end of the ARP packet.", IPv6Help: "Frames that ended before the end of the ARP packet or the IPv6 packet.", Of: func(c *Counters) *uint64 { return &c.Short }},
	{Name: "not_arp", Metric: "not_arp_total", Help: "Frames of an input file that were not ARP.", IPv6Help: "Frames of an input file that were neither ARP nor Neighbor Discovery.", Of: func(c *Counters) *uint64 { return &c.NotARP }},
	{Name: "unsupported", Metric: "unsupported_total", Help: "Frames with ARP for other types than IPv4 over Ethernet, or too many VLAN tags.", IPv6Help: "Frames with ARP for other types than IPv4 over Ethernet, too many VLAN tags, or an IPv6 extension header.", Of: func(c *Counters) *uint64 { return &c.Unsupported }},
	{Name: "invalid", Metric: "invalid_total", Help: "Neighbor Discovery packets that a receiver has to discard (RFC 4861): hop limit, checksum or contents are wrong.", IPv6: true, Of: func(c *Counters) *uint64 { return &c.Invalid }},
	{Name: "new", Metric: "new_total", Help: "NEW events: bindings of an address to a MAC that were not known.", Of: func(c *Counters) *uint64 { return &c.NewBindings }},
	{Name: "moved", Metric: "moved_total", Help: "MOVED events: addresses that have another MAC than before.", Of: func(c *Counters) *uint64 { return &c.Moved }},
	{Name: "refreshed", Metric: "refreshed_total", Help: "REFRESHED events: bindings that were seen again after a quiet while.", Of: func(c *Counters) *uint64 { return &c.Refreshed }},
	{Name: "refused", Metric: "refused_total", Help: "Bindings of addresses that no host can have.", Of: func(c *Counters) *uint64 { return &c.Refused }},
	{Name: "ignored", Metric: "ignored_total", Help: "ARP packets that are neither request nor reply.", IPv6Help: "ARP packets that are neither request nor reply, and moves by neighbor advertisements without the override flag.", Of: func(c *Counters) *uint64 { return &c.Ignored }},
	{Name: "evicted", Metric: "evicted_total", Help: "Bindings that were evicted because the table was full.", Of: func(c *Counters) *uint64 { return &c.Evicted }},
	{Name: "unreported", Metric: "unreported_total", Help: "Bindings that were evicted before their change was printed.", Of: func(c *Counters) *uint64 { return &c.Unreported }},
	{Name: "bindings", Metric: "bindings", Help: "Bindings of an address to a MAC that the table holds.", Of: func(c *Counters) *uint64 { return &c.Bindings }},
	{Name: "packets_dropped", Metric: "packets_dropped_total", Help: "Packets of -v that were not printed for lack of room, of all interfaces.", Of: func(c *Counters) *uint64 { return &c.PacketsDropped }},
	{Name: "rebound", Metric: "rebound_total", Help: "Times that the socket was bound again although the kernel had reported no change of the interface.", Own: true, Of: func(c *Counters) *uint64 { return &c.Rebound }},
	{Metric: "flaps_total", Help: "Changes of the interface's state between absent, down, without carrier and up.", Own: true, Of: func(c *Counters) *uint64 { return &c.Flaps }},
	{Of: func(c *Counters) *uint64 { return &c.Position }},
}

// The build fails unless a message has room for all counters.
var _ [privsep.NumValues - len(Table)]struct{}

// Message returns the counters of an interface as a Pong.
func (c *Counters) Message(index uint16) privsep.Message {
	m := privsep.Message{Type: privsep.Pong, Index: index}
	for i := range Table {
		if !Table[i].Own {
			m.Values[i] = *Table[i].Of(c)
		}
	}
	return m
}

// CountersOf is the inverse of Message.
func CountersOf(m privsep.Message) Counters {
	var c Counters
	for i := range Table {
		if !Table[i].Own {
			*Table[i].Of(&c) = m.Values[i]
		}
	}
	return c
}

// Shown reports whether the counter is in the log and the metrics of a process with or without
// --ipv6.
func (c *Counter) Shown(ipv6 bool) bool { return ipv6 || !c.IPv6 }

// HelpFor returns the help of a process with or without --ipv6.
func (c *Counter) HelpFor(ipv6 bool) string {
	if ipv6 && c.IPv6Help != "" {
		return c.IPv6Help
	}
	return c.Help
}

// Attrs returns the counters as attributes for the log of a process with or without --ipv6.
func (c *Counters) Attrs(ipv6 bool) []any {
	var attrs []any
	for _, t := range Table {
		if t.Name != "" && t.Shown(ipv6) {
			attrs = append(attrs, slog.Uint64(t.Name, *t.Of(c)))
		}
	}
	return attrs
}

// HandshakeTimeout is the time that either process waits for the other during the start.
const HandshakeTimeout = 10 * time.Second

// HelloMessage returns the Hello that reports the optional layers that are in force.
func HelloMessage(layers sandbox.Layers) privsep.Message {
	m := privsep.Message{Type: privsep.Hello}
	m.Values[0] = uint64(layers.Landlock)
	if layers.MDWE {
		m.Values[1] = 1
	}
	return m
}

// LayersOf is the inverse of HelloMessage.
func LayersOf(m privsep.Message) sandbox.Layers {
	return sandbox.Layers{Landlock: int(m.Values[0]), MDWE: m.Values[1] == 1}
}

// MaxName is the largest number of bytes in a name. It equals cli.MaxName; package monitor does not
// compile if they differ.
const MaxName = 127

// NameMessage returns the message with the name of a source, of at most [MaxName] bytes. An empty
// name means that the source has ended: the parser forgets its bindings.
func NameMessage(index uint16, name string) privsep.Message {
	m := privsep.Message{Type: privsep.Name, Index: index}
	for i, c := range []byte(name[:min(len(name), MaxName)]) {
		m.Values[i/8] |= uint64(c) << (i % 8 * 8)
	}
	return m
}

// NameOf is the inverse of NameMessage.
func NameOf(m privsep.Message) string {
	var name []byte
	for i := range MaxName {
		c := byte(m.Values[i/8] >> (i % 8 * 8))
		if c == 0 {
			break
		}
		name = append(name, c)
	}
	return string(name)
}
