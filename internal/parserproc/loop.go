package parserproc

import (
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"maas-netmon/capture"
	"maas-netmon/internal/cli"
	"maas-netmon/internal/control"
	"maas-netmon/parser"
	"maas-netmon/privsep"
	"maas-netmon/report"
	"maas-netmon/tracker"
)

// A source gives frames: [capture.Reader] or [capture.File].
type source interface {
	Wait(writable bool, timeout time.Duration) (capture.Wakeup, error)
	Next(*capture.Frame) bool
	Stats(index int) (capture.Stats, error)
}

// fileSource makes a source of a file.
type fileSource struct{ *capture.File }

func (f fileSource) Wait(bool, time.Duration) (capture.Wakeup, error) {
	control, err := f.File.Wait()
	return capture.Wakeup{Control: control}, err
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

func newReading(o cli.Options, conn *privsep.Conn, out *output, passed []int) (*reading, error) {
	table, err := tracker.NewTable(tracker.Config{MaxBindings: o.MaxBindings, Refresh: o.Refresh})
	if err != nil {
		return nil, err
	}
	var from source
	if o.Input != "" {
		from = fileSource{capture.NewFile(passed[0], conn.FD())}
	} else if from, err = capture.NewReader(passed, conn.FD(), -1); err != nil {
		return nil, err
	}
	p := &reading{
		control: conn,
		source:  from,
		file:    o.Input != "",
		table:   table,
		out:     out,
		names:   o.Sources(),
		seen:    make([]seen, len(passed)),
		text:    o.Format == cli.FormatText,
		colour:  o.Colour,
		verbose: o.Verbose,
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
		woken, err := p.source.Wait(false, -1)
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
		if woken.Control {
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
	c := control.Counters{
		Frames: s.Frames, Bytes: n.bytes, Dropped: s.Dropped,
		Short: n.short, NotARP: n.notARP, Unsupported: n.unsupported,
		NewBindings: t.New, Moved: t.Moved, Refreshed: t.Refreshed,
		Refused: t.Refused, Ignored: t.Ignored, Evicted: t.Evicted, Bindings: t.Bindings,
		Position: s.Position,
	}
	err = p.control.Send(c.Message(index))
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
