package parserproc

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"golang.org/x/sys/unix"

	"maas-netmon/capture"
	"maas-netmon/capture/pcapfile"
	"maas-netmon/internal/cli"
	"maas-netmon/internal/control"
	"maas-netmon/parser"
	"maas-netmon/privsep"
	"maas-netmon/report"
	"maas-netmon/tracker"
)

// stallLimit is how long the parser waits, after the order to stop, for a stalled reader of
// standard output.
const stallLimit = 500 * time.Millisecond

// errStalled is returned if the reader did not read the last lines in that time. The exit status is
// 0 nevertheless: the program was stopped as requested.
var errStalled = &cli.Failure{Status: cli.ExitOK, Err: errors.New("standard output: the reader stalled; the last lines are lost")}

// A source supplies frames: [capture.Reader] or [pcapfile.File].
type source interface {
	Wait(writable bool, timeout time.Duration) (capture.Wakeup, error)
	Next(*capture.Frame) bool
	Stats(index int) (capture.Stats, error)
}

// process is the state of the parser while it reads.
type process struct {
	control *privsep.Conn
	source  source
	file    bool  // the source is a file, which can end
	end     error // why the file has ended: io.EOF, or an error
	table   *tracker.Table
	out     *output
	limit   lineLimit
	names   []string         // for each source, as printed in lines; "" for a single one
	counts  []frameCounts    // by source
	earlier []capture.Stats  // of each source, at the time it was last released
	dropped uint64           // packets that were not printed because output had no room
	text    bool             // format of events
	colour  bool             // of text
	verbose bool             // packets, too
	ipv6    bool             // Neighbor Discovery, too
	frame   capture.Frame    // the one that is handled; here so that a drain allocates nothing
	events  [2]tracker.Event // buffer for the events of one packet

	started  time.Time
	now      time.Duration // since then; set once per turn of the loop
	stopping bool          // the monitor has ordered it, or is gone
	stopped  time.Time     // the time of that
}

// frameCounts counts the frames of one source: their bytes, and the frames without a packet by
// cause. The table counts the packets.
type frameCounts struct {
	bytes                               uint64
	short, notARP, unsupported, invalid uint64
}

// packetLines is the largest number of lines of a packet as text.
const packetLines = 15

// The build fails unless the smallest --max-rate with -v equals the lines of a packet and its two
// events. A smaller limit would never let a packet pass.
var (
	_ [cli.MinVerboseRate - packetLines - 2]struct{}
	_ [packetLines + 2 - cli.MinVerboseRate]struct{}
)

// The build fails unless the largest --moved-interval is that of package tracker.
var (
	_ [cli.MaxMovedInterval - tracker.MaxMovedInterval]struct{}
	_ [tracker.MaxMovedInterval - cli.MaxMovedInterval]struct{}
)

func newProcess(o cli.Options, conn *privsep.Conn, out *output, passed []int) (*process, error) {
	table, err := tracker.NewTable(tracker.Config{
		MaxBindings:   o.MaxBindings,
		Refresh:       o.Refresh,
		MovedInterval: o.MovedInterval,
		IPv6:          o.IPv6,
	})
	if err != nil {
		return nil, err
	}
	var from source
	if o.Input != "" {
		from = pcapfile.NewFile(passed[0], conn.FD(), out.fd, o.IPv6)
	} else if from, err = capture.NewReader(passed, o.IPv6, conn.FD(), out.fd); err != nil {
		return nil, err
	}
	p := &process{
		control: conn,
		source:  from,
		file:    o.Input != "",
		table:   table,
		out:     out,
		limit:   lineLimit{most: o.MaxRate},
		names:   o.Sources(),
		counts:  make([]frameCounts, len(passed)),
		earlier: make([]capture.Stats, len(passed)),
		text:    o.Format == cli.FormatText,
		colour:  o.Colour,
		verbose: o.Verbose,
		ipv6:    o.IPv6,
		started: time.Now(),
	}
	if len(passed) == 1 && o.Pool == 0 {
		p.names = []string{""}
	}
	for range o.Pool {
		p.names = append(p.names, "") // the monitor sends their names later
	}
	return p, nil
}

// run reads until the input ends, the monitor orders the parser to stop, or the monitor is gone.
func (p *process) run(input string) error {
	if err := p.loop(); err != nil {
		return err
	}
	if p.end != nil {
		// After the message the monitor ends the program within a limit. So the lines come first,
		// however long the reader takes.
		p.table.Flush()
		if err := p.settle(); err != nil {
			return err
		}
		if p.stopping {
			return p.finish()
		}
		// The monitor asks for the last counters after this message, also if the input ended with
		// an error.
		if err := p.control.Send(privsep.Message{Type: privsep.End}); err != nil {
			return err
		}
	}
	return cmp.Or(p.finish(), inputError(input, p.end))
}

// loop is the program's main loop: frame, packet, events, lines. It ends when the monitor orders
// the parser to stop or is gone, or when a file ends.
func (p *process) loop() error {
	for !p.stopping {
		woken, err := p.source.Wait(p.out.full, p.timeout())
		if err != nil && p.file {
			p.end = err
			return nil
		}
		if err != nil {
			return err
		}
		// Wait was not asked for room, so it reports that the reader is gone. Without this check
		// the program would notice only at its next line, possibly hours later.
		if woken.Output && !p.out.full {
			return errReaderGone
		}
		if woken.Output {
			p.out.full = false
		}
		p.tick()
		// Bindings that wait are older than those of the next frames: report them first.
		if err := p.report(); err != nil {
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

// timeout returns the time until the loop has lines to write even if no frame comes, or a negative
// number if it has none.
func (p *process) timeout() time.Duration {
	// Round up, so that bindings whose rests end soon after each other share a wake-up.
	const step = 100 * time.Millisecond
	if p.table.Waiting() && !p.out.full { // only --max-rate holds the lines back
		return max(0, p.limit.next()-time.Since(p.started))
	}
	if due, ok := p.table.Due(); ok && !p.file {
		return max(0, (due+step-1)/step*step-time.Since(p.started))
	}
	return -1
}

// tick reads the clock. For a file, the moved interval is measured by the times of its frames
// instead (see handle).
func (p *process) tick() {
	p.now = time.Since(p.started)
	p.limit.advance(p.now)
	if !p.file {
		p.table.Advance(p.now)
	}
}

// drain handles the frames that are available and writes their lines.
func (p *process) drain() error {
	for p.source.Next(&p.frame) {
		p.handle(&p.frame)
		// In a long drain, write the lines early.
		if len(p.out.buf) >= flushLen && !p.out.full {
			if err := p.out.flush(); err != nil {
				return err
			}
		}
		if p.file && !p.stopping && !p.hasRoom() {
			// A file loses nothing if it is read later. So wait until all lines are written, and
			// none is merged with a later one.
			if err := p.settle(); err != nil {
				return err
			}
		}
	}
	return p.report()
}

// room reports whether n lines can be written now.
func (p *process) room(n int) bool {
	return !p.out.full && p.limit.allows(n)
}

// hasRoom reports whether all lines of one more packet can be written now.
func (p *process) hasRoom() bool {
	n := len(p.events)
	if p.verbose {
		n += packetLines
	}
	return p.room(n) && !p.table.Waiting()
}

// handle parses one frame, records its bindings, and appends its lines as far as there is room.
func (p *process) handle(f *capture.Frame) {
	counts := &p.counts[f.Source]
	counts.bytes += uint64(f.Len)
	var arp parser.ARP
	tag := parser.Tag{Present: f.Tagged, TPID: f.TPID, TCI: f.TCI}
	if err := parser.Parse(&arp, f.Data, tag); err != nil {
		switch err {
		case parser.ErrShort:
			counts.short++
		case parser.ErrNotARP:
			if p.ipv6 {
				p.handleND(f, tag)
				break
			}
			counts.notARP++
		default:
			counts.unsupported++
			if !p.verbose {
				break
			}
			if types, err := parser.ParseForeign(&arp, f.Data, tag); err == nil {
				p.packet(&arp, types, f)
			}
		}
		return
	}
	p.advanceTo(f.Seconds)
	// Without room for both events of a packet, its bindings wait in the table. Frames are read in
	// any case, so that the ring does not overflow because of a slow reader.
	if p.room(len(p.events)) {
		events := p.table.Observe(p.events[:0], uint16(f.Source), f.Seconds, &arp)
		for i := range events {
			p.line(&events[i])
		}
	} else {
		p.table.Note(uint16(f.Source), f.Seconds, &arp)
	}
	if p.verbose {
		p.packet(&arp, parser.EthernetIPv4, f)
	}
}

// advanceTo sets the table's time to that of a frame, in seconds, if it is from a file.
func (p *process) advanceTo(seconds int64) {
	if p.file { // the times in a file can be any 64-bit numbers
		p.table.Advance(time.Duration(min(max(seconds, 0), math.MaxUint32)) * time.Second)
	}
}

// handleND is handle for a frame that is not ARP, with --ipv6.
func (p *process) handleND(f *capture.Frame, tag parser.Tag) {
	counts := &p.counts[f.Source]
	var nd parser.ND
	switch parser.ParseND(&nd, f.Data, tag, f.ChecksumPending) {
	case nil:
	case parser.ErrShort:
		counts.short++
		return
	case parser.ErrNotND:
		counts.notARP++
		return
	case parser.ErrInvalid:
		counts.invalid++
		return
	default:
		counts.unsupported++
		return
	}
	p.advanceTo(f.Seconds)
	if p.room(len(p.events)) { // see handle
		events := p.table.ObserveND(p.events[:0], uint16(f.Source), f.Seconds, &nd)
		for i := range events {
			p.line(&events[i])
		}
	} else {
		p.table.NoteND(uint16(f.Source), f.Seconds, &nd)
	}
	if p.verbose {
		p.packetND(&nd, f)
	}
}

// line appends the line of an event to the output.
func (p *process) line(e *tracker.Event) {
	if p.text {
		p.out.buf = report.AppendText(p.out.buf, e, p.names[e.Interface], p.colour, time.Local)
	} else {
		p.out.buf = report.AppendJSON(p.out.buf, e, p.names[e.Interface])
	}
	p.limit.take(1)
}

// roomForPacket reports whether the lines of a packet can be written now. It counts the packet as
// dropped if they do not fit, or if older lines still wait: they would be out of order.
func (p *process) roomForPacket() bool {
	if p.table.Waiting() || !p.room(packetLines) {
		p.dropped++
		return false
	}
	return true
}

// packetND is packet for Neighbor Discovery.
func (p *process) packetND(nd *parser.ND, f *capture.Frame) {
	if !p.roomForPacket() {
		return
	}
	p.out.buf = report.AppendND(p.out.buf, nd, !f.Cooked, p.names[f.Source], f.Seconds, time.Local)
	p.limit.take(packetLines)
}

// packet appends the lines of a packet to the output, if there is room.
func (p *process) packet(arp *parser.ARP, types parser.Types, f *capture.Frame) {
	if !p.roomForPacket() {
		return
	}
	p.out.buf = report.AppendPacket(p.out.buf, arp, types, !f.Cooked, p.names[f.Source], f.Seconds, time.Local)
	p.limit.take(packetLines)
}

// report writes the lines of bindings that wait, as far as there is room. It flushes after each
// pipeBuf bytes: if the output becomes full, the remaining bindings stay in the table, where a
// later change merges with them.
func (p *process) report() error {
	if err := p.out.flush(); err != nil {
		return err
	}
	var e tracker.Event
	for p.room(1) && p.table.Next(&e) {
		p.line(&e)
		if len(p.out.buf) < pipeBuf {
			continue
		}
		if err := p.out.flush(); err != nil {
			return err
		}
	}
	return p.out.flush()
}

// settle writes all lines of bindings that wait, and returns when there is room for another packet.
// It answers the monitor meanwhile, so that the watchdog does not end the program because of a slow
// reader. While the parser is stopping, settle waits at most stallLimit.
func (p *process) settle() error {
	for {
		p.tick()
		if err := p.report(); err != nil {
			return err
		}
		if p.hasRoom() || p.stopping && !p.table.Waiting() && !p.out.full {
			return nil
		}
		timeout := time.Duration(-1)
		if !p.out.full {
			timeout = max(0, p.limit.next()-p.now)
		}
		if p.stopping {
			left := stallLimit - time.Since(p.stopped)
			if left <= 0 {
				return nil
			}
			if timeout < 0 || timeout > left {
				timeout = left
			}
		}
		if err := p.pause(timeout); err != nil {
			return err
		}
	}
}

// pause waits until standard output has room, if it is full, or the timeout has passed. It serves
// the control descriptor unless the parser is stopping: then finish answers the monitor.
func (p *process) pause(timeout time.Duration) error {
	polls := [...]unix.PollFd{{Fd: -1, Events: unix.POLLOUT}, {Fd: -1, Events: unix.POLLIN}}
	if p.out.full {
		polls[0].Fd = int32(p.out.fd)
	}
	if !p.stopping {
		polls[1].Fd = int32(p.control.FD())
	}
	var limit *unix.Timespec
	if timeout >= 0 {
		t := unix.NsecToTimespec(int64(timeout))
		limit = &t
	}
	if _, err := unix.Ppoll(polls[:], limit, nil); err != nil && err != unix.EINTR {
		return fmt.Errorf("wait for standard output: %w", err)
	}
	if polls[0].Revents != 0 {
		p.out.full = false
	}
	if polls[1].Revents != 0 {
		return p.serve()
	}
	return nil
}

// stop makes the loop end. From now on the reader of standard output has stallLimit.
func (p *process) stop() {
	if !p.stopping {
		p.stopping, p.stopped = true, time.Now()
	}
}

// serve reads one message from the monitor and answers it. Any message that the protocol does not
// allow at this point is an error: the parser ends instead of guessing.
func (p *process) serve() error {
	m, err := p.control.Receive(0)
	switch {
	case errors.Is(err, privsep.ErrTimeout):
		return nil
	case errors.Is(err, io.EOF):
		p.stop()
		return nil
	case err != nil:
		return err
	case m.Type == privsep.Stop:
		p.stop()
		return nil
	case m.Type == privsep.Ping && int(m.Index) < len(p.names):
		return p.sendCounters(m.Index)
	case m.Type == privsep.Name && int(m.Index) < len(p.names) && !p.file:
		return p.rename(m.Index, control.NameOf(m))
	}
	return fmt.Errorf("%w: unexpected %v", privsep.ErrMessage, m.Type)
}

// rename gives a source another name. An empty name means that the interface is gone: its bindings
// are forgotten. The monitor has unbound the socket before this message, and binds it again only
// after the answer. So all frames that are in the ring now belong to the old name, and drain
// handles them first.
func (p *process) rename(index uint16, name string) error {
	if err := p.drain(); err != nil {
		return err
	}
	if name == "" {
		s, err := p.source.Stats(int(index))
		if err != nil {
			return err
		}
		p.table.Forget(index)
		p.counts[index], p.earlier[index] = frameCounts{}, s
	}
	p.names[index] = name
	err := p.control.Send(privsep.Message{Type: privsep.Named, Index: index})
	if errors.Is(err, unix.EPIPE) {
		return nil // the monitor is gone; the next Receive reports it
	}
	return err
}

// sendCounters sends the counters of an interface.
func (p *process) sendCounters(index uint16) error {
	s, err := p.source.Stats(int(index))
	if err != nil {
		return err
	}
	s.Frames -= p.earlier[index].Frames
	s.Dropped -= p.earlier[index].Dropped
	n, t := &p.counts[index], p.table.Stats(index)
	c := control.Counters{
		Frames: s.Frames, Bytes: n.bytes, Dropped: s.Dropped,
		Short: n.short, NotARP: n.notARP, Unsupported: n.unsupported + s.Unsupported, Invalid: n.invalid,
		NewBindings: t.New, Moved: t.Moved, Refreshed: t.Refreshed,
		Refused: t.Refused, Ignored: t.Ignored, Evicted: t.Evicted, Bindings: t.Bindings,
		Unreported: t.Unreported,
		Position:   s.Position,
	}
	if index == 0 {
		c.PacketsDropped = p.dropped // of all interfaces
	}
	err = p.control.Send(c.Message(index))
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EPIPE) {
		// The monitor does not read at the moment and will ask again, or it is gone.
		return nil
	}
	return err
}

// finish handles the frames that are still in the rings, at most one ring per interface, or in the
// buffer of a file. It writes the remaining lines as far as the reader reads them, and answers the
// monitor's last requests.
func (p *process) finish() error {
	p.tick()
	if err := p.drain(); err != nil {
		return err
	}
	p.table.Flush()
	if err := p.settle(); err != nil {
		return err
	}
	p.table.Abandon()
	for {
		m, err := p.control.Receive(-1)
		if m.Type == privsep.Stop || m.Type == privsep.Name { // sent before the monitor knew of the end
			continue
		}
		if err != nil || m.Type != privsep.Ping || int(m.Index) >= len(p.names) {
			break
		}
		if err := p.sendCounters(m.Index); err != nil {
			return err
		}
	}
	if p.out.full {
		return errStalled
	}
	return nil
}
