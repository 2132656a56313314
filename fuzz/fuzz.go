// Package fuzz has the fuzz targets of the whole project, the references with which they compare,
// and their seeds. It uses only exported API.
//
// Each target is a test with one slice of bytes, and checks a property that must hold for all
// slices. The seeds come from the frames of the tests of package parser, from captures of real
// traffic in testdata/captures, and from testdata/fuzz, which has each input that ever failed,
// under a name that describes the reason.
//
// fuzz/run runs all targets in turn; oss-fuzz has the files for OSS-Fuzz.
package fuzz

import (
	"encoding/binary"
	"math"
	"time"

	"maas-netmon/parser"
	"maas-netmon/parser/parsertest"
	"maas-netmon/tracker"
	"maas-netmon/tracker/trackertest"
)

// tagLen is the number of bytes of a tag before the frame in an input: whether there is one, its
// TPID and its TCI.
const tagLen = 5

// encodeFrame encodes a frame and its tag as an input.
func encodeFrame(frame []byte, tag parser.Tag) []byte {
	b := make([]byte, tagLen, tagLen+len(frame))
	if tag.Present {
		b[0] = 1
	}
	binary.BigEndian.PutUint16(b[1:], tag.TPID)
	binary.BigEndian.PutUint16(b[3:], tag.TCI)
	return append(b, frame...)
}

// decodeFrame decodes the frame and the tag from an input.
func decodeFrame(b []byte) (frame []byte, tag parser.Tag, ok bool) {
	if len(b) < tagLen {
		return nil, parser.Tag{}, false
	}
	tag = parser.Tag{
		Present: b[0]&1 != 0,
		TPID:    binary.BigEndian.Uint16(b[1:]),
		TCI:     binary.BigEndian.Uint16(b[3:]),
	}
	return b[tagLen:], tag, true
}

// reference decodes a frame like parser.Parse, in small steps and without shared code: it splits
// the frame into tags and the rest, and then checks the parts.
func reference(frame []byte, tag parser.Tag) (parser.ARP, error) {
	var arp parser.ARP
	destination, source, tcis, etherType, frame, err := splitTags(frame, tag)
	if err != nil {
		return parser.ARP{}, err
	}
	if etherType != "\x08\x06" {
		return parser.ARP{}, parser.ErrNotARP
	}
	if len(frame) < 28 {
		return parser.ARP{}, parser.ErrShort
	}
	cut := func(n int) []byte {
		b := frame[:n]
		frame = frame[n:]
		return b
	}
	if string(cut(6)) != "\x00\x01\x08\x00\x06\x04" {
		return parser.ARP{}, parser.ErrUnsupported
	}
	arp.EthernetDestination, arp.EthernetSource = destination, source
	arp.Operation = binary.BigEndian.Uint16(cut(2))
	copy(arp.SenderHardware[:], cut(6))
	copy(arp.SenderProtocol[:], cut(4))
	copy(arp.TargetHardware[:], cut(6))
	copy(arp.TargetProtocol[:], cut(4))
	if arp.VID, arp.InnerVID, err = vids(tcis); err != nil {
		return parser.ARP{}, err
	}
	return arp, nil
}

// splitTags splits a frame into its addresses, the TCIs of its tags with that of the stripped one,
// the EtherType and the rest.
func splitTags(frame []byte, tag parser.Tag) (destination, source parser.MAC, tcis []int, etherType string, rest []byte, err error) {
	cut := func(n int) []byte {
		b := frame[:n]
		frame = frame[n:]
		return b
	}
	if len(frame) < 14 {
		err = parser.ErrShort
		return
	}
	copy(destination[:], cut(6))
	copy(source[:], cut(6))
	etherType = string(cut(2))
	if tag.Present {
		tcis = append(tcis, int(tag.TCI))
	}
	for etherType == "\x81\x00" || etherType == "\x88\xa8" || etherType == "\x91\x00" {
		if len(tcis) == 2 {
			err = parser.ErrUnsupported
			return
		}
		if len(frame) < 4 {
			err = parser.ErrShort
			return
		}
		tcis = append(tcis, int(binary.BigEndian.Uint16(cut(2))))
		etherType = string(cut(2))
	}
	return destination, source, tcis, etherType, frame, nil
}

// vids returns the VLAN IDs in the TCIs of the tags of a frame, without those of priority tags.
func vids(tcis []int) (vid, inner uint16, err error) {
	var ids []uint16
	for _, tci := range tcis {
		if tci%4096 == 4095 {
			return 0, 0, parser.ErrUnsupported
		}
		if tci%4096 != 0 {
			ids = append(ids, uint16(tci%4096))
		}
	}
	ids = append(ids, 0, 0)
	return ids[0], ids[1], nil
}

// The number of bytes per step of a script for a table: one for the times and the family, one for
// the interface, the VLANs, the operation or type and the act, and one per address.
const stepLen = 6

// script is a sequence of operations on a table.
type script struct {
	bound    int
	refresh  int64 // seconds
	interval time.Duration
	steps    []step
}

// step is a packet, and the operations before it.
type step struct {
	passed  time.Duration // since the start
	act     act
	take    int // number of waiting events to take
	room    bool
	iface   uint16
	seconds int64
	family  int // 4: the packet is arp, 6: nd
	arp     parser.ARP
	nd      parser.ND
}

// observe passes the packet to a table.
func (s *step) observe(table *tracker.Table, dst []tracker.Event) []tracker.Event {
	if s.family == 6 {
		return table.ObserveND(dst, s.iface, s.seconds, &s.nd)
	}
	return table.Observe(dst, s.iface, s.seconds, &s.arp)
}

// note passes the packet to a table that cannot report events.
func (s *step) note(table *tracker.Table) {
	if s.family == 6 {
		table.NoteND(s.iface, s.seconds, &s.nd)
	} else {
		table.Note(s.iface, s.seconds, &s.arp)
	}
}

// model passes the packet to a model.
func (s *step) model(m *trackertest.Model, room bool) []tracker.Event {
	if s.family == 6 {
		return m.ObserveND(room, s.iface, s.seconds, s.nd)
	}
	return m.Observe(room, s.iface, s.seconds, s.arp)
}

// act is a call before a packet.
type act int

const (
	actNone act = iota
	actForget
	actFlush
	actAbandon
)

// decodeScript decodes the script from an input. It uses few addresses, so that many packets have
// the same ones.
func decodeScript(b []byte) script {
	if len(b) < 2 {
		return script{bound: 1}
	}
	s := script{
		bound:    int(b[0])%20 + 1,
		refresh:  []int64{0, 1, 60, 600}[b[1]%4],
		interval: []time.Duration{0, time.Second, 7, tracker.MaxMovedInterval}[b[1]>>2%4],
	}
	now := int64(1_000_000)
	var passed time.Duration
	for b = b[2:]; len(b) >= stepLen; b = b[stepLen:] {
		switch b[0] % 8 {
		case 0:
			now += int64(b[0]) * int64(b[0]) * 4
		case 1:
			now -= int64(b[0])
		case 2:
			now++
		case 3:
			now += s.refresh
		}
		switch b[0] >> 3 % 8 {
		case 0:
			passed++
		case 1:
			passed += s.interval / 10
		case 2:
			passed += s.interval
		case 3:
			passed += 3 * s.interval
		}
		next := step{
			passed:  passed,
			iface:   uint16(b[1] & 1),
			seconds: now,
			family:  int(4 + b[0]>>7*2),
			arp: parser.ARP{
				VID:            uint16(b[1] >> 1 & 1),
				InnerVID:       uint16(b[1] >> 2 & 1),
				Operation:      uint16(b[1] >> 3 % 4),
				SenderHardware: scriptMAC(b[2]),
				SenderProtocol: scriptAddr(b[3]),
				TargetHardware: scriptMAC(b[4]),
				TargetProtocol: scriptAddr(b[5]),
			},
			nd: parser.ND{
				VID:          uint16(b[1] >> 1 & 1),
				InnerVID:     uint16(b[1] >> 2 & 1),
				Type:         parser.TypeRouterAdvertisement + b[1]>>3%4,
				Override:     b[4]&1 == 0,
				HasLinkLayer: b[4]&14 != 0,
				LinkLayer:    scriptMAC(b[2]),
				Source:       scriptAddr6(b[3]),
				Target:       scriptAddr6(b[5]),
			},
		}
		switch b[1] >> 5 {
		case 0, 1:
			next.room, next.take = true, math.MaxInt
		case 2:
			next.room, next.take = true, 1
		case 3, 4:
		case 5:
			next.act = actForget
		case 6:
			next.act = actFlush
		case 7:
			next.act = actAbandon
		}
		s.steps = append(s.steps, next)
	}
	return s
}

// scriptMAC returns one of few hardware addresses, including zero and a group address.
func scriptMAC(b byte) parser.MAC {
	switch b % 8 {
	case 0:
		return parser.MAC{}
	case 1:
		return parser.MAC{0x01, 0, 0x5e, 0, 0, b}
	default:
		return parser.MAC{0x02, 0, 0, 0, 0, b % 8}
	}
}

// scriptAddr returns one of few protocol addresses, including some that no host has.
func scriptAddr(b byte) parser.Addr {
	switch b % 64 {
	case 0:
		return parser.Addr{}
	case 1:
		return parser.Addr{255, 255, 255, 255}
	case 2:
		return parser.Addr{127, 0, 0, b}
	case 3:
		return parser.Addr{224 + b>>4, 0, 0, b}
	default:
		return parser.Addr{10, 0, 0, b % 64}
	}
}

// scriptAddr6 is scriptAddr for IPv6.
func scriptAddr6(b byte) parser.Addr6 {
	switch b % 64 {
	case 0:
		return parser.Addr6{}
	case 1:
		return parser.Addr6{15: 1}
	case 2:
		return parser.Addr6{10: 0xff, 11: 0xff, 12: 10, 15: b}
	case 3:
		return parser.Addr6{0: 0xff, 1: b, 15: 1}
	default:
		return parser.Addr6{0: 0x20, 1: 0x01, 8: b & 1, 15: b % 64}
	}
}

// vectorInputs returns the frames of the tests of package parser.
func vectorInputs() ([][]byte, error) {
	vectors, err := parsertest.Load("../parser/testdata/frames")
	if err != nil {
		return nil, err
	}
	var inputs [][]byte
	for _, v := range vectors {
		inputs = append(inputs, encodeFrame(v.Frame, v.Tag))
	}
	return inputs, nil
}
