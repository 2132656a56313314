//go:build liar

// This file is only in the build with a lying parser, for integration's tests: the
// monitor is as shipped, and so is the parser's confinement, but then the parser does
// what an attacker who has taken it over might do. The name of the interface says what.

package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"maas-netmon/privsep"
	"maas-netmon/sandbox"
)

// A liar is the parser in the hands of an attacker.
type liar struct {
	control *privsep.Conn
	o       options
	sockets []int
}

// stage is how far the liar behaves.
type stage int

const (
	started  stage = iota // not confined, nothing said
	confined              // nothing said
	greeted               // Hello has been said
	working               // the sockets have come, Ready has been said
)

// A lie is told at a stage; the liar then waits to be killed.
type lie struct {
	when stage
	tell func(*liar)
}

var lies = map[string]lie{
	"silent":      {started, func(*liar) {}},
	"silent-late": {greeted, func(*liar) {}},
	"exit":        {started, func(*liar) { os.Exit(0) }},
	"exit-late":   {working, func(*liar) { os.Exit(0) }},
	"exit-usage":  {working, func(*liar) { os.Exit(exitUsage) }},
	"exit-99":     {working, func(*liar) { os.Exit(99) }},

	// Without being confined.
	"unconfined": {started, (*liar).greet},
	"hidden": {started, func(l *liar) {
		_ = sandbox.Hide()
		_ = sandbox.Drop()
		l.greet()
	}},

	// Gone without being gone.
	"close":      {started, func(l *liar) { _ = l.control.Close() }},
	"shutdown":   {started, func(l *liar) { _ = l.control.CloseWrite() }},
	"close-late": {working, func(l *liar) { _ = l.control.Close() }},
	"empty":      {confined, func(l *liar) { l.write() }},

	// Messages that are none.
	"short":      {confined, func(l *liar) { l.write(hello()[:privsep.MessageLen-1]...) }},
	"byte":       {confined, func(l *liar) { l.write(1) }},
	"long":       {confined, func(l *liar) { l.write(append(hello(), 0)...) }},
	"very-long":  {confined, func(l *liar) { l.write(make([]byte, 100<<10)...) }},
	"version":    {confined, func(l *liar) { l.write(altered(0, 2)...) }},
	"type-0":     {confined, func(l *liar) { l.write(altered(1, 0)...) }},
	"type-99":    {confined, func(l *liar) { l.write(altered(1, 99)...) }},
	"reserved":   {confined, func(l *liar) { l.write(altered(7, 1)...) }},
	"short-late": {working, func(l *liar) { l.write(hello()[:8]...) }},
	"long-late":  {working, func(l *liar) { l.write(append(hello(), 0)...) }},

	// Messages at the wrong time, or that only the monitor may send.
	"ready-first":  {confined, func(l *liar) { l.send(privsep.Message{Type: privsep.Ready}) }},
	"pong-first":   {confined, func(l *liar) { l.send(privsep.Message{Type: privsep.Pong}) }},
	"stop-first":   {confined, func(l *liar) { l.send(privsep.Message{Type: privsep.Stop}) }},
	"socket-first": {confined, func(l *liar) { l.send(privsep.Message{Type: privsep.Socket}) }},
	"hello-twice":  {greeted, func(l *liar) { l.send(privsep.Message{Type: privsep.Hello}) }},
	"hello-late":   {working, func(l *liar) { l.send(privsep.Message{Type: privsep.Hello}) }},
	"ready-twice":  {working, func(l *liar) { l.send(privsep.Message{Type: privsep.Ready}) }},
	"ping-back":    {working, func(l *liar) { l.send(privsep.Message{Type: privsep.Ping}) }},
	"end-of-what":  {working, func(l *liar) { l.send(privsep.Message{Type: privsep.End}) }}, // interfaces have none
	"pong-unasked": {working, func(l *liar) { l.send(privsep.Message{Type: privsep.Pong}) }},
	"pong-index":   {working, func(l *liar) { l.answer(privsep.Message{Type: privsep.Pong, Index: 1}) }},
	"pong-far":     {working, func(l *liar) { l.answer(privsep.Message{Type: privsep.Pong, Index: 0xffff}) }},
	"pong-twice": {working, func(l *liar) {
		l.answer(privsep.Message{Type: privsep.Pong})
		l.send(privsep.Message{Type: privsep.Pong})
	}},
	"flood":       {working, func(l *liar) { l.flood(privsep.Message{Type: privsep.Pong}) }},
	"flood-early": {confined, func(l *liar) { l.flood(privsep.Message{Type: privsep.Hello}) }},

	// Numbers that cannot be: the monitor may print them, and no more.
	"pong-numbers": {working, func(l *liar) {
		m := privsep.Message{Type: privsep.Pong}
		for i := range m.Values {
			m.Values[i] = ^uint64(i)
		}
		l.answer(m)
		os.Exit(0)
	}},

	// Descriptors, of which no message of the parser has one. Once it is confined it
	// cannot call sendmsg at all.
	"descriptor":      {started, func(l *liar) { l.sendFDs(hello(), 1) }},
	"descriptors":     {started, func(l *liar) { l.sendFDs(hello(), 250) }},
	"descriptor-late": {working, func(l *liar) { l.sendFDs(hello(), 1) }},
}

func launchArgs(args []string) []string { return args }

func (m *monitor) confined()      {}
func (p *reading) confined([]int) {}

// parserRole confines the process as the parser does, and lies. An interface whose name is
// no lie gets the honest parser.
func parserRole(o options) error {
	name := o.interfaces[0]
	x, ok := lies[name]
	if seed, err := strconv.ParseUint(strings.TrimPrefix(name, "random"), 10, 64); err == nil {
		x, ok = randomLie(seed), true
	}
	if !ok {
		return runParser(o)
	}
	control, err := privsep.Inherit()
	if err != nil {
		return err
	}
	if err := privsep.DieWithParent(control); err != nil {
		return err
	}
	l := &liar{control: control, o: o}
	if err := l.behave(x.when); err != nil {
		return err
	}
	x.tell(l)
	for {
		_ = unix.Nanosleep(&unix.Timespec{Sec: 3600}, nil)
	}
}

// behave does what a parser does up to a stage.
func (l *liar) behave(until stage) error {
	if until == started {
		return nil
	}
	c, err := sandbox.Parser(sandbox.Grant{
		Write:   []int{unix.Stdout, unix.Stderr, l.control.FD()},
		Receive: []int{l.control.FD()},
		Sockets: len(l.o.interfaces),
		Memory:  parserMemory(l.o.maxBindings),
	})
	if err != nil || until == confined {
		return err
	}
	if err := l.control.Send(helloMessage(c.Layers)); err != nil || until == greeted {
		return err
	}
	if l.sockets, err = receiveSockets(l.control, len(l.o.interfaces)); err != nil {
		return err
	}
	if err := c.Tighten(); err != nil {
		return err
	}
	return l.control.Send(privsep.Message{Type: privsep.Ready})
}

func (l *liar) send(m privsep.Message) { l.write(m.Encode()...) }

func (l *liar) write(b ...byte) {
	// An empty slice has no address, and a message of no byte needs none.
	_, _ = unix.Write(l.control.FD(), b)
}

// greet says Hello, and tells if that was enough to be given a socket.
func (l *liar) greet() {
	l.send(privsep.Message{Type: privsep.Hello})
	if _, _, err := l.control.ReceiveFD(-1); err == nil {
		fmt.Fprintln(os.Stderr, "maas-netmon: an unconfined parser was given a socket")
	}
}

// answer waits to be asked for the counters.
func (l *liar) answer(m privsep.Message) {
	for {
		asked, err := l.control.Receive(-1)
		if err != nil {
			return
		}
		if asked.Type == privsep.Ping {
			l.send(m)
			return
		}
	}
}

// flood sends without end.
func (l *liar) flood(m privsep.Message) {
	for {
		if err := l.control.Send(m); err != nil {
			time.Sleep(time.Millisecond) // the socket is full
		}
	}
}

// sendFDs sends a message with descriptors.
func (l *liar) sendFDs(b []byte, n int) {
	_ = unix.Sendmsg(l.control.FD(), b, unix.UnixRights(slices.Repeat([]int{unix.Stderr}, n)...), nil, 0)
}

func hello() []byte { return (&privsep.Message{Type: privsep.Hello}).Encode() }

// altered is a hello with one byte that must not be.
func altered(i int, v byte) []byte {
	b := hello()
	b[i] = v
	return b
}

// randomLie is a message that is none, at some stage.
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
	return lie{confined + stage(r.IntN(3)), func(l *liar) { l.write(b...) }}
}
