package monitor

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"maas-netmon/linkmon"
)

func TestConditionOf(t *testing.T) {
	for _, c := range []struct {
		link linkmon.Link
		want condition
	}{
		{linkmon.Link{Type: unix.ARPHRD_ETHER}, down},
		{linkmon.Link{Type: unix.ARPHRD_ETHER, Running: true}, down},
		{linkmon.Link{Type: unix.ARPHRD_ETHER, Up: true}, noCarrier},
		{linkmon.Link{Type: unix.ARPHRD_ETHER, Up: true, Running: true}, up},
		{linkmon.Link{Type: unix.ARPHRD_LOOPBACK, Up: true, Running: true}, up},
		{linkmon.Link{Type: unix.ARPHRD_NONE, Up: true, Running: true}, notEthernet},
		{linkmon.Link{Type: unix.ARPHRD_IEEE80211_RADIOTAP}, notEthernet},
	} {
		if got := conditionOf(c.link); got != c.want {
			t.Errorf("%+v: %v, want %v", c.link, got, c.want)
		}
	}
}

// The messages about an interface that changes, with their times.
func TestLinkState(t *testing.T) {
	start := time.Unix(1_000_000, 0)
	type step struct {
		at   time.Duration
		to   condition
		want string // messages and flaps
	}
	const gone, back = "interface is gone, waiting for it", "interface is back"
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"there from the start", []step{{0, up, "interface is there"}, {0, up, ""}}},
		{"there, but down", []step{{0, down, "interface is there; interface is down"}}},
		{"waited for", []step{{0, absent, ""}, {time.Hour, absent, ""}, {time.Hour, noCarrier, "interface is there; interface has no carrier"}}},
		{"down and up", []step{{0, up, "interface is there"}, {1, down, "interface is down"}, {2, down, ""}, {3, up, "interface is up"}}},
		{"carrier lost", []step{{0, up, "interface is there"}, {1, noCarrier, "interface has no carrier"}, {2, up, "interface is up"}}},
		{"deleted and created again", []step{{0, up, "interface is there"}, {1, absent, gone}, {2, up, back}}},
		{"another type and back", []step{{0, up, "interface is there"},
			{1, notEthernet, "interface is not Ethernet: waiting for another"}, {2, down, back + "; interface is down"}}},
		{"never Ethernet", []step{{0, notEthernet, "interface is not Ethernet: waiting for another"}, {1, absent, gone}}},
		{"two names", []step{{0, duplicate, "interface is watched under another name already, waiting"}}},
		{"a burst, then one a minute with their number", []step{
			{0, up, "interface is there"}, {0, down, "interface is down"}, {0, up, "interface is up"}, {0, down, "interface is down"},
			{0, up, "interface is up"}, {0, down, "interface is down"},
			{0, up, ""}, {0, down, ""}, {0, up, ""},
			{59 * time.Second, up, ""},
			{60 * time.Second, up, "interface is up flaps=3"},
			{61 * time.Second, down, ""}, {119 * time.Second, up, ""},
			{120 * time.Second, up, "interface is up flaps=2"},
			{180 * time.Second, down, "interface is down"},
		}},
		{"calm for long: a burst again", []step{
			{0, up, "interface is there"}, {0, down, "interface is down"}, {0, up, "interface is up"}, {0, down, "interface is down"},
			{0, up, "interface is up"}, {0, down, "interface is down"}, {0, up, ""},
			{time.Hour, down, "interface is down flaps=2"}, {time.Hour, up, "interface is up"}, {time.Hour, down, "interface is down"},
			{time.Hour, up, "interface is up"}, {time.Hour, down, "interface is down"}, {time.Hour, up, "interface is up"}, {time.Hour, down, ""},
		}},
	} {
		var s linkState
		for i, step := range c.steps {
			messages, flaps := s.next(step.to, start.Add(step.at))
			var got []string
			for _, m := range messages {
				got = append(got, m.text)
			}
			text := strings.Join(got, "; ")
			if flaps > 0 {
				text += fmt.Sprintf(" flaps=%d", flaps)
			}
			if text != step.want {
				t.Errorf("%s, step %d (%v, %v): %q, want %q", c.name, i+1, step.at, step.to, text, step.want)
			}
		}
	}
}

// A link that flaps any number of times gives few lines, and the last one has its condition.
func TestManyFlaps(t *testing.T) {
	var s linkState
	now, lines, flaps := time.Unix(1_000_000, 0), 0, uint64(0)
	for i := range 40_000 { // in ten seconds
		messages, n := s.next([]condition{up, noCarrier}[i%2], now.Add(time.Duration(i)*250*time.Microsecond))
		lines += len(messages)
		flaps += max(n, uint64(len(messages)))
	}
	if lines > reportBurst {
		t.Errorf("%d lines", lines)
	}
	messages, n := s.report(now.Add(2 * reportInterval))
	if len(messages) != 1 || messages[0].text != "interface has no carrier" || flaps+n != 40_000 {
		t.Errorf("at last: %v, %d flaps of 40000", messages, flaps+n)
	}
}

// --match selects Ethernet interfaces by each of their names, and nothing else.
func TestMatchedName(t *testing.T) {
	ethernet := func(name string, alt ...string) linkmon.Link {
		return linkmon.Link{Name: name, Alt: alt, Type: unix.ARPHRD_ETHER}
	}
	gone := ethernet("eth0")
	gone.Gone = true
	for _, c := range []struct {
		link     linkmon.Link
		patterns []string
		want     string
	}{
		{ethernet("eth0"), []string{"*"}, "eth0"},
		{ethernet("eth0"), []string{"wlan*", "eth?"}, "eth0"},
		{ethernet("eth10"), []string{"eth?"}, ""},
		{ethernet("eth0", "uplink"), []string{"up*"}, "uplink"},
		{ethernet("eth0", "uplink"), []string{"*"}, "eth0"},
		{ethernet("eth0"), nil, ""},
		{gone, []string{"*"}, ""},
		{linkmon.Link{Name: "lo", Type: unix.ARPHRD_LOOPBACK}, []string{"*"}, ""},
		{linkmon.Link{Name: "tun0", Type: unix.ARPHRD_NONE}, []string{"*"}, ""},
	} {
		if got := matchedName(c.patterns, c.link); got != c.want {
			t.Errorf("%v of %+v: %q, want %q", c.patterns, c.link, got, c.want)
		}
	}
}
