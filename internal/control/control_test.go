package control

import (
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"maas-netmon/privsep"

	"maas-netmon/sandbox"
)

// Each counter except those of the monitor passes through a message, in a value of its own.
func TestCountersMessage(t *testing.T) {
	var sent, want Counters
	for i, c := range Table {
		*c.Of(&sent) = uint64(i) + 1<<40
		if !c.Own {
			*c.Of(&want) = uint64(i) + 1<<40
		}
	}
	m := sent.Message(7)
	if got := CountersOf(m); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if m.Index != 7 {
		t.Errorf("index %d", m.Index)
	}
	// The parser cannot set the counters of the monitor, and is not told them.
	for i, c := range Table {
		if c.Own && m.Values[i] != 0 {
			t.Errorf("counter %d is sent", i)
		}
		m.Values[i] = uint64(i) + 1<<40
	}
	if got := CountersOf(m); got != want {
		t.Errorf("all values set: got %+v, want %+v", got, want)
	}
}

// The table has each field once.
func TestTable(t *testing.T) {
	var c Counters
	for i := range Table {
		*Table[i].Of(&c)++
	}
	for i, v := 0, reflect.ValueOf(c); i < v.NumField(); i++ {
		if n := v.Field(i).Uint(); n != 1 {
			t.Errorf("%s is in the table %d times", v.Type().Field(i).Name, n)
		}
	}
}

func TestHelloMessage(t *testing.T) {
	for _, want := range []sandbox.Layers{{}, {Landlock: 7}, {MDWE: true}, {Landlock: 1, MDWE: true}} {
		if got := LayersOf(HelloMessage(want)); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

func TestNameMessage(t *testing.T) {
	for _, name := range []string{"", "a", "eth0", "12345678", "123456789", strings.Repeat("n", MaxName), "caf\xc3\xa9", "\xff\xfe"} {
		m := NameMessage(7, name)
		if got := NameOf(m); got != name || m.Index != 7 || m.Type != privsep.Name {
			t.Errorf("%q: %q in %+v", name, got, m)
		}
	}
}

// The manual page has each counter, with its names and the text of its metric.
func TestManualPage(t *testing.T) {
	page, err := os.ReadFile("../../doc/maas-netmon.8")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n.Sh COUNTERS\n")
	section, _, _ = strings.Cut(section, "\n.El")
	for _, c := range Table {
		if c.Metric == "" {
			continue
		}
		names := []string{c.Metric}
		if c.Name != "" {
			names = []string{c.Name, c.Metric}
		}
		if want := ".It Li " + strings.Join(names, " , ") + "\n" + c.Help; !strings.Contains(section, want+"\n") && !strings.HasSuffix(section, want) {
			t.Errorf("doc/maas-netmon.8, COUNTERS, lacks\n%s", want)
		}
		if want := "\nWith\n.Fl -ipv6 :\n" + c.IPv6Help + "\n"; c.IPv6Help != "" && !strings.Contains(section, c.Help+want) {
			t.Errorf("doc/maas-netmon.8, COUNTERS, lacks\n%s", want)
		}
	}
}

// Without --ipv6 the log has neither the counters nor the help of Neighbor Discovery.
func TestShown(t *testing.T) {
	var c Counters
	for i := range Table {
		*Table[i].Of(&c) = uint64(i)
	}
	names := func(ipv6 bool) (names []string) {
		for _, a := range c.Attrs(ipv6) {
			names = append(names, a.(slog.Attr).Key)
		}
		return names
	}
	want := []string{"frames", "bytes", "dropped", "short", "not_arp", "unsupported", "new", "moved", "refreshed",
		"refused", "ignored", "evicted", "unreported", "bindings", "packets_dropped", "rebound"}
	if got := names(false); !slices.Equal(got, want) {
		t.Errorf("without IPv6: %q, want %q", got, want)
	}
	want = slices.Insert(want, 6, "invalid")
	if got := names(true); !slices.Equal(got, want) {
		t.Errorf("with IPv6: %q, want %q", got, want)
	}
	for _, c := range Table {
		if help := c.HelpFor(false); help != c.Help {
			t.Errorf("%s: %q without IPv6", c.Name, help)
		}
		if help := c.HelpFor(true); c.IPv6Help != "" && help != c.IPv6Help || help == "" && c.Metric != "" {
			t.Errorf("%s: %q with IPv6", c.Name, help)
		}
	}
}
