package fuzz

import (
	"encoding/binary"
	"math"
	"math/big"
	"slices"

	"maas-netmon/capture"
	"maas-netmon/capture/capturetest"
)

// fileFrame has the parts of a frame from a pcap or pcapng input that the targets compare.
type fileFrame struct {
	seconds int64
	length  int
	data    string
}

// newFileFrame truncates the data like pcapfile.File.
func newFileFrame(seconds int64, length uint32, data []byte) fileFrame {
	return fileFrame{seconds, int(length), string(data[:min(len(data), capture.Snaplen)])}
}

// referenceFile reads a complete input, in simple steps and without a limit on memory. It reports
// whether the input is well-formed to its end; if not, the frames are those before the first error.
// usual is true if all readers agree about the times.
func referenceFile(b []byte) (frames []fileFrame, ok, usual bool) {
	if len(b) < 4 {
		return nil, false, false
	}
	switch binary.BigEndian.Uint32(b) {
	case 0xa1b2c3d4:
		return referencePcap(b, binary.BigEndian, 1e6)
	case 0xa1b23c4d:
		return referencePcap(b, binary.BigEndian, 1e9)
	case 0xd4c3b2a1:
		return referencePcap(b, binary.LittleEndian, 1e6)
	case 0x4d3cb2a1:
		return referencePcap(b, binary.LittleEndian, 1e9)
	case 0x0a0d0d0a:
		return referenceNG(b)
	}
	return nil, false, false
}

// Link types that are read.
const (
	linkEthernet = capturetest.LinkTypeEthernet
	linkSLL      = 113
	linkSLL2     = 276
)

// referenceEthernet converts a frame of any link type to an Ethernet frame, and reports whether
// that is possible. A frame that is too short for its header becomes an empty frame.
func referenceEthernet(linkType uint32, b []byte) ([]byte, bool) {
	var arphrd uint16
	var addrLen byte
	var addr, protocol, rest []byte
	switch {
	case linkType == linkEthernet:
		return b, true
	case linkType == linkSLL && len(b) < 16, linkType == linkSLL2 && len(b) < 20:
		return nil, true
	case linkType == linkSLL:
		arphrd, addrLen, addr, protocol, rest = binary.BigEndian.Uint16(b[2:]), b[5], b[6:12], b[14:16], b[16:]
	case linkType == linkSLL2:
		arphrd, addrLen, addr, protocol, rest = binary.BigEndian.Uint16(b[8:]), b[11], b[12:18], b[:2], b[20:]
	default:
		return nil, false
	}
	if arphrd != 1 && arphrd != 772 || addrLen != 6 {
		return nil, false
	}
	return slices.Concat(make([]byte, 6), addr, protocol, rest), true
}

func referencePcap(b []byte, order binary.ByteOrder, unit uint32) (frames []fileFrame, ok, usual bool) {
	if len(b) < 24 || order.Uint16(b[4:]) != 2 || order.Uint16(b[6:]) != 4 {
		return nil, false, false
	}
	linkType := order.Uint32(b[20:]) & 0x03ffffff
	if !slices.Contains([]uint32{linkEthernet, linkSLL, linkSLL2}, linkType) {
		return nil, false, false
	}
	snaplen := order.Uint32(b[16:])
	usual = true
	for b = b[24:]; len(b) >= 16; {
		seconds, captured, length := order.Uint32(b), order.Uint32(b[8:]), order.Uint32(b[12:])
		if captured > 262144 || int(captured) > len(b)-16 {
			return frames, false, usual
		}
		usual = usual && order.Uint32(b[4:]) < unit
		kept := captured
		if snaplen != 0 {
			kept = min(kept, snaplen)
		}
		if frame, ok := referenceEthernet(linkType, b[16:16+kept]); ok {
			frames = append(frames, newFileFrame(int64(seconds), length, frame))
		}
		b = b[16+captured:]
	}
	return frames, len(b) == 0, usual
}

// ngInterface is an interface of a section.
type ngInterface struct {
	linkType uint32
	snaplen  uint32
	unit     *big.Int // ticks per second
	offset   int64    // seconds
}

func referenceNG(b []byte) (frames []fileFrame, ok, usual bool) {
	var order binary.ByteOrder
	var interfaces []ngInterface
	var readable, other bool
	usual = true
	lost := func() ([]fileFrame, bool, bool) { return frames, false, usual }
	for len(b) > 0 {
		if len(b) < 12 {
			return lost()
		}
		if binary.BigEndian.Uint32(b) == 0x0a0d0d0a {
			order, interfaces = binary.LittleEndian, nil
			if binary.BigEndian.Uint32(b[8:]) == 0x1a2b3c4d {
				order = binary.BigEndian
			}
		}
		first := order.Uint32(b[4:])
		length := padded(first)
		if first < 12 || length > uint64(len(b)) || padded(order.Uint32(b[length-4:])) != length {
			return lost()
		}
		kind, body := order.Uint32(b), b[8:length-4]
		if slices.Contains([]uint32{0x0a0d0d0a, 1, 2, 3, 6}, kind) && length > 16<<20 {
			return lost()
		}
		b = b[length:]
		switch kind {
		case 0x0a0d0d0a:
			if len(body) < 16 || order.Uint32(body) != 0x1a2b3c4d || order.Uint16(body[4:]) != 1 || order.Uint16(body[6:])&^2 != 0 {
				return lost()
			}
		case 1:
			if len(body) < 8 || len(interfaces) == 1<<16 {
				return lost()
			}
			i := ngInterface{linkType: uint32(order.Uint16(body)), snaplen: order.Uint32(body[4:]), unit: big.NewInt(1e6)}
			if _, ok := referenceEthernet(i.linkType, nil); !ok {
				other = true
			} else if readable = true; !i.options(body[8:], order, &usual) {
				return lost()
			}
			interfaces = append(interfaces, i)
		case 3:
			if len(body) < 4 || len(interfaces) == 0 {
				return lost()
			}
			length := order.Uint32(body)
			captured := length
			if s := interfaces[0].snaplen; s != 0 {
				captured = min(captured, s)
			}
			if uint64(captured) > uint64(len(body)-4) {
				return lost()
			}
			if frame, ok := referenceEthernet(interfaces[0].linkType, body[4:4+captured]); ok {
				frames = append(frames, newFileFrame(0, length, frame))
			}
		case 2, 6:
			if len(body) < 20 {
				return lost()
			}
			index := order.Uint32(body)
			if kind == 2 {
				index = uint32(order.Uint16(body))
			}
			captured, length := order.Uint32(body[12:]), order.Uint32(body[16:])
			if uint64(index) >= uint64(len(interfaces)) || uint64(captured) > uint64(len(body)-20) {
				return lost()
			}
			i := interfaces[index]
			ticks := uint64(order.Uint32(body[4:]))<<32 | uint64(order.Uint32(body[8:]))
			if frame, ok := referenceEthernet(i.linkType, body[20:20+captured]); ok {
				seconds := i.seconds(ticks)
				usual = usual && fits40(seconds)
				frames = append(frames, newFileFrame(seconds, length, frame))
			}
		}
	}
	return frames, order != nil && (readable || !other), usual
}

// options applies the options about the interface's times. It reports false for options that do not
// fit, and usual is false for times about which readers disagree.
func (i *ngInterface) options(b []byte, order binary.ByteOrder, usual *bool) bool {
	options, ok := ngOptions(b, order)
	seen := map[uint16]bool{}
	for _, o := range options {
		want := map[uint16]int{capturetest.TSResol: 1, capturetest.TSOffset: 8}[o.Code]
		switch {
		case want == 0:
			continue
		case len(o.Value) != want:
			return false
		case seen[o.Code]:
			*usual = false
			continue
		case o.Code == capturetest.TSResol:
			i.unit = ngUnit(o.Value[0])
			v := o.Value[0]
			*usual = *usual && (v > 0 && v < 20 || v >= 0x80 && v < 0x80|30)
		case o.Code == capturetest.TSOffset:
			i.offset = int64(order.Uint64(o.Value))
			*usual = *usual && fits40(i.offset)
		}
		seen[o.Code] = true
	}
	return ok
}

// padded rounds a length up to a multiple of four bytes.
func padded(n uint32) uint64 { return (uint64(n) + 3) / 4 * 4 }

// fits40 reports whether a number fits into 40 bits and a sign: 35,000 years in seconds.
func fits40(n int64) bool { return n>>40 == n>>63 }

// seconds converts a time to seconds, limited to 64 bits.
func (i *ngInterface) seconds(ticks uint64) int64 {
	s := new(big.Int).SetUint64(ticks)
	s.Div(s, i.unit).Add(s, big.NewInt(i.offset))
	if !s.IsInt64() { // only too large: ticks have no sign
		return math.MaxInt64
	}
	return s.Int64()
}

// ngUnit returns the ticks per second of a value of if_tsresol.
func ngUnit(v byte) *big.Int {
	base := big.NewInt(10)
	if v >= 0x80 {
		base = big.NewInt(2)
	}
	return base.Exp(base, big.NewInt(int64(v&0x7f)), nil)
}

// ngOptions returns the options of a block up to the first that does not fit, and reports whether
// all fit.
func ngOptions(b []byte, order binary.ByteOrder) (options []capturetest.Option, ok bool) {
	for len(b) >= 4 {
		code, length := order.Uint16(b), order.Uint16(b[2:])
		if code == 0 {
			return options, true
		}
		if padded(uint32(length)) > uint64(len(b)-4) {
			return options, false
		}
		options = append(options, capturetest.Option{Code: code, Value: b[4 : 4+length]})
		b = b[4+padded(uint32(length)):]
	}
	return options, true
}

// inputs returns well-formed inputs with these frames, one per format, byte order and resolution,
// all with the same times.
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
