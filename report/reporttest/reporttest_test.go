package reporttest

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// The schema accepts valid lines, and refuses lines that are almost valid.
func TestSchema(t *testing.T) {
	s, err := Load("../../doc/event.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]bool{
		`{"ip":"10.0.0.5","mac":"02:aa:00:00:00:05","time":1795228118,"event":"NEW","vid":null}`:                                    true,
		`{"ip":"10.0.0.5","mac":"02:aa:00:00:00:05","previous_mac":"02:bb:00:00:00:05","time":1,"event":"MOVED","vid":1}`:           true,
		`{"ip":"10.0.0.5","mac":"02:aa:00:00:00:05","time":0,"event":"REFRESHED","vid":4094,"inner_vid":1,"interface":"eth0"}`:      true,
		`{"ip":"10.0.0.5","mac":"02:aa:00:00:00:05","time":1795228118,"event":"NEW"}`:                                               false,
		`{"ip":"10.0.0.5","mac":"02:aa:00:00:00:05","time":1795228118,"event":"MOVED","vid":null}`:                                  false,
		`{"ip":"10.0.0.5","mac":"02:aa:00:00:00:05","previous_mac":"02:bb:00:00:00:05","time":1,"event":"NEW","vid":null}`:          false,
		`{"ip":"10.0.0.5","mac":"02:aa:00:00:00:05","time":"1795228118","event":"NEW","vid":null}`:                                  false,
		`{"ip":"10.0.0.5","mac":"02:aa:00:00:00:05","time":1.5,"event":"NEW","vid":null}`:                                           false,
		`{"ip":"10.0.0.5","mac":"02:AA:00:00:00:05","time":1,"event":"NEW","vid":null}`:                                             false,
		`{"ip":"10.0.0.5","mac":"02:aa:00:00:00","time":1,"event":"NEW","vid":null}`:                                                false,
		`{"ip":"10.0.0.05","mac":"02:aa:00:00:00:05","time":1,"event":"NEW","vid":null}`:                                            false,
		`{"ip":"10.0.0","mac":"02:aa:00:00:00:05","time":1,"event":"NEW","vid":null}`:                                               false,
		`{"ip":"10.0.0.5","mac":"02:aa:00:00:00:05","time":1,"event":"OLD","vid":null}`:                                             false,
		`{"ip":"10.0.0.5","mac":"02:aa:00:00:00:05","time":1,"event":"NEW","vid":0}`:                                                false,
		`{"ip":"10.0.0.5","mac":"02:aa:00:00:00:05","time":1,"event":"NEW","vid":4095}`:                                             false,
		`{"ip":"10.0.0.5","mac":"02:aa:00:00:00:05","time":1,"event":"NEW","vid":1,"inner_vid":4095}`:                               false,
		`{"ip":"10.0.0.5","mac":"02:aa:00:00:00:05","previous_mac":"02:bb:00:00:00:05","time":1,"event":"MOVED","vid":1,"moves":2}`: true,
		`{"ip":"10.0.0.5","mac":"02:aa:00:00:00:05","previous_mac":"02:bb:00:00:00:05","time":1,"event":"MOVED","vid":1,"moves":1}`: false,
		`{"ip":"10.0.0.5","mac":"02:aa:00:00:00:05","time":1,"event":"NEW","vid":1,"moves":2}`:                                      false,
		`{"ip":"10.0.0.5","mac":"02:aa:00:00:00:05","time":1,"event":"NEW","vid":1,"inner_vid":null}`:                               false,
		`{"ip":"10.0.0.5","mac":"02:aa:00:00:00:05","time":1,"event":"NEW","vid":1,"interface":""}`:                                 false,
		`{"ip":"10.0.0.5","mac":"02:aa:00:00:00:05","time":1,"event":"NEW","vid":null,"hostname":"x"}`:                              false,
		`["10.0.0.5"]`: false,
		`{"ip"`:        false,
	} {
		if err := s.Check([]byte(line)); (err == nil) != want {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// Of all ways to write an address of IPv6, the schema accepts only that of RFC 5952. Each address
// has zeros in another set of its fields.
func TestSchemaIPv6(t *testing.T) {
	s, err := Load("../../doc/event.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	check := func(ip string, want bool) {
		t.Helper()
		line := fmt.Sprintf(`{"ip":"%s","mac":"02:aa:00:00:00:05","time":1,"event":"NEW","vid":null}`, ip)
		if err := s.Check([]byte(line)); (err == nil) != want {
			t.Errorf("%s: %v, want valid: %t", ip, err, want)
		}
	}
	for zeros := range 1 << 8 {
		fields := strings.Split("2001:db8:a:10:100:1000:f:ffff", ":")
		for i := range fields {
			if zeros>>i&1 != 0 {
				fields[i] = "0"
			}
		}
		full := strings.Join(fields, ":")
		want := netip.MustParseAddr(full).String()
		ways := map[string]bool{full: true}
		for from := range fields {
			for to := from + 1; to <= len(fields) && fields[to-1] == "0"; to++ {
				ways[strings.Join(fields[:from], ":")+"::"+strings.Join(fields[to:], ":")] = true
			}
		}
		if !ways[want] {
			t.Fatalf("%s is not among %v", want, ways)
		}
		for way := range ways {
			check(way, way == want)
		}
	}
	for _, ip := range []string{
		"", ":", ":::", "1", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1::2::3", "1:2:3:4:5:6:7::", "::1:2:3:4:5:6:7",
		"2001:DB8::1", "2001:db8::01", "2001:db8::00", "12345::", "g::1", "fe80::1%eth0", "[::1]", "::ffff:10.0.0.5",
		"::10.0.0.5", " 2001:db8::1", "2001:db8::1 ", "2001:db8::1/64",
	} {
		check(ip, false)
	}
}
