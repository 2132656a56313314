package testenv

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

// recorder is a testing.TB that records failures and skips instead of causing them.
type recorder struct {
	testing.TB
	failed, skipped string
}

func (r *recorder) Helper()                   {}
func (r *recorder) Cleanup(func())            {}
func (r *recorder) Fatalf(f string, a ...any) { r.failed = fmt.Sprintf(f, a...); panic(r) }
func (r *recorder) Skipf(f string, a ...any)  { r.skipped = fmt.Sprintf(f, a...); panic(r) }

// record runs f and returns its result.
func record(f func(testing.TB)) (failed, skipped string) {
	r := &recorder{}
	defer func() {
		if v := recover(); v != nil && v != any(r) {
			panic(v)
		}
		failed, skipped = r.failed, r.skipped
	}()
	f(r)
	return
}

func number3(v int) bool { return v == 3 }

func TestExpectation(t *testing.T) {
	s := NewStream[int]("numbers")
	s.Publish(3) // before the expectation: does not count
	early := s.Expect(number3)
	if early.Met() {
		t.Error("met by what was seen before it")
	}
	twice := s.ExpectN(2, number3)
	not := s.Expect(Not(number3))
	never := s.Expect(And(number3, Not(number3)))
	fence := s.Expect(func(v int) bool { return v == 9 })
	s.Publish(3)
	if !early.Met() || twice.Met() || not.Met() {
		t.Errorf("after one 3: once %v, twice %v, not %v", early.Met(), twice.Met(), not.Met())
	}
	s.Publish(3)
	twice.Await(t)
	s.Publish(9)
	never.NotBefore(t, fence)
	if v := not.Value(t); v != 9 {
		t.Errorf("value %d, want 9", v)
	}
	failed, _ := record(func(tb testing.TB) { early.NotBefore(tb, fence) })
	if !strings.Contains(failed, "seen, not to be: [3 3]") {
		t.Errorf("False of what was seen: %q", failed)
	}
}

func TestExpectationFails(t *testing.T) {
	s := NewStream[int]("numbers")
	e := s.Expect(number3)
	s.Publish(7)
	if e.Wait(time.Millisecond) {
		t.Error("met by something else")
	}
	s.End() // otherwise it would wait for Patience
	failed, _ := record(func(tb testing.TB) { e.Await(tb) })
	if !strings.Contains(failed, "numbers: expected, not seen") || !strings.Contains(failed, "7") {
		t.Errorf("it does not say what was seen: %q", failed)
	}
}

func TestRequire(t *testing.T) {
	const missing = Feature("no such feature")
	for _, c := range []struct {
		env   string
		fails bool
	}{
		{"", false},
		{"all", true},
		{"netns," + string(missing), true},
		{"netns", false},
	} {
		t.Setenv("NETMON_REQUIRE", c.env)
		failed, skipped := record(func(tb testing.TB) { Require(tb, missing) })
		if (failed != "") != c.fails || (skipped != "") == c.fails {
			t.Errorf("NETMON_REQUIRE=%q: failed %q, skipped %q", c.env, failed, skipped)
		}
	}
	// Features that the machines that build the project lack are required by name only.
	if probe(VLAN) != nil {
		t.Setenv("NETMON_REQUIRE", "all")
		if failed, skipped := record(func(tb testing.TB) { Require(tb, VLAN) }); failed != "" || skipped == "" {
			t.Errorf("8021q: failed %q, skipped %q", failed, skipped)
		}
		t.Setenv("NETMON_REQUIRE", "8021q")
		if failed, _ := record(func(tb testing.TB) { Require(tb, VLAN) }); failed == "" {
			t.Error("8021q by name does not fail")
		}
	}
	// So are those that only root has, unless root runs the tests.
	for env, fails := range map[string]bool{"all": probe(Root) == nil, "all,root": true} {
		t.Setenv("NETMON_REQUIRE", env)
		failed, skipped := record(func(tb testing.TB) { Lacks(tb, Root, errors.New("no")) })
		if (failed != "") != fails || (skipped != "") == fails {
			t.Errorf("root, NETMON_REQUIRE=%q: failed %q, skipped %q", env, failed, skipped)
		}
	}
}

func TestFrames(t *testing.T) {
	a, b := Pair(t)
	frames := a.Sniff(t)
	port := b.Port(t)
	tag := Tag{TPID: 0x8100, TCI: 0x6064}
	packet := ARP{SenderMAC: MAC{2, 0, 0, 0, 0, 0xc}, SenderIP: "10.0.0.3", TargetIP: "10.0.0.4", Tags: []Tag{tag}}
	// The kernel strips the tag, and Sniff puts it back.
	seen := frames.Expect(From(packet.SenderMAC), To(Broadcast), Tagged(tag))
	Must(t, port.Send(packet.Bytes()))
	if got := seen.Value(t); string(got.Bytes) != string(packet.Bytes()) || got.Outgoing {
		t.Errorf("got  %v\nwant %x", got, packet.Bytes())
	}
	own := frames.Expect(From(MACA), EtherType(0x0806), func(f Frame) bool { return f.Outgoing })
	Must(t, a.Talk("10.0.0.2"))
	own.Await(t)
}

// Closing a namespace removes its interfaces, and so the other end of a pair too.
func TestNamespaceGoes(t *testing.T) {
	ns := Net(t)
	other, err := NewNamespace()
	Must(t, err)
	_, _, err = Connect(ns, "va", MACA, other, "vb", MACB)
	Must(t, err)
	Must(t, ns.IP("link", "show", "va"))
	Must(t, other.Close())
	deadline := time.Now().Add(Patience)
	for ns.IP("link", "show", "va") == nil {
		if time.Now().After(deadline) {
			t.Fatal("va is still there")
		}
	}
}

func TestParseLine(t *testing.T) {
	good := parseLine(`{"ip":"10.0.0.5","mac":"02:aa:00:00:00:05","time":1,"event":"NEW","vid":100}`)
	if !And(Event("NEW", "10.0.0.5"), VID(100), At(MAC{2, 0xaa, 0, 0, 0, 5}))(good) {
		t.Errorf("%+v", good)
	}
	for _, bad := range []string{"", "{}x", `{"ip":"10.0.0.5","event":"NEW","bogus":1}`, `{"ip":`} {
		if l := parseLine(bad); l.Event != "" {
			t.Errorf("%q is a line: %+v", bad, l)
		}
	}
}

// A program that a test starts has no descriptor of the program that started the tests.
func TestInheritedDescriptors(t *testing.T) {
	const child = "NETMON_TEST_INHERITED"
	if os.Getenv(child) != "" {
		if err := exec.Command("sh", "-c", ": <&3").Run(); err == nil {
			t.Error("descriptor 3 is open in a program that the test starts")
		}
		return
	}
	null, err := os.Open(os.DevNull)
	Must(t, err)
	defer null.Close()
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), child+"=1")
	cmd.ExtraFiles = []*os.File{null}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestAwaitRunning(t *testing.T) {
	a, b := RawPair(t)
	for _, h := range []Host{a, b} {
		Must(t, h.AwaitRunning())
		Must(t, h.Do(func() error {
			i, err := net.InterfaceByName(h.Name)
			if err == nil && i.Flags&net.FlagRunning == 0 {
				t.Errorf("%s: %v", h.Name, i.Flags)
			}
			return err
		}))
	}
}
