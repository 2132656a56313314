// Package report writes events and packets down, for programs and for people.
//
// It runs in the confined parser process. Each function appends to a buffer of
// the caller's, allocates nothing where the buffer has room, and neither writes nor
// fails: where the bytes go, and what happens if they do not get there, is the
// caller's business. The functions are safe for concurrent use.
//
// What is written consists of numbers, addresses and words of our own. The one
// exception is the name of an interface, which root chose and the LAN cannot;
// it is escaped all the same. No text from a frame exists.
//
// The lines of [AppendJSON] are a promise to other programs; doc/output.md has
// its terms. What [AppendText] and [AppendPacket] write is for people to read.
package report

import (
	"strconv"
	"unicode/utf8"

	"maas-netmon/tracker"
)

// AppendJSON appends an event to dst as a JSON object on one line, its newline
// included, and returns the result. ifname is the name of the interface, or
// empty to leave it out.
//
// A binding outside any VLAN has a vid of null. The key previous_mac is there for
// [tracker.Moved] alone, and inner_vid only where there is a second VLAN.
func AppendJSON(dst []byte, e *tracker.Event, ifname string) []byte {
	dst = append(dst, `{"ip":"`...)
	dst = e.Addr.AppendTo(dst)
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
	return append(dst, '}', '\n')
}

// appendJSONString appends s as a JSON string (RFC 8259 section 7). A byte that
// is not part of valid UTF-8 becomes U+FFFD, as encoding/json has it.
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
