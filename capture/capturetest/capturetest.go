// Package capturetest builds inputs in the formats pcap and pcapng, for tests, byte by byte
// according to the specifications. It shares no code with the packages that read them.
package capturetest

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"slices"
)

// Order is a byte order.
type Order interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

// Orders has both byte orders.
var Orders = []Order{binary.LittleEndian, binary.BigEndian}

// Gzip returns a file compressed by gzip, in one member.
func Gzip(file []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(file) // neither fails: a Buffer takes all
	_ = w.Close()
	return out.Bytes()
}

// LinkTypeEthernet is LINKTYPE_ETHERNET.
const LinkTypeEthernet = 1

// Pcap is a pcap file (draft-ietf-opsawg-pcap).
type Pcap struct {
	Order    Order
	Nano     bool   // time in nanoseconds instead of microseconds
	LinkType uint32 // LINKTYPE_ETHERNET if 0
}

// Header returns the file's header.
func (p Pcap) Header() []byte {
	magic := uint32(0xa1b2c3d4)
	if p.Nano {
		magic = 0xa1b23c4d
	}
	if p.LinkType == 0 {
		p.LinkType = LinkTypeEthernet
	}
	b := p.Order.AppendUint32(nil, magic)
	b = p.Order.AppendUint16(b, 2)
	b = p.Order.AppendUint16(b, 4)
	return p.words(b, 0, 0, 262144, p.LinkType)
}

// Record returns a record of a frame that was length bytes long.
func (p Pcap) Record(seconds uint32, frame []byte, length int) []byte {
	return append(p.words(nil, seconds, 123456, uint32(len(frame)), uint32(length)), frame...)
}

// RecordHeader returns the header of a record with this captured and original length.
func (p Pcap) RecordHeader(captured uint32) []byte { return p.words(nil, 0, 0, captured, captured) }

// File returns the header and a record for each frame, a second apart.
func (p Pcap) File(seconds uint32, frames ...[]byte) []byte {
	b := p.Header()
	for i, f := range frames {
		b = append(b, p.Record(seconds+uint32(i), f, len(f))...)
	}
	return b
}

func (p Pcap) words(b []byte, words ...uint32) []byte {
	for _, w := range words {
		b = p.Order.AppendUint32(b, w)
	}
	return b
}

// NG builds pcapng blocks (draft-ietf-opsawg-pcapng).
type NG struct{ Order Order }

// Option is an option of a block.
type Option struct {
	Code  uint16
	Value []byte
}

// Options for the time of a packet.
const (
	TSResol  = 9
	TSOffset = 14
)

// Block returns a block of any type.
func (n NG) Block(kind uint32, body []byte, options ...Option) []byte {
	body = slices.Clone(body)
	for _, o := range options {
		body = n.Order.AppendUint16(body, o.Code)
		body = n.Order.AppendUint16(body, uint16(len(o.Value)))
		body = pad(append(body, o.Value...))
	}
	if len(options) > 0 {
		body = append(body, 0, 0, 0, 0) // opt_endofopt
	}
	length := uint32(12 + len(body))
	b := n.words(kind, length)
	return n.Order.AppendUint32(append(b, body...), length)
}

// Section returns a section header block.
func (n NG) Section(options ...Option) []byte {
	body := n.words(0x1a2b3c4d)
	body = n.Order.AppendUint16(body, 1)
	body = n.Order.AppendUint16(body, 0)
	return n.Block(0x0a0d0d0a, append(body, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), options...)
}

// Interface returns an interface description block.
func (n NG) Interface(linkType uint16, snaplen uint32, options ...Option) []byte {
	body := n.Order.AppendUint16(nil, linkType)
	body = append(body, 0, 0)
	return n.Block(1, n.Order.AppendUint32(body, snaplen), options...)
}

// Enhanced returns an enhanced packet block. ticks is its time in the interface's
// resolution.
func (n NG) Enhanced(iface uint32, ticks uint64, frame []byte, length int, options ...Option) []byte {
	body := n.words(iface, uint32(ticks>>32), uint32(ticks), uint32(len(frame)), uint32(length))
	return n.Block(6, pad(append(body, frame...)), options...)
}

// Simple returns a simple packet block, which has no time and is of the first interface.
func (n NG) Simple(frame []byte, length int) []byte {
	return n.Block(3, pad(append(n.words(uint32(length)), frame...)))
}

// Obsolete returns an obsolete packet block, which the enhanced one replaced.
func (n NG) Obsolete(iface uint16, ticks uint64, frame []byte, length int) []byte {
	body := n.Order.AppendUint16(nil, iface)
	body = n.Order.AppendUint16(body, 0xffff)
	body = append(body, n.words(uint32(ticks>>32), uint32(ticks), uint32(len(frame)), uint32(length))...)
	return n.Block(2, pad(append(body, frame...)))
}

// Uint64 returns the value of an option.
func (n NG) Uint64(v uint64) []byte { return n.Order.AppendUint64(nil, v) }

func (n NG) words(words ...uint32) []byte {
	var b []byte
	for _, w := range words {
		b = n.Order.AppendUint32(b, w)
	}
	return b
}

// pad appends zeros up to a multiple of four bytes.
func pad(b []byte) []byte { return append(b, make([]byte, -len(b)&3)...) }
