package control

import (
	"os"
	"reflect"
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
	}
}
