//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Liar is maas-netmon with a compromised parser, for integration's tests. The monitor is as in the
// shipped program, and so are the stages of the parser's start; after one of them the parser lies.
// The name of the interface, or of the input, selects the lie.
package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"maas-netmon/internal/app"
	"maas-netmon/internal/cli"
	"maas-netmon/internal/parserproc"
	"maas-netmon/privsep"
	"maas-netmon/sandbox"
)

// A liar is the compromised parser.
type liar struct {
	conn *privsep.Conn
}

// A lie happens after a stage; the liar then waits to be killed.
type lie struct {
	when parserproc.Stage
	tell func(*liar)
}

var lies = map[string]lie{
	"silent":      {parserproc.Started, func(*liar) {}},
	"silent-late": {parserproc.Greeted, func(*liar) {}},
	"exit":        {parserproc.Started, func(*liar) { os.Exit(0) }},
	"exit-late":   {parserproc.Reading, func(*liar) { os.Exit(0) }},
	"exit-usage":  {parserproc.Reading, func(*liar) { os.Exit(cli.ExitUsage) }},
	"exit-99":     {parserproc.Reading, func(*liar) { os.Exit(99) }},

	// Not confined.
	"unconfined": {parserproc.Started, (*liar).greet},
	"hidden": {parserproc.Started, func(l *liar) {
		_ = sandbox.SetUndumpable()
		_ = sandbox.Drop()
		l.greet()
	}},

	// Confined, except that other processes of the user can access it.
	"dumpable": {parserproc.Started, func(l *liar) {
		if err := confineButDumpable(); err != nil {
			fmt.Fprintln(os.Stderr, "maas-netmon: liar:", err)
		}
		l.greet()
	}},

	// Not answering, in several ways.
	"no-answer":    {parserproc.Reading, func(l *liar) { l.answers(func(privsep.Message) bool { return false }) }},
	"first-answer": {parserproc.Reading, func(l *liar) { l.answers(func(m privsep.Message) bool { return m.Index == 0 }) }},
	"blind":        {parserproc.Reading, (*liar).answerBlindly},

	// Closed socket, but still running.
	"shutdown-late": {parserproc.Reading, func(l *liar) { _ = l.conn.CloseWrite() }},
	"close":         {parserproc.Started, func(l *liar) { _ = l.conn.Close() }},
	"shutdown":      {parserproc.Started, func(l *liar) { _ = l.conn.CloseWrite() }},
	"close-late":    {parserproc.Reading, func(l *liar) { _ = l.conn.Close() }},
	"empty":         {parserproc.Confined, func(l *liar) { l.write() }},

	// Malformed messages.
	"short":      {parserproc.Confined, func(l *liar) { l.write(hello()[:privsep.MessageLen-1]...) }},
	"byte":       {parserproc.Confined, func(l *liar) { l.write(1) }},
	"long":       {parserproc.Confined, func(l *liar) { l.write(append(hello(), 0)...) }},
	"very-long":  {parserproc.Confined, func(l *liar) { l.write(make([]byte, 100<<10)...) }},
	"version":    {parserproc.Confined, func(l *liar) { l.write(altered(0, 2)...) }},
	"type-0":     {parserproc.Confined, func(l *liar) { l.write(altered(1, 0)...) }},
	"type-99":    {parserproc.Confined, func(l *liar) { l.write(altered(1, 99)...) }},
	"reserved":   {parserproc.Confined, func(l *liar) { l.write(altered(7, 1)...) }},
	"short-late": {parserproc.Reading, func(l *liar) { l.write(hello()[:8]...) }},
	"long-late":  {parserproc.Reading, func(l *liar) { l.write(append(hello(), 0)...) }},

	// Messages at the wrong time, or that only the monitor may send.
	"ready-first":  {parserproc.Confined, func(l *liar) { l.send(privsep.Message{Type: privsep.Ready}) }},
	"pong-first":   {parserproc.Confined, func(l *liar) { l.send(privsep.Message{Type: privsep.Pong}) }},
	"stop-first":   {parserproc.Confined, func(l *liar) { l.send(privsep.Message{Type: privsep.Stop}) }},
	"socket-first": {parserproc.Confined, func(l *liar) { l.send(privsep.Message{Type: privsep.Socket}) }},
	"hello-twice":  {parserproc.Greeted, func(l *liar) { l.send(privsep.Message{Type: privsep.Hello}) }},
	"hello-late":   {parserproc.Reading, func(l *liar) { l.send(privsep.Message{Type: privsep.Hello}) }},
	"ready-twice":  {parserproc.Reading, func(l *liar) { l.send(privsep.Message{Type: privsep.Ready}) }},
	"ping-back":    {parserproc.Reading, func(l *liar) { l.send(privsep.Message{Type: privsep.Ping}) }},
	"end-and-stay": {parserproc.Reading, func(l *liar) {
		l.send(privsep.Message{Type: privsep.End})
		l.answers(func(privsep.Message) bool { return true })
	}},
	"end-of-what":  {parserproc.Reading, func(l *liar) { l.send(privsep.Message{Type: privsep.End}) }}, // no input
	"pong-unasked": {parserproc.Reading, func(l *liar) { l.send(privsep.Message{Type: privsep.Pong}) }},
	"pong-index":   {parserproc.Reading, func(l *liar) { l.answer(privsep.Message{Type: privsep.Pong, Index: 1}) }},
	"pong-far":     {parserproc.Reading, func(l *liar) { l.answer(privsep.Message{Type: privsep.Pong, Index: 0xffff}) }},
	"pong-twice": {parserproc.Reading, func(l *liar) {
		l.answer(privsep.Message{Type: privsep.Pong})
		l.send(privsep.Message{Type: privsep.Pong})
	}},
	"flood":       {parserproc.Reading, func(l *liar) { l.flood(privsep.Message{Type: privsep.Pong}) }},
	"flood-early": {parserproc.Confined, func(l *liar) { l.flood(privsep.Message{Type: privsep.Hello}) }},

	// Impossible numbers: the monitor may print them, and do nothing else with them.
	"pong-numbers": {parserproc.Reading, func(l *liar) {
		m := privsep.Message{Type: privsep.Pong}
		for i := range m.Values {
			m.Values[i] = ^uint64(i)
		}
		l.answer(m)
		os.Exit(0)
	}},

	// Descriptors, which no message from the parser may carry. A confined parser cannot call
	// sendmsg at all.
	"descriptor":      {parserproc.Started, func(l *liar) { l.sendFDs(hello(), 1) }},
	"descriptors":     {parserproc.Started, func(l *liar) { l.sendFDs(hello(), 250) }},
	"descriptor-late": {parserproc.Reading, func(l *liar) { l.sendFDs(hello(), 1) }},
}

func main() { os.Exit(app.Main(os.Args[1:], app.Hooks{Parser: lieAfter})) }

// lieAfter performs the lie with the name of the interface or input, if it belongs to this stage.
// For any other name the parser is honest.
func lieAfter(stage parserproc.Stage, h parserproc.Handles) {
	name := filepath.Base(h.Options.Input)
	if h.Options.Input == "" {
		name = h.Options.Interfaces[0]
	}
	x, ok := lies[name]
	if seed, err := strconv.ParseUint(strings.TrimPrefix(name, "random"), 10, 64); err == nil {
		x, ok = randomLie(seed), true
	}
	if !ok || stage != x.when {
		return
	}
	x.tell(&liar{h.Conn})
	for {
		_ = unix.Nanosleep(&unix.Timespec{Sec: 3600}, nil)
	}
}

func (l *liar) send(m privsep.Message) { l.write(m.Encode()...) }

func (l *liar) write(b ...byte) {
	// An empty slice has no address, and an empty message needs none.
	_, _ = unix.Write(l.conn.FD(), b)
}

// greet sends Hello, and reports if the monitor then sends a socket.
func (l *liar) greet() {
	l.send(privsep.Message{Type: privsep.Hello})
	if _, _, err := l.conn.ReceiveFD(-1); err == nil {
		fmt.Fprintln(os.Stderr, "maas-netmon: an unconfined parser was given a socket")
	}
}

// answer waits for a question about the counters.
func (l *liar) answer(m privsep.Message) {
	for {
		asked, err := l.conn.Receive(-1)
		if err != nil {
			return
		}
		if asked.Type == privsep.Ping {
			l.send(m)
			return
		}
	}
}

// answers reads every question, and answers some of them.
func (l *liar) answers(some func(privsep.Message) bool) {
	for {
		asked, err := l.conn.Receive(-1)
		if err != nil {
			return
		}
		if asked.Type == privsep.Ping && some(asked) {
			l.send(privsep.Message{Type: privsep.Pong, Index: asked.Index})
		}
	}
}

// answerBlindly answers whenever a question is queued, but does not read it: the socket fills up.
func (l *liar) answerBlindly() {
	for {
		polls := []unix.PollFd{{Fd: int32(l.conn.FD()), Events: unix.POLLIN}}
		if _, err := unix.Ppoll(polls, nil, nil); err != nil {
			continue
		}
		l.send(privsep.Message{Type: privsep.Pong})
		_ = unix.Nanosleep(&unix.Timespec{Nsec: int64(50 * time.Millisecond)}, nil) // next question
	}
}

// confineButDumpable confines the process so that /proc/PID/status and its limits are correct.
func confineButDumpable() error {
	var errs []error
	for resource, limit := range map[int]uint64{unix.RLIMIT_CORE: 0, unix.RLIMIT_MEMLOCK: 0, unix.RLIMIT_AS: 4 << 30, unix.RLIMIT_DATA: 4 << 30} {
		errs = append(errs, unix.Setrlimit(resource, &unix.Rlimit{Cur: limit, Max: limit}))
	}
	filter := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}
	prog := unix.SockFprog{Len: 1, Filter: &filter}
	errs = append(errs, sandbox.Drop())
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, 1, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog))); errno != 0 {
		errs = append(errs, errno)
	}
	return errors.Join(append(errs, unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0))...)
}

// flood sends messages without end.
func (l *liar) flood(m privsep.Message) {
	for {
		if err := l.conn.Send(m); err != nil {
			time.Sleep(time.Millisecond) // the socket is full
		}
	}
}

// sendFDs sends a message with descriptors.
func (l *liar) sendFDs(b []byte, n int) {
	_ = unix.Sendmsg(l.conn.FD(), b, unix.UnixRights(slices.Repeat([]int{unix.Stderr}, n)...), nil, 0)
}

func hello() []byte { return (&privsep.Message{Type: privsep.Hello}).Encode() }

// altered returns a Hello with one invalid byte.
func altered(i int, v byte) []byte {
	b := hello()
	b[i] = v
	return b
}

// randomLie returns a malformed message, and a stage.
func randomLie(seed uint64) lie {
	r := rand.New(rand.NewPCG(seed, 0))
	b := make([]byte, privsep.MessageLen)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	switch r.IntN(3) {
	case 0:
		b[0] = 2 // another version
	case 1:
		copy(b, altered(4+r.IntN(4), byte(1+r.IntN(255)))[:8])
	case 2:
		b = append(hello(), b...)[:1+r.IntN(2*privsep.MessageLen-1)]
		if len(b) == privsep.MessageLen {
			b = b[1:]
		}
	}
	return lie{parserproc.Confined + parserproc.Stage(r.IntN(3)), func(l *liar) { l.write(b...) }}
}
