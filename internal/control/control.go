// Package control knows what the messages between monitor and parser mean: the hello and the
// counters. How they travel is up to package privsep.
package control

import (
	"log/slog"
	"time"

	"maas-netmon/privsep"
	"maas-netmon/sandbox"
)

// Counters are what the parser tells the monitor of one interface or file, in answer to a
// Ping.
type Counters struct {
	Frames      uint64 // that the kernel's filter let pass, the dropped ones included
	Bytes       uint64 // their length on the wire
	Dropped     uint64 // by the kernel, the ring being full
	Short       uint64 // malformed: cut off before the end of the packet
	NotARP      uint64 // of a file; from an interface the filter lets ARP pass
	Unsupported uint64 // well-formed, but not ARP for IPv4 over Ethernet, or three tags
	NewBindings uint64 // events
	Moved       uint64
	Refreshed   uint64
	Refused     uint64 // addresses that cannot be a host's
	Ignored     uint64 // operations other than request and reply
	Evicted     uint64
	Unreported  uint64 // bindings that were forgotten before their change was printed
	Bindings    uint64

	PacketsDropped uint64 // packets of -v that were not printed, of all interfaces

	// Rebound is how often the socket was not bound to the interface of its name and no message
	// had told. The monitor counts it; it is in no message.
	Rebound uint64

	Position uint64 // how many bytes of a file are behind; not logged
}

// Fields lists the counters in the order in which a message carries them.
func (c *Counters) Fields() [16]*uint64 {
	return [...]*uint64{
		&c.Frames, &c.Bytes, &c.Dropped, &c.Short, &c.NotARP, &c.Unsupported,
		&c.NewBindings, &c.Moved, &c.Refreshed, &c.Refused, &c.Ignored, &c.Evicted, &c.Bindings,
		&c.Position, &c.Unreported, &c.PacketsDropped,
	}
}

// Message returns the counters of an interface as a Pong.
func (c *Counters) Message(index uint16) privsep.Message {
	m := privsep.Message{Type: privsep.Pong, Index: index}
	for i, p := range c.Fields() {
		m.Values[i] = *p
	}
	return m
}

// CountersOf is the inverse of Message.
func CountersOf(m privsep.Message) Counters {
	var c Counters
	for i, p := range c.Fields() {
		*p = m.Values[i]
	}
	return c
}

// Attrs returns the counters as they are logged.
func (c *Counters) Attrs() []any {
	return []any{
		slog.Uint64("frames", c.Frames), slog.Uint64("bytes", c.Bytes), slog.Uint64("dropped", c.Dropped),
		slog.Uint64("short", c.Short), slog.Uint64("not_arp", c.NotARP),
		slog.Uint64("unsupported", c.Unsupported),
		slog.Uint64("new", c.NewBindings), slog.Uint64("moved", c.Moved),
		slog.Uint64("refreshed", c.Refreshed), slog.Uint64("refused", c.Refused),
		slog.Uint64("ignored", c.Ignored), slog.Uint64("evicted", c.Evicted),
		slog.Uint64("unreported", c.Unreported), slog.Uint64("bindings", c.Bindings),
		slog.Uint64("packets_dropped", c.PacketsDropped), slog.Uint64("rebound", c.Rebound),
	}
}

// HandshakeTimeout is how long either process waits for the other at the start.
const HandshakeTimeout = 10 * time.Second

// HelloMessage says which of the optional layers are in force.
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
