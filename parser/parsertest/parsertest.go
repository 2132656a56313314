// Package parsertest reads the frames that tests share. It is for tests only.
//
// Each file of parser/testdata/frames describes one frame: a comment, the expected result, and its
// bytes. A file consists of `key: value` lines, and the value of the last key, frame, is everything
// that follows: bytes in hexadecimal, where # begins a comment.
//
//	comment:   what the frame is and why it matters
//	tag:       TPID and TCI that the kernel stripped, in hexadecimal; optional
//	expect:    arp, short, not-arp or unsupported
//	frame:     the bytes
//
// These keys are present if, and only if, an ARP packet is expected:
//
//	ethernet:  source and destination address
//	vid:       VLAN ID, or none
//	inner-vid: second VLAN ID, or none
//	operation: number
//	sender:    hardware and protocol address
//	target:    hardware and protocol address
//	bindings:  protocol and hardware address of each, separated by commas, or none
//	refused:   number of bindings that must be refused
//
// A file with an unknown key, a key given twice or a key missing is an error: a typing error must
// not result in a test that tests nothing.
package parsertest

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"maas-netmon/parser"
)

// Binding is a pair of addresses in a packet.
type Binding struct {
	Addr parser.Addr
	MAC  parser.MAC
}

// Vector is the content of one file.
type Vector struct {
	Name     string // of the file, without directory and extension
	Comment  string
	Frame    []byte
	Tag      parser.Tag
	Err      error      // the expected error of Parse
	ARP      parser.ARP // the expected result of Parse
	Bindings []Binding  // the bindings that package tracker must learn, in this order
	Refused  int        // the number that it must refuse
}

// Parse calls [parser.Parse] with an ARP that still contains another packet, which Parse must
// overwrite completely.
func Parse(frame []byte, tag parser.Tag) (parser.ARP, error) {
	old := parser.MAC{0xde, 0xad, 0xde, 0xad, 0xde, 0xad}
	arp := parser.ARP{
		EthernetDestination: old, EthernetSource: old,
		VID: 4000, InnerVID: 4001, Operation: 4002,
		SenderHardware: old, SenderProtocol: parser.Addr{1, 2, 3, 4},
		TargetHardware: old, TargetProtocol: parser.Addr{5, 6, 7, 8},
	}
	err := parser.Parse(&arp, frame, tag)
	return arp, err
}

// Load reads each vector of a directory, in the order of their names.
func Load(dir string) ([]Vector, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return nil, err
	}
	var vectors []Vector
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		v, err := Read(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		v.Name = strings.TrimSuffix(filepath.Base(path), ".txt")
		vectors = append(vectors, v)
	}
	if len(vectors) == 0 {
		return nil, fmt.Errorf("no vectors in %s", dir)
	}
	return vectors, nil
}

// Read reads the text of one file.
func Read(text string) (Vector, error) {
	keys, err := split(text)
	if err != nil {
		return Vector{}, err
	}
	r := reader{keys: keys}
	v := Vector{Comment: r.take("comment"), Frame: r.bytes("frame")}
	if v.Comment == "" {
		r.fail("comment", errors.New("empty"))
	}
	if _, ok := keys["tag"]; ok {
		b := r.bytes("tag")
		if len(b) != 4 {
			r.fail("tag", fmt.Errorf("%d bytes, not a TPID and a TCI", len(b)))
			b = make([]byte, 4)
		}
		v.Tag = parser.Tag{Present: true, TPID: uint16(b[0])<<8 | uint16(b[1]), TCI: uint16(b[2])<<8 | uint16(b[3])}
	}
	switch expect := r.take("expect"); expect {
	case "arp":
		r.arp(&v)
	case "short":
		v.Err = parser.ErrShort
	case "not-arp":
		v.Err = parser.ErrNotARP
	case "unsupported":
		v.Err = parser.ErrUnsupported
	default:
		r.fail("expect", fmt.Errorf("unknown result %q", expect))
	}
	for key := range r.keys {
		r.fail(key, errors.New("unknown, or not for this result"))
	}
	return v, r.err
}

// split splits a file into its keys and their values.
func split(text string) (map[string]string, error) {
	keys := make(map[string]string)
	lines := strings.SplitAfter(text, "\n")
	for i, line := range lines {
		if strings.TrimSpace(line) == "" {
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("line %d: no key", i+1)
		}
		if _, ok := keys[key]; ok {
			return nil, fmt.Errorf("line %d: %s: given twice", i+1, key)
		}
		if key == "frame" {
			keys[key] = value + strings.Join(lines[i+1:], "")
			break
		}
		keys[key] = strings.TrimSpace(value)
	}
	return keys, nil
}

// reader takes the values of keys and keeps the first error.
type reader struct {
	keys map[string]string
	err  error
}

func (r *reader) fail(key string, err error) {
	if r.err == nil && err != nil {
		r.err = fmt.Errorf("%s: %w", key, err)
	}
}

// take returns the value of a key and removes it.
func (r *reader) take(key string) string {
	value, ok := r.keys[key]
	if !ok {
		r.fail(key, errors.New("missing"))
	}
	delete(r.keys, key)
	return value
}

func (r *reader) arp(v *Vector) {
	v.ARP.VID = r.vid("vid")
	v.ARP.InnerVID = r.vid("inner-vid")
	v.ARP.Operation = uint16(r.number("operation", 16))
	v.Refused = int(r.number("refused", 16))

	if f := r.fields("ethernet"); f != nil {
		v.ARP.EthernetSource = r.mac("ethernet", f[0])
		v.ARP.EthernetDestination = r.mac("ethernet", f[1])
	}
	if f := r.fields("sender"); f != nil {
		v.ARP.SenderHardware = r.mac("sender", f[0])
		v.ARP.SenderProtocol = r.addr("sender", f[1])
	}
	if f := r.fields("target"); f != nil {
		v.ARP.TargetHardware = r.mac("target", f[0])
		v.ARP.TargetProtocol = r.addr("target", f[1])
	}
	bindings := r.take("bindings")
	if bindings == "none" {
		return
	}
	for b := range strings.SplitSeq(bindings, ",") {
		f := strings.Fields(b)
		if len(f) != 2 {
			r.fail("bindings", fmt.Errorf("%q is not two addresses", b))
			return
		}
		v.Bindings = append(v.Bindings, Binding{r.addr("bindings", f[0]), r.mac("bindings", f[1])})
	}
}

// fields returns the two words of a value, or nil.
func (r *reader) fields(key string) []string {
	f := strings.Fields(r.take(key))
	if len(f) != 2 {
		r.fail(key, errors.New("not two words"))
		return nil
	}
	return f
}

func (r *reader) bytes(key string) []byte {
	var digits strings.Builder
	for line := range strings.Lines(r.take(key)) {
		line, _, _ = strings.Cut(line, "#")
		for word := range strings.FieldsSeq(line) {
			digits.WriteString(word)
		}
	}
	b, err := hex.DecodeString(digits.String())
	r.fail(key, err)
	return b
}

func (r *reader) number(key string, bits int) uint64 {
	n, err := strconv.ParseUint(r.take(key), 10, bits)
	r.fail(key, err)
	return n
}

func (r *reader) vid(key string) uint16 {
	if r.keys[key] == "none" {
		r.take(key)
		return 0
	}
	return uint16(r.number(key, 16))
}

func (r *reader) mac(key, s string) parser.MAC {
	m, err := net.ParseMAC(s)
	if err == nil && len(m) != len(parser.MAC{}) {
		err = fmt.Errorf("%q has %d bytes", s, len(m))
	}
	if err != nil {
		r.fail(key, err)
		return parser.MAC{}
	}
	return parser.MAC(m)
}

func (r *reader) addr(key, s string) parser.Addr {
	a, err := netip.ParseAddr(s)
	if err == nil && !a.Is4() {
		err = fmt.Errorf("%q is no IPv4 address", s)
	}
	if err != nil {
		r.fail(key, err)
		return parser.Addr{}
	}
	return a.As4()
}
