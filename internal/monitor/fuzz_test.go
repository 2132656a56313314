package monitor

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"maas-netmon/privsep"
)

// A falseParser is a compromised parser, which can do everything that the control socket allows.
type falseParser struct {
	full      bool // the parser does not read, and its socket is full
	asked     int  // the last question, -1 for none
	questions int
	closed    bool
	killed    bool
}

func (p *falseParser) Send(m privsep.Message) error {
	if p.full {
		return unix.EAGAIN
	}
	if m.Type == privsep.Ping {
		p.asked = int(m.Index)
		p.questions++
	}
	return nil
}

func (p *falseParser) CloseWrite() error                                { p.closed = true; return nil }
func (p *falseParser) Pid() int                                         { return 1 << 30 }
func (p *falseParser) FD() int                                          { return -1 }
func (p *falseParser) PidFD() int                                       { return -1 }
func (p *falseParser) SendFD(privsep.Message, int, time.Duration) error { return nil }
func (p *falseParser) Receive(time.Duration) (privsep.Message, error) {
	return privsep.Message{}, io.EOF
}
func (p *falseParser) Kill()                          { p.killed = true }
func (p *falseParser) KilledByPID() bool              { return false }
func (p *falseParser) Wait() (unix.WaitStatus, error) { return 0, nil }

// The events of the monitor while the parser reads.
const (
	opAnswer  = iota // the parser answers the question
	opMessage        // the parser sends a message: type and index follow
	opTick           // the clock
	opStats          // a request to log the counters
	opMetrics        // a request to write them
	opFull           // the parser stops reading
	opRead           // the parser reads
	opStop           // a signal ends the program
	opCount
)

// FuzzConversation lets the parser send any message at any time, and compares the monitor's
// behaviour with a model: at most one question is open, and the questions are in order; only its
// answer is accepted; any other message ends the parser at once; only a complete round resets the
// clock; a parser that finishes and answers is told when the final round is complete. The monitor
// never panics, and its state does not grow.
func FuzzConversation(f *testing.F) {
	f.Add(uint8(1), []byte{opTick, opAnswer, opTick, opTick, opTick})
	f.Add(uint8(3), []byte{opStats, opAnswer, opAnswer, opAnswer, opStop, opAnswer, opAnswer, opAnswer})
	f.Add(uint8(2), []byte{opFull, opTick, opRead, opTick, opAnswer, opAnswer})
	f.Add(uint8(2), []byte{opTick, opAnswer, opMessage, byte(privsep.Pong - 1), 0})
	f.Add(uint8(2), []byte{opMessage, byte(privsep.Pong - 1), 0})
	f.Add(uint8(1), []byte{opTick, opAnswer, opMessage, byte(privsep.Pong - 1), 1})
	f.Add(uint8(0), []byte{opMessage, byte(privsep.End - 1), 0, opMessage, byte(privsep.End - 1), 0})
	f.Add(uint8(2), []byte{opMessage, byte(privsep.End - 1), 0})
	f.Add(uint8(2), []byte{opTick, opStop, opAnswer, opAnswer, opAnswer, opAnswer})
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		f.Fatal(err)
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(null, &slog.HandlerOptions{Level: slog.LevelError + 1})))
	f.Fuzz(func(t *testing.T, sources uint8, ops []byte) {
		n := int(sources % 5) // 0 is a file
		p := &falseParser{asked: -1}
		m := &monitor{phase: running, child: p, heartbeat: heartbeat, clock: time.NewTimer(time.Hour)}
		for range max(1, n) {
			m.ifaces = append(m.ifaces, &iface{name: "va"})
		}
		defer m.clock.Stop()
		if n == 0 {
			m.input = &input{fd: -1}
		}
		c := conversation{t: t, m: m, p: p, n: len(m.ifaces)}
		for len(ops) > 0 && !c.over {
			op := ops[0] % opCount
			ops = ops[1:]
			var message privsep.Message
			if op == opMessage {
				if len(ops) < 2 {
					return
				}
				message = privsep.Message{Type: privsep.Type(1 + ops[0]%8), Index: uint16(ops[1] % 6)}
				ops = ops[2:]
			}
			c.step(op, message)
		}
	})
}

// A conversation is the model of the monitor.
type conversation struct {
	t *testing.T
	m *monitor
	p *falseParser
	n int // sources

	next       int // the next question
	open       int // the open question, or -1
	ticks      int // since the last complete round
	stopped    bool
	afterStop  int // complete rounds
	inputEnded bool
	over       bool
	begun      bool // open is valid
}

// step performs one event, and compares.
func (c *conversation) step(op byte, message privsep.Message) {
	if !c.begun {
		c.open, c.begun = -1, true
	}
	before := c.p.questions
	var err error
	switch op {
	case opAnswer:
		if c.open < 0 {
			return
		}
		c.answered(privsep.Message{Type: privsep.Pong, Index: uint16(c.open)})
	case opMessage:
		c.answered(message)
	case opTick:
		if c.stopped {
			return // the end has its own clock
		}
		c.ticks++
		if err = c.m.onHeartbeat(); (err != nil) != (c.ticks > 2) {
			c.t.Fatalf("tick %d without a complete round: %v", c.ticks, err)
		}
		c.over = err != nil
		if !c.over && !c.p.full && c.open < 0 && c.p.questions == before {
			c.t.Fatal("a tick without a question, and none is open")
		}
	case opStats, opMetrics:
		if c.stopped {
			return
		}
		if err = c.m.startRound(op == opStats); err != nil {
			c.t.Fatal(err)
		}
	case opFull:
		c.p.full = true
	case opRead:
		c.p.full = false
	case opStop:
		if c.stopped {
			return
		}
		c.stopped = true
		if err = c.m.finish(); err != nil {
			c.t.Fatal(err)
		}
	}
	switch c.p.questions - before {
	case 0:
	case 1:
		if c.open >= 0 {
			c.t.Fatalf("question %d while %d is open", c.p.asked, c.open)
		}
		if c.p.asked != c.next {
			c.t.Fatalf("question %d, want %d", c.p.asked, c.next)
		}
		if c.p.closed {
			c.t.Fatal("a question after the last one")
		}
		c.open, c.next = c.p.asked, (c.p.asked+1)%c.n
	default:
		c.t.Fatalf("%d questions at once", c.p.questions-before)
	}
	if c.stopped && !c.over && c.open < 0 && !c.p.closed && !c.p.full && !c.m.round.unsent {
		c.t.Fatal("the parser waits for nothing")
	}
}

// answered passes a message from the parser to the monitor.
func (c *conversation) answered(message privsep.Message) {
	err := c.m.handleMessage(received{Message: message})
	switch {
	case message.Type == privsep.End && c.m.input != nil && !c.inputEnded:
		c.inputEnded, c.stopped = true, true
		if err != nil {
			c.t.Fatalf("the end of the input: %v", err)
		}
	case message.Type == privsep.Pong && int(message.Index) == c.open:
		if err != nil {
			c.t.Fatalf("the answer is refused: %v", err)
		}
		if c.open == c.n-1 {
			c.ticks = 0
			if c.stopped {
				c.afterStop++
			}
		}
		c.open = -1
		if c.afterStop > 2 || c.p.closed && c.afterStop == 0 {
			c.t.Fatalf("%d rounds after the stop, closed: %v", c.afterStop, c.p.closed)
		}
	default:
		if !errors.Is(err, privsep.ErrMessage) {
			c.t.Fatalf("%v %d is taken while %d is open: %v", message.Type, message.Index, c.open, err)
		}
		c.over = true
	}
}
