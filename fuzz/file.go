package fuzz

import (
	"encoding/binary"
	"math"
	"slices"

	"maas-netmon/capture"
	"maas-netmon/capture/capturetest"
)

// fileFrame is what is read of a frame of a pcap or pcapng input.
type fileFrame struct {
	seconds int64
	length  int
	data    string
}

// newFileFrame cuts the data as capture.File does.
func newFileFrame(seconds int64, length uint32, data []byte) fileFrame {
	return fileFrame{seconds, int(length), string(data[:min(len(data), capture.Snaplen)])}
}

// referenceFile reads an input that is there as a whole, in few steps and with no regard to
// memory. It reports whether the input is well-formed to its end; if not, the frames
// are those before it lost its way.
func referenceFile(b []byte) (frames []fileFrame, ok bool) {
	if len(b) < 4 {
		return nil, false
	}
	switch binary.BigEndian.Uint32(b) {
	case 0xa1b2c3d4, 0xa1b23c4d:
		return referencePcap(b, binary.BigEndian)
	case 0xd4c3b2a1, 0x4d3cb2a1:
		return referencePcap(b, binary.LittleEndian)
	case 0x0a0d0d0a:
		return referenceNG(b)
	}
	return nil, false
}

func referencePcap(b []byte, order binary.ByteOrder) (frames []fileFrame, ok bool) {
	if len(b) < 24 || order.Uint16(b[4:]) != 2 || order.Uint16(b[6:]) != 4 || order.Uint32(b[20:])&0xffff != 1 {
		return nil, false
	}
	second := uint32(1e6)
	if order.Uint32(b) == 0xa1b23c4d {
		second = 1e9
	}
	for b = b[24:]; len(b) >= 16; {
		seconds, captured, length := order.Uint32(b), order.Uint32(b[8:]), order.Uint32(b[12:])
		if order.Uint32(b[4:]) >= second {
			return frames, false // a fraction of more than a second: which one is meant?
		}
		if captured > 262144 || captured > length || int(captured) > len(b)-16 {
			return frames, false
		}
		frames = append(frames, newFileFrame(int64(seconds), length, b[16:16+captured]))
		b = b[16+captured:]
	}
	return frames, len(b) == 0
}

// ngInterface is an interface of a section.
type ngInterface struct {
	snaplen uint32
	unit    uint64 // ticks a second
	offset  int64  // seconds
}

func referenceNG(b []byte) (frames []fileFrame, ok bool) {
	var order binary.ByteOrder
	var interfaces []ngInterface
	for len(b) > 0 {
		if len(b) < 12 {
			return frames, false
		}
		if binary.BigEndian.Uint32(b) == 0x0a0d0d0a {
			order, interfaces = binary.LittleEndian, nil
			if binary.BigEndian.Uint32(b[8:]) == 0x1a2b3c4d {
				order = binary.BigEndian
			}
		}
		length := order.Uint32(b[4:])
		if length < 12 || length%4 != 0 || uint64(length) > uint64(len(b)) {
			return frames, false
		}
		kind, body := order.Uint32(b), b[8:length-4]
		known := slices.Contains([]uint32{0x0a0d0d0a, 1, 2, 3, 6}, kind)
		if known && (length > 320<<10 || order.Uint32(b[length-4:]) != length) {
			return frames, false
		}
		b = b[length:]
		switch kind {
		case 0x0a0d0d0a:
			if len(body) < 16 || order.Uint32(body) != 0x1a2b3c4d || order.Uint16(body[4:]) != 1 || order.Uint16(body[6:]) != 0 {
				return frames, false
			}
			if _, ok := ngOptions(body[16:], order); !ok {
				return frames, false
			}
		case 1:
			if len(body) < 8 || order.Uint16(body) != 1 || len(interfaces) == 1000 {
				return frames, false
			}
			options, ok := ngOptions(body[8:], order)
			if !ok {
				return frames, false
			}
			i := ngInterface{snaplen: order.Uint32(body[4:]), unit: 1e6}
			for _, o := range options {
				switch {
				case o.Code == capturetest.TSResol && len(o.Value) > 0:
					if i.unit, ok = ngUnit(o.Value[0]); !ok {
						return frames, false
					}
				case o.Code == capturetest.TSOffset && len(o.Value) >= 8:
					i.offset = int64(order.Uint64(o.Value))
				}
			}
			interfaces = append(interfaces, i)
		case 3:
			if len(body) < 4 || len(interfaces) == 0 {
				return frames, false
			}
			length := order.Uint32(body)
			captured := length
			if s := interfaces[0].snaplen; s != 0 {
				captured = min(captured, s)
			}
			if padded(captured) > uint64(len(body)-4) {
				return frames, false
			}
			frames = append(frames, newFileFrame(0, length, body[4:4+captured]))
		case 2, 6:
			if len(body) < 20 {
				return frames, false
			}
			index := order.Uint32(body)
			if kind == 2 {
				index = uint32(order.Uint16(body))
			}
			captured, length := order.Uint32(body[12:]), order.Uint32(body[16:])
			if uint64(index) >= uint64(len(interfaces)) || padded(captured) > uint64(len(body)-20) {
				return frames, false
			}
			if _, ok := ngOptions(body[20+padded(captured):], order); kind == 6 && !ok {
				return frames, false
			}
			i := interfaces[index]
			ticks := uint64(order.Uint32(body[4:]))<<32 | uint64(order.Uint32(body[8:]))
			frames = append(frames, newFileFrame(int64(ticks/i.unit)+i.offset, length, body[20:20+captured]))
		}
	}
	return frames, order != nil
}

// padded returns a length up to a multiple of four bytes.
func padded(n uint32) uint64 { return (uint64(n) + 3) / 4 * 4 }

// ngUnit returns the ticks a second of a value of if_tsresol.
func ngUnit(v byte) (uint64, bool) {
	if v >= 0x80 {
		return 1 << (v & 0x7f), v&0x7f < 64
	}
	return uint64(math.Pow10(int(v))), v < 20
}

// ngOptions returns the options of a block.
func ngOptions(b []byte, order binary.ByteOrder) (options []capturetest.Option, ok bool) {
	for len(b) > 0 {
		if len(b) < 4 {
			return nil, false
		}
		code, length := order.Uint16(b), order.Uint16(b[2:])
		if code == 0 {
			return options, length == 0
		}
		if padded(uint32(length)) > uint64(len(b)-4) {
			return nil, false
		}
		options = append(options, capturetest.Option{Code: code, Value: b[4 : 4+length]})
		b = b[4+padded(uint32(length)):]
	}
	return options, true
}

// inputs returns well-formed inputs with these frames: in each format, byte order and
// resolution, all with the same times.
func inputs(seconds uint32, frames [][]byte) [][]byte {
	var all [][]byte
	for _, order := range capturetest.Orders {
		for _, nano := range []bool{false, true} {
			all = append(all, capturetest.Pcap{Order: order, Nano: nano}.File(seconds, frames...))
		}
		n := capturetest.NG{Order: order}
		for _, resolution := range []byte{0, 3, 6, 9, 0x80, 0x80 | 20} {
			unit, _ := ngUnit(resolution)
			b := slices.Concat(n.Section(), n.Interface(1, 0, capturetest.Option{Code: capturetest.TSResol, Value: []byte{resolution}}))
			for i, f := range frames {
				ticks := (uint64(seconds)+uint64(i))*unit + unit - 1
				if i%2 == 0 {
					b = append(b, n.Enhanced(0, ticks, f, len(f), capturetest.Option{Code: 1, Value: []byte("comment")})...)
				} else {
					b = append(b, n.Obsolete(0, ticks, f, len(f))...)
				}
				b = append(b, n.Block(0x80000000+uint32(i), f[:len(f)/4*4])...)
			}
			all = append(all, b)
		}
	}
	return all
}
