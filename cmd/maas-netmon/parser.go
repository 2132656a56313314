// This file runs in the parser, the process that never had a privilege.

package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"maas-netmon/capture"
	"maas-netmon/parser"
	"maas-netmon/privsep"
	"maas-netmon/report"
	"maas-netmon/sandbox"
	"maas-netmon/tracker"
)

// handshakeTimeout is how long either process waits for the other at the start.
const handshakeTimeout = 10 * time.Second

// runParser is the parser from its start to its end: confine, say hello, be given
// the sockets, read.
func runParser(o options) error {
	control, err := privsep.Inherit()
	if err != nil {
		return usageError(err)
	}
	// Once more: the parser's AppArmor profile is another.
	if err := checkStdout(); err != nil {
		return err
	}
	// The monitor tells when to stop; a signal to the whole process group, as MAAS
	// sends it, must not cut the last lines off.
	signal.Ignore(unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT,
		unix.SIGUSR1, unix.SIGUSR2, unix.SIGPIPE, unix.SIGXFSZ)
	if err := privsep.SetName("maas-netmon"); err != nil {
		return err
	}
	if o.zone != "" {
		// Loaded when it is first used, which the confinement sees to.
		if err := os.Setenv("TZ", o.zone); err != nil {
			return err
		}
	}
	if err := privsep.DieWithParent(control); err != nil {
		return err
	}
	out := newOutput(unix.Stdout, control.FD())
	profileFDs, endProfile := profile()
	defer endProfile()

	confined, err := sandbox.Parser(sandbox.Grant{
		Write:   append(profileFDs, unix.Stdout, unix.Stderr, control.FD()),
		Receive: []int{control.FD()},
		Sockets: len(o.interfaces),
		Files:   len(o.sources()) - len(o.interfaces),
		Memory:  parserMemory(o.maxBindings),
	})
	if err != nil {
		return unconfined(err)
	}
	if err := control.Send(helloMessage(confined.Layers)); err != nil {
		return err
	}

	passed, err := receiveSockets(control, len(o.sources()))
	if err != nil {
		return err
	}
	p, err := newReading(o, control, out, passed)
	if err != nil {
		return err
	}
	if err := confined.Tighten(); err != nil {
		return unconfined(err)
	}
	if err := control.Send(privsep.Message{Type: privsep.Ready}); err != nil {
		return err
	}
	p.confined(passed)
	if err := p.loop(); err != nil {
		return err
	}
	if p.end != nil {
		// However it ended, the monitor is to have the last counters.
		if err := control.Send(privsep.Message{Type: privsep.End}); err != nil {
			return err
		}
	}
	return cmp.Or(p.finish(), inputError(o.input, p.end))
}

// inputError makes the program's error of what [capture.File] ended with.
func inputError(name string, err error) error {
	if err == nil || err == io.EOF {
		return nil
	}
	f := &failure{status: exitFailure, err: fmt.Errorf("%s: %w", inputName(name), err)}
	switch {
	case errors.Is(err, capture.ErrNoHeader):
		f.status = exitNoHeader
	case errors.Is(err, capture.ErrDamaged) || errors.Is(err, capture.ErrFormat):
		f.status = exitDamaged
	case errors.Is(err, capture.ErrLinkType):
		f.status = exitNotEthernet
	}
	return f
}

// parserMemory is what the parser may allocate at most: an upper limit for one that was
// taken over, far above what it needs. Most of the fixed part are the stacks of threads
// (8 MiB each, of which a page or two are used) and the Go heap's arenas.
func parserMemory(maxBindings int) uint64 {
	return 1<<30 + 256*uint64(maxBindings)
}

// helloMessage says which of the optional layers are in force.
func helloMessage(layers sandbox.Layers) privsep.Message {
	m := privsep.Message{Type: privsep.Hello}
	m.Values[0] = uint64(layers.Landlock)
	if layers.MDWE {
		m.Values[1] = 1
	}
	return m
}

// layersOf is the inverse of helloMessage.
func layersOf(m privsep.Message) sandbox.Layers {
	return sandbox.Layers{Landlock: int(m.Values[0]), MDWE: m.Values[1] == 1}
}

// receiveSockets waits for n sockets, or an input, and the word to start.
func receiveSockets(control *privsep.Conn, n int) ([]int, error) {
	var sockets []int
	for len(sockets) < n {
		m, fd, err := control.ReceiveFD(handshakeTimeout)
		if err != nil {
			return nil, fmt.Errorf("receive socket: %w", err)
		}
		if m.Type != privsep.Socket || int(m.Index) != len(sockets) {
			return nil, fmt.Errorf("receive socket %d: %w: %v %d", len(sockets), privsep.ErrMessage, m.Type, m.Index)
		}
		sockets = append(sockets, fd)
	}
	m, err := control.Receive(handshakeTimeout)
	if err == nil && m.Type != privsep.Start {
		err = fmt.Errorf("%w: %v instead of start", privsep.ErrMessage, m.Type)
	}
	return sockets, err
}

// A source gives frames: [capture.Reader] or [capture.File].
type source interface {
	Wait() (control bool, err error)
	Next(*capture.Frame) bool
	Stats(index int) (capture.Stats, error)
}

// reading is the state of the parser once it reads.
type reading struct {
	control *privsep.Conn
	source  source
	file    bool  // the source can end
	end     error // why it has ended, io.EOF if as it should
	table   *tracker.Table
	out     *output
	names   []string         // for each source, what goes into the line; "" for a single one
	seen    []seen           // by source
	text    bool             // format of events
	colour  bool             // of text
	verbose bool             // packets, too
	events  [2]tracker.Event // room for those of one packet
}

// seen counts what came from one source: bytes of frames, and frames that gave no packet
// by cause. What became of the others, the table counts.
type seen struct {
	bytes                      uint64
	short, notARP, unsupported uint64
}

func newReading(o options, control *privsep.Conn, out *output, passed []int) (*reading, error) {
	table, err := tracker.NewTable(tracker.Config{MaxBindings: o.maxBindings, Refresh: o.refresh})
	if err != nil {
		return nil, err
	}
	var from source
	if o.input != "" {
		from = capture.NewFile(passed[0], control.FD())
	} else if from, err = capture.NewReader(passed, control.FD()); err != nil {
		return nil, err
	}
	p := &reading{
		control: control,
		source:  from,
		file:    o.input != "",
		table:   table,
		out:     out,
		names:   o.sources(),
		seen:    make([]seen, len(passed)),
		text:    o.format == formatText,
		colour:  o.colour,
		verbose: o.verbose,
	}
	if len(p.names) == 1 {
		p.names = []string{""}
	}
	out.onControl = p.serve
	return p, nil
}

// loop is the program's work: frame, packet, events, lines. It ends when the monitor
// says so, or is gone, or a file ends.
func (p *reading) loop() error {
	for !p.out.hurry {
		control, err := p.source.Wait()
		if err != nil && p.file {
			p.end = err
			return nil
		}
		if err != nil {
			return err
		}
		if err := p.drain(); err != nil {
			return err
		}
		if control {
			if err := p.serve(); err != nil {
				return err
			}
		}
	}
	return nil
}

// drain handles the frames that are there and writes their lines.
func (p *reading) drain() error {
	var f capture.Frame
	for p.source.Next(&f) {
		p.handle(&f)
		if len(p.out.buf) >= flushLen {
			if err := p.out.flush(); err != nil {
				return err
			}
		}
	}
	return p.out.flush()
}

// handle takes one frame to its lines, if it has any.
func (p *reading) handle(f *capture.Frame) {
	seen := &p.seen[f.Source]
	seen.bytes += uint64(f.Len)
	var arp parser.ARP
	if err := parser.Parse(&arp, f.Data, parser.Tag{Present: f.Tagged, TPID: f.TPID, TCI: f.TCI}); err != nil {
		switch err {
		case parser.ErrShort:
			seen.short++
		case parser.ErrNotARP:
			seen.notARP++
		default:
			seen.unsupported++
		}
		return
	}
	events := p.table.Observe(p.events[:0], uint16(f.Source), f.Seconds, &arp)
	for i := range events {
		if p.text {
			p.out.buf = report.AppendText(p.out.buf, &events[i], p.names[f.Source], p.colour)
		} else {
			p.out.buf = report.AppendJSON(p.out.buf, &events[i], p.names[f.Source])
		}
	}
	if p.verbose {
		p.out.buf = report.AppendPacket(p.out.buf, &arp, f.Seconds, time.Local)
	}
}

// serve reads one message of the monitor and answers it. When the parser has to
// finish, because it was told so or the monitor is gone, the output is to hurry.
func (p *reading) serve() error {
	m, err := p.control.Receive(0)
	switch {
	case errors.Is(err, privsep.ErrTimeout):
		return nil
	case errors.Is(err, io.EOF):
		p.out.hurry = true
		return nil
	case err != nil:
		return err
	case m.Type == privsep.Stop:
		p.out.hurry = true
		return nil
	case m.Type == privsep.Ping && int(m.Index) < len(p.names):
		return p.answer(m.Index)
	}
	return fmt.Errorf("%w: unexpected %v", privsep.ErrMessage, m.Type)
}

// answer sends the counters of an interface.
func (p *reading) answer(index uint16) error {
	s, err := p.source.Stats(int(index))
	if err != nil {
		return err
	}
	n, t := &p.seen[index], p.table.Stats(index)
	c := counters{
		frames: s.Frames, bytes: n.bytes, dropped: s.Dropped,
		short: n.short, notARP: n.notARP, unsupported: n.unsupported,
		newBindings: t.New, moved: t.Moved, refreshed: t.Refreshed,
		refused: t.Refused, ignored: t.Ignored, evicted: t.Evicted, bindings: t.Bindings,
		position: s.Position,
	}
	err = p.control.Send(c.message(index))
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EPIPE) {
		// A monitor that does not listen will ask again, or is gone.
		return nil
	}
	return err
}

// finish handles what is still in the rings, at most a ring full of each interface, or
// was read of a file, and answers the monitor's last questions.
func (p *reading) finish() error {
	if err := p.drain(); err != nil {
		return err
	}
	for {
		m, err := p.control.Receive(-1)
		if m.Type == privsep.Stop { // crossed with the end of a file
			continue
		}
		if err != nil || m.Type != privsep.Ping || int(m.Index) >= len(p.names) {
			return nil
		}
		if err := p.answer(m.Index); err != nil {
			return err
		}
	}
}
