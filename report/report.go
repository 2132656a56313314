// Package report encodes events and packets, for programs and for people.
//
// It runs in the confined parser process. Each function appends to a buffer of the caller and
// allocates nothing if the buffer has room. The package neither writes nor fails: the caller writes
// the bytes and handles errors. The functions are safe for concurrent use.
//
// The output consists of numbers, addresses and fixed words. The one exception is the name of an
// interface, which root chose and the LAN cannot influence; it is escaped nevertheless. No text
// from a frame is printed.
//
// The format of [AppendJSON] is stable for other programs, as described in doc/output.md. The
// output of [AppendText] and [AppendPacket] is for people.
package report

import (
	"net/netip"
	"strconv"
	"unicode/utf8"

	"maas-netmon/parser"
	"maas-netmon/tracker"
)

// AppendJSON appends an event to dst as a JSON object on one line, including its newline, and
// returns the result. ifname is the name of the interface, or empty to omit it.
//
// A binding outside any VLAN has a vid of null. The key previous_mac is present for [tracker.Moved]
// only, moves only for a Moved event that reports more than one move, and inner_vid only if there
// is a second VLAN.
func AppendJSON(dst []byte, e *tracker.Event, ifname string) []byte {
	dst = append(dst, `{"ip":"`...)
	dst = appendAddr(dst, e.Addr)
	dst = append(dst, `","mac":"`...)
	dst = e.MAC.AppendTo(dst)
	if e.Kind == tracker.Moved {
		dst = append(dst, `","previous_mac":"`...)
		dst = e.PreviousMAC.AppendTo(dst)
	}
	dst = append(dst, `","time":`...)
	dst = strconv.AppendInt(dst, e.Time, 10)
	dst = append(dst, `,"event":"`...)
	dst = append(dst, e.Kind.String()...)
	dst = append(dst, `","vid":`...)
	if e.VID == 0 {
		dst = append(dst, "null"...)
	} else {
		dst = strconv.AppendUint(dst, uint64(e.VID), 10)
	}
	if e.InnerVID != 0 {
		dst = append(dst, `,"inner_vid":`...)
		dst = strconv.AppendUint(dst, uint64(e.InnerVID), 10)
	}
	if ifname != "" {
		dst = append(dst, `,"interface":`...)
		dst = appendJSONString(dst, ifname)
	}
	if e.Moves > 1 {
		dst = append(dst, `,"moves":`...)
		dst = strconv.AppendUint(dst, uint64(e.Moves), 10)
	}
	return append(dst, '}', '\n')
}

// appendAddr appends a protocol address: one of IPv4 in dotted-decimal form, one of IPv6 in the
// form of RFC 5952. It does not leave IPv4 to netip, which takes longer.
func appendAddr(dst []byte, a netip.Addr) []byte {
	if a.Is4() {
		return parser.Addr(a.As4()).AppendTo(dst)
	}
	return a.AppendTo(dst)
}

// appendJSONString appends s as a JSON string (RFC 8259 section 7). A byte that is not part of
// valid UTF-8 becomes U+FFFD, as in encoding/json.
func appendJSONString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, r := range s {
		switch {
		case r == '"', r == '\\':
			dst = append(dst, '\\', byte(r))
		case r < ' ':
			dst = append(dst, '\\', 'u', '0', '0', hex[r>>4], hex[r&0xf])
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}
