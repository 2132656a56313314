package pcapfile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"unicode/utf8"
)

// A FormatError is returned for an input that is neither pcap nor pcapng.
type FormatError struct {
	Looks   string // the format that it resembles; "" if unknown
	Command string // the shell command that writes FILE as a capture; "" if none
}

func (e *FormatError) Error() string {
	if e.Looks == "" {
		return "neither pcap nor pcapng"
	}
	return fmt.Sprintf("neither pcap nor pcapng: it looks like %s", e.Looks)
}

const editcap = "editcap -F pcapng FILE -" // Wireshark's

// lookalikes are other formats that a user may pass instead of a capture, by their first bytes.
var lookalikes = []struct {
	magic string
	FormatError
}{
	{"\x28\xb5\x2f\xfd", FormatError{"zstd", "zstd -dc FILE"}},
	{"\x50\x2a\x4d\x18", FormatError{"zstd", "zstd -dc FILE"}}, // pzstd's
	{"\xfd7zXZ\x00", FormatError{"xz", "xz -dc FILE"}},
	{"BZh", FormatError{"bzip2", "bzip2 -dc FILE"}},
	{"\x04\x22\x4d\x18", FormatError{"lz4", "lz4 -dc FILE"}},
	{"\x1f\x9d", FormatError{"compress(1)", "gzip -dc FILE"}},
	{"\x5d\x00\x00", FormatError{"lzma", "xz -dc FILE"}},
	{"PK\x03\x04", FormatError{"zip", "unzip -p FILE"}},
	{"7z\xbc\xaf\x27\x1c", FormatError{"7z", "7z x -so FILE"}},
	{"\x1f\x8b", FormatError{"gzip within gzip", "gzip -dc FILE"}},
	{"snoop\x00\x00\x00", FormatError{"snoop", editcap}},
	{"GMBU", FormatError{"Network Monitor", editcap}},
	{"RTSS", FormatError{"Network Monitor", editcap}},
	{"TRSNIFF data", FormatError{"Sniffer", editcap}},
	{"XCP\x00", FormatError{"NetXRay", editcap}},
	{"iptrace ", FormatError{"iptrace", editcap}},
	{"\xac\x01\x00\x1c", FormatError{"Ixia's pcap", editcap}},
	{"\xab\x01\x00\x1c", FormatError{"Ixia's pcap", editcap}},
	{"\x1c\x00\x01\xac", FormatError{"Ixia's pcap", editcap}},
	{"\x1c\x00\x01\xab", FormatError{"Ixia's pcap", editcap}},
	{"btsnoop\x00", FormatError{"btsnoop", ""}},
	{"\x0a\x0d\x0d", FormatError{"pcapng converted as text", ""}},
	{"\x7fELF", FormatError{"a program", ""}},
	{"<!", FormatError{"HTML", ""}},
	{"<html", FormatError{"HTML", ""}},
	{"<?xml", FormatError{"XML", ""}},
	{"{\"", FormatError{"JSON", ""}},
	{"#!", FormatError{"a script", ""}},
}

// formatError returns the error for an input that is not a capture. begin has its first bytes, at
// least four.
func formatError(begin []byte) *FormatError {
	for _, l := range lookalikes {
		if bytes.HasPrefix(begin, []byte(l.magic)) {
			return &l.FormatError
		}
	}
	switch begin = begin[:min(len(begin), 512)]; {
	case isERF(begin):
		return &FormatError{"ERF", editcap}
	case isText(begin):
		return &FormatError{"text; tcpdump -w writes a capture", ""}
	}
	return &FormatError{}
}

// isText reports whether all bytes are printable ASCII, UTF-8 or white space.
func isText(b []byte) bool {
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 && len(b) >= utf8.UTFMax || r < ' ' && r != '\n' && r != '\r' && r != '\t' || r == 0x7f {
			return false
		}
		b = b[n:]
	}
	return true
}

// isERF reports whether b can be the beginning of a record in Endace's extensible record format: a
// time from 2000 to 2049 in little-endian, a known type, a length in big-endian. The format has no
// magic number.
func isERF(b []byte) bool {
	if len(b) < 16 {
		return false
	}
	seconds := binary.LittleEndian.Uint32(b[4:])
	kind, length := b[8]&0x7f, binary.BigEndian.Uint16(b[10:])
	return seconds >= 946684800 && seconds < 2524608000 && kind >= 1 && kind <= 27 && length >= 16
}
