package parserproc

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"maas-netmon/internal/cli"
	"maas-netmon/internal/testenv"
	"maas-netmon/parser"
	"maas-netmon/tracker"
)

// The limit on the parser's memory leaves room for a full table of either family, which was copied
// to a larger place just before: the most memory per binding. A process of its own has the limit.
func TestMemoryLimit(t *testing.T) {
	testenv.NotRaced(t)
	family := os.Getenv("PARSERPROC_MEMORY")
	if family == "" {
		for _, family := range []string{"IPv4", "IPv6"} {
			cmd := exec.Command(os.Args[0], "-test.run=^TestMemoryLimit$", "-test.v")
			cmd.Env = append(os.Environ(), "PARSERPROC_MEMORY="+family)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: %v:\n%.2000s", family, err, out)
			}
		}
		return
	}
	const bound = 2<<20 + 1
	ipv6 := family == "IPv6"
	limitGrowth(t, parserMemory(bound, ipv6))
	table, err := tracker.NewTable(tracker.Config{MaxBindings: bound, Refresh: time.Hour, IPv6: ipv6})
	if err != nil {
		t.Fatal(err)
	}
	nd := parser.ND{Type: parser.TypeNeighborAdvertisement, LinkLayer: parser.MAC{2}, HasLinkLayer: true, Target: parser.Addr6{0xfe, 0x80}}
	arp := parser.ARP{Operation: parser.OperationReply, SenderHardware: parser.MAC{2}}
	for n := range uint32(bound) {
		if ipv6 {
			binary.BigEndian.PutUint32(nd.Target[12:], n)
			table.NoteND(0, 0, &nd)
		} else {
			binary.BigEndian.PutUint32(arp.SenderProtocol[:], 10<<24+n)
			table.Note(0, 0, &arp)
		}
	}
	if got := table.Stats(0).Bindings; got != bound {
		t.Errorf("%d bindings, want %d", got, bound)
	}
}

// limitGrowth limits the memory of the process as [sandbox.ConfineParser] does.
func limitGrowth(t *testing.T, growth uint64) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var size, resident, shared, code, unused, data uint64
	if _, err := fmt.Sscan(string(text), &size, &resident, &shared, &code, &unused, &data); err != nil {
		t.Fatal(err)
	}
	page := uint64(os.Getpagesize())
	for resource, value := range map[int]uint64{unix.RLIMIT_AS: size*page + growth, unix.RLIMIT_DATA: data*page + growth} {
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: value, Max: value}); err != nil {
			t.Fatal(err)
		}
	}
}

// The limit grows by what a binding takes, up to the largest bound, and as before without IPv6.
func TestMemoryLimits(t *testing.T) {
	for _, c := range []struct {
		bindings int
		ipv6     bool
		want     uint64
	}{
		{1, false, 256<<20 + 256},
		{1, true, 256<<20 + 320},
		{262144, false, 320 << 20},
		{262144, true, 336 << 20},
		{cli.MaxBindings, false, 256<<20 + 256<<30},
		{cli.MaxBindings, true, 256<<20 + 320<<30},
	} {
		if got := parserMemory(c.bindings, c.ipv6); got != c.want {
			t.Errorf("%d bindings, IPv6 %v: %d, want %d", c.bindings, c.ipv6, got, c.want)
		}
	}
}
