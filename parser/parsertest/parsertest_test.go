package parsertest_test

import (
	"strings"
	"testing"

	"maas-netmon/parser/parsertest"
)

const good = `comment:   a request
tag:       8100 0064
expect:    arp
ethernet:  02:aa:00:00:00:05 ff:ff:ff:ff:ff:ff
vid:       100
inner-vid: none
operation: 1
sender:    02:aa:00:00:00:05 10.0.0.5
target:    00:00:00:00:00:00 10.0.0.9
bindings:  10.0.0.5 02:aa:00:00:00:05
refused:   0
frame:
ff # remark: with a colon
02aa
`

func TestRead(t *testing.T) {
	v, err := parsertest.Read(good)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(v.Frame), "\xff\x02\xaa"; got != want {
		t.Errorf("frame %q, want %q", got, want)
	}
	if v.Tag.TCI != 100 || v.ARP.VID != 100 || len(v.Bindings) != 1 {
		t.Errorf("read as %+v", v)
	}
}

func TestReadRefuses(t *testing.T) {
	for _, test := range []struct{ name, old, new, want string }{
		{"unknown key", "operation:", "operatoin:", "operation: missing"},
		{"additional key", "expect:", "weather: fine\nexpect:", "weather: unknown"},
		{"key given twice", "vid: ", "expect: arp\nvid: ", "given twice"},
		{"key missing", "sender:    02:aa:00:00:00:05 10.0.0.5\n", "", "sender: missing"},
		{"no comment", "a request", "", "comment: empty"},
		{"no key", "a request", "a request\nover two lines", "no key"},
		{"unknown result", "expect:    arp", "expect:    perhaps", "unknown result"},
		{"packet of a frame that has none", "expect:    arp", "expect:    short", "not for this result"},
		{"no address", "10.0.0.9", "10.0.0.256", "target: "},
		{"IPv6 address", "10.0.0.9", "fe80::1", "no IPv4 address"},
		{"long hardware address", "ff:ff:ff:ff:ff:ff", "ff:ff:ff:ff:ff:ff:ff:ff", "8 bytes"},
		{"one address", "00:00:00:00:00:00 10", "10", "target: not two words"},
		{"half a binding", "bindings:  10.0.0.5", "bindings: ", "bindings: "},
		{"no number", "operation: 1", "operation: one", "operation: "},
		{"half a byte", "02aa", "02a", "frame: "},
		{"half a tag", "8100 0064", "8100", "tag: 2 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if !strings.Contains(good, test.old) {
				t.Fatalf("%q is not in the text", test.old)
			}
			_, err := parsertest.Read(strings.Replace(good, test.old, test.new, 1))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestLoadRefusesEmptyDirectory(t *testing.T) {
	if vs, err := parsertest.Load(t.TempDir()); err == nil {
		t.Errorf("%d vectors and no error", len(vs))
	}
}
