package fuzz

import (
	"encoding/binary"
	"math"
	"math/big"
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

// newFileFrame cuts the data as pcapfile.File does.
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
	if len(b) < 24 || order.Uint16(b[4:]) != 2 || order.Uint16(b[6:]) != 4 || order.Uint32(b[20:])&0x03ffffff != 1 {
		return nil, false
	}
	snaplen := order.Uint32(b[16:])
	for b = b[24:]; len(b) >= 16; {
		seconds, captured, length := order.Uint32(b), order.Uint32(b[8:]), order.Uint32(b[12:])
		if captured > 262144 || int(captured) > len(b)-16 {
			return frames, false
		}
		kept := captured
		if snaplen != 0 {
			kept = min(kept, snaplen)
		}
		frames = append(frames, newFileFrame(int64(seconds), length, b[16:16+kept]))
		b = b[16+captured:]
	}
	return frames, len(b) == 0
}

// ngInterface is an interface of a section.
type ngInterface struct {
	snaplen uint32
	unit    *big.Int // ticks a second
	offset  int64    // seconds
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
		if known && (length > 16<<20 || order.Uint32(b[length-4:]) != length) {
			return frames, false
		}
		b = b[length:]
		switch kind {
		case 0x0a0d0d0a:
			if len(body) < 16 || order.Uint32(body) != 0x1a2b3c4d || order.Uint16(body[4:]) != 1 || order.Uint16(body[6:])&^2 != 0 {
				return frames, false
			}
		case 1:
			if len(body) < 8 || order.Uint16(body) != 1 || len(interfaces) == 1<<16 {
				return frames, false
			}
			options := ngOptions(body[8:], order)
			i := ngInterface{snaplen: order.Uint32(body[4:]), unit: big.NewInt(1e6)}
			for _, o := range options {
				switch {
				case o.Code == capturetest.TSResol:
					if len(o.Value) != 1 {
						return frames, false
					}
					i.unit = ngUnit(o.Value[0])
				case o.Code == capturetest.TSOffset:
					if len(o.Value) != 8 {
						return frames, false
					}
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
			if uint64(captured) > uint64(len(body)-4) {
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
			if uint64(index) >= uint64(len(interfaces)) || uint64(captured) > uint64(len(body)-20) {
				return frames, false
			}
			i := interfaces[index]
			ticks := uint64(order.Uint32(body[4:]))<<32 | uint64(order.Uint32(body[8:]))
			frames = append(frames, newFileFrame(i.seconds(ticks), length, body[20:20+captured]))
		}
	}
	return frames, order != nil
}

// padded returns a length up to a multiple of four bytes.
func padded(n uint32) uint64 { return (uint64(n) + 3) / 4 * 4 }

// seconds returns the second of a time, the nearest that 64 bits hold.
func (i *ngInterface) seconds(ticks uint64) int64 {
	s := new(big.Int).SetUint64(ticks)
	s.Div(s, i.unit).Add(s, big.NewInt(i.offset))
	if !s.IsInt64() { // only beyond the largest: ticks have no sign
		return math.MaxInt64
	}
	return s.Int64()
}

// ngUnit returns the ticks a second of a value of if_tsresol.
func ngUnit(v byte) *big.Int {
	base := big.NewInt(10)
	if v >= 0x80 {
		base = big.NewInt(2)
	}
	return base.Exp(base, big.NewInt(int64(v&0x7f)), nil)
}

// ngOptions returns the options of a block, up to the first that does not fit.
func ngOptions(b []byte, order binary.ByteOrder) (options []capturetest.Option) {
	for len(b) >= 4 {
		code, length := order.Uint16(b), order.Uint16(b[2:])
		if code == 0 || padded(uint32(length)) > uint64(len(b)-4) {
			break
		}
		options = append(options, capturetest.Option{Code: code, Value: b[4 : 4+length]})
		b = b[4+padded(uint32(length)):]
	}
	return options
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
			unit := ngUnit(resolution).Uint64()
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
