package main

import (
	"log/slog"

	"maas-netmon/privsep"
)

// counters are what the parser tells the monitor of one interface or file, in answer to a
// Ping.
type counters struct {
	frames      uint64 // that the kernel's filter let pass, the dropped ones included
	bytes       uint64 // their length on the wire
	dropped     uint64 // by the kernel, the ring being full
	short       uint64 // malformed: cut off before the end of the packet
	notARP      uint64 // of a file; from an interface the filter lets ARP pass
	unsupported uint64 // well-formed, but not ARP for IPv4 over Ethernet, or three tags
	newBindings uint64 // events
	moved       uint64
	refreshed   uint64
	refused     uint64 // addresses that cannot be a host's
	ignored     uint64 // operations other than request and reply
	evicted     uint64
	bindings    uint64

	position uint64 // how many bytes of a file are behind; not logged
}

// fields lists the counters in the order in which a message carries them.
func (c *counters) fields() [14]*uint64 {
	return [...]*uint64{
		&c.frames, &c.bytes, &c.dropped, &c.short, &c.notARP, &c.unsupported,
		&c.newBindings, &c.moved, &c.refreshed, &c.refused, &c.ignored, &c.evicted, &c.bindings,
		&c.position,
	}
}

// message returns the counters of an interface as a Pong.
func (c *counters) message(index uint16) privsep.Message {
	m := privsep.Message{Type: privsep.Pong, Index: index}
	for i, p := range c.fields() {
		m.Values[i] = *p
	}
	return m
}

// countersOf is the inverse of message.
func countersOf(m privsep.Message) counters {
	var c counters
	for i, p := range c.fields() {
		*p = m.Values[i]
	}
	return c
}

// attrs returns the counters as they are logged.
func (c *counters) attrs() []any {
	return []any{
		slog.Uint64("frames", c.frames), slog.Uint64("bytes", c.bytes), slog.Uint64("dropped", c.dropped),
		slog.Uint64("short", c.short), slog.Uint64("not_arp", c.notARP),
		slog.Uint64("unsupported", c.unsupported),
		slog.Uint64("new", c.newBindings), slog.Uint64("moved", c.moved),
		slog.Uint64("refreshed", c.refreshed), slog.Uint64("refused", c.refused),
		slog.Uint64("ignored", c.ignored), slog.Uint64("evicted", c.evicted),
		slog.Uint64("bindings", c.bindings),
	}
}
