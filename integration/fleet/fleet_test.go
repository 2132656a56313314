package fleet

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"maas-netmon/internal/testenv"
)

const (
	stream  = "NETMON"
	subject = "netmon.rack1.va"
)

// messageID returns the ID of the n-th line that this publisher has read.
func messageID(n int) string { return fmt.Sprintf("rack1/va/1/%d", n) }

// publish stores a line in the engine. It returns when the engine has acknowledged the line.
func publish(ctx context.Context, js jetstream.JetStream, line []byte, id string) (*jetstream.PubAck, error) {
	for {
		attempt, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		ack, err := js.Publish(attempt, subject, line, jetstream.WithMsgID(id))
		cancel()
		if err == nil || ctx.Err() != nil {
			return ack, err
		}
	}
}

// ship publishes each line of r, one after the other: the next is not read before the
// engine has this one.
func ship(ctx context.Context, r io.Reader, js jetstream.JetStream) error {
	lines := bufio.NewReader(r)
	for n := 1; ; n++ {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := publish(ctx, js, line[:len(line)-1], messageID(n)); err != nil {
			return err
		}
	}
}

// A fleet is one host: the program, the shipper of its lines, and the engine.
type fleet struct {
	engine  engine
	js      jetstream.JetStream
	program *testenv.Program
	port    *testenv.Port // frames go in here
	shipped chan error
	sent    int
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	testenv.Require(t, testenv.Netns)
	f := &fleet{engine: engine{dir: t.TempDir(), port: "-1"}, shipped: make(chan error, 1)}
	f.engine.start(t)
	f.js = f.engine.connect(t)
	_, err := f.js.CreateStream(deadline(t, testenv.Patience), jetstream.StreamConfig{
		Name: stream, Subjects: []string{"netmon.>"}, Storage: jetstream.FileStorage, Duplicates: time.Hour,
	})
	testenv.Must(t, err)

	a, b := testenv.RawPair(t)
	r, w, err := os.Pipe()
	testenv.Must(t, err)
	f.program = testenv.Watch(t, a.Namespace, testenv.Options{Stdout: w}, a.Name)
	testenv.Must(t, w.Close())
	f.port = b.Port(t)
	shipper := f.engine.connect(t)
	go func() {
		f.shipped <- ship(t.Context(), r, shipper)
		r.Close()
	}()
	return f
}

// address returns the i-th of many addresses.
func address(i int) string { return fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&0xff, i&0xff) }

// send sends n frames, each of another host.
func (f *fleet) send(t *testing.T, n int) {
	t.Helper()
	for range n {
		f.sent++
		frame := testenv.ARP{SenderMAC: testenv.MAC{2, 0, 0, 0, 0, 0xc}, SenderIP: address(f.sent), TargetIP: "10.255.0.1"}
		testenv.Must(t, f.port.Send(frame.Bytes()))
	}
}

// state returns the engine's state of the stream.
func (f *fleet) state(t *testing.T) jetstream.StreamState {
	t.Helper()
	s, err := f.js.Stream(deadline(t, testenv.Patience), stream)
	testenv.Must(t, err)
	return s.CachedInfo().State
}

// await waits until the engine has n lines.
func (f *fleet) await(t *testing.T, n uint64) {
	t.Helper()
	f.awaitThat(t, fmt.Sprintf("%d lines", n), func() bool { return f.state(t).Msgs >= n })
}

// awaitLast waits until the engine's last line is that of the last frame.
func (f *fleet) awaitLast(t *testing.T) {
	t.Helper()
	s, err := f.js.Stream(deadline(t, testenv.Patience), stream)
	testenv.Must(t, err)
	f.awaitThat(t, "the line of "+address(f.sent), func() bool {
		last, err := s.GetLastMsgForSubject(deadline(t, testenv.Patience), subject)
		return err == nil && addressOf(t, last.Data) == address(f.sent)
	})
}

// awaitThat waits for a condition, with patience as long as lines come in.
func (f *fleet) awaitThat(t *testing.T, what string, holds func() bool) {
	t.Helper()
	had, since := f.state(t).Msgs, time.Now()
	for !holds() {
		if n := f.state(t).Msgs; n != had {
			had, since = n, time.Now()
		}
		if time.Since(since) > testenv.Patience {
			t.Fatalf("the engine has %d lines, want %s", had, what)
		}
	}
}

// addressOf returns the address in a line.
func addressOf(t *testing.T, raw []byte) string {
	t.Helper()
	var line testenv.Line
	if err := json.Unmarshal(raw, &line); err != nil || line.Event != "NEW" {
		t.Errorf("%s: %v", raw, err)
	}
	return line.IP
}

// stop ends the program and waits until all its lines are shipped.
func (f *fleet) stop(t *testing.T) {
	t.Helper()
	f.program.Signal(t, syscall.SIGTERM)
	if status := f.program.Exit(t); status != 0 {
		t.Errorf("exit status %d", status)
	}
	select {
	case err := <-f.shipped:
		testenv.Must(t, err)
	case <-time.After(testenv.Patience):
		t.Fatal("not all is shipped")
	}
}

// lines returns the address of each line in the engine, in order.
func (f *fleet) lines(t *testing.T) []string {
	t.Helper()
	c, err := f.js.OrderedConsumer(deadline(t, testenv.Patience), stream, jetstream.OrderedConsumerConfig{})
	testenv.Must(t, err)
	var all []string
	for n := int(f.state(t).Msgs); len(all) < n; {
		batch, err := c.Fetch(n-len(all), jetstream.FetchMaxWait(testenv.Patience))
		testenv.Must(t, err)
		before := len(all)
		for m := range batch.Messages() {
			all = append(all, addressOf(t, m.Data()))
		}
		testenv.Must(t, batch.Error())
		if len(all) == before {
			t.Fatalf("%d lines are delivered, want %d", len(all), n)
		}
	}
	return all
}

// The engine is killed three times while lines come in. In the end it has each line once, in order.
func TestEngineIsKilled(t *testing.T) {
	f := newFleet(t)
	for range 3 {
		before := f.state(t).Msgs
		f.send(t, 500)
		f.await(t, before+100) // in the middle of it
		f.engine.kill(t)
		f.send(t, 1000) // more than the pipe holds: bindings wait in the table
		f.engine.start(t)
		// The new engine recognizes a line that was stored before the kill.
		ack, err := publish(t.Context(), f.js, []byte("{}"), messageID(1))
		testenv.Must(t, err)
		if !ack.Duplicate {
			t.Error("a line that was kept is kept again")
		}
		f.awaitLast(t)
	}
	f.stop(t)
	var want []string
	for i := range f.sent {
		want = append(want, address(i+1))
	}
	if diff := cmp.Diff(want, f.lines(t)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

var dropped = regexp.MustCompile(`msg=counters interface=va frames=\d+ bytes=\d+ dropped=(\d+)`)

// While the engine is away, lines wait in the pipe and then in the table of bindings: more than the
// pipe and the ring hold. Each frame gives a line in the end, or is counted as dropped.
func TestEngineIsAway(t *testing.T) {
	f := newFleet(t)
	f.send(t, 1)
	f.awaitLast(t)
	f.engine.kill(t)
	f.send(t, 30_000) // the ring has 10,240 slots
	f.engine.start(t)
	f.await(t, 1000) // there is room again
	f.send(t, 1)
	f.awaitLast(t)
	f.stop(t)

	got := f.lines(t)
	if !slices.IsSortedFunc(got, ascending) || len(slices.Compact(slices.Clone(got))) != len(got) {
		t.Error("the lines are not each once, in order")
	}
	lost := 0
	for _, l := range f.program.Log.WaitEnd(t) {
		if m := dropped.FindStringSubmatch(l); m != nil {
			lost, _ = strconv.Atoi(m[1])
		}
	}
	t.Logf("%d frames, %d lines, %d dropped", f.sent, len(got), lost)
	if len(got) < 20_000 || len(got)+lost != f.sent {
		t.Errorf("%d frames, but %d lines and %d dropped", f.sent, len(got), lost)
	}
}

// ascending compares two addresses.
func ascending(a, b string) int { return netip.MustParseAddr(a).Compare(netip.MustParseAddr(b)) }
