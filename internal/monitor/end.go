package monitor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"maas-netmon/capture/packetsock"
	"maas-netmon/internal/cli"
	"maas-netmon/privsep"
)

// end waits for the end of the parser, and determines the program's error from its status and from
// the cause that ended the loop or the start.
func (m *monitor) end(cause error) error {
	if m.phase < draining {
		m.manager.notify("STOPPING=1")
	}
	if errors.Is(cause, unix.EPIPE) {
		cause = io.EOF
	}
	// After the end of its messages the parser has ended, or is about to: its exit status has the
	// reason. In any other case kill it, so that no parser runs without a monitor.
	if !errors.Is(cause, io.EOF) {
		m.child.Kill()
	}
	timer := time.AfterFunc(stopLimit, m.child.Kill)
	status, err := m.child.Wait()
	late := !timer.Stop()
	// Close them in parallel: the exit of the process would close them one after the other, each
	// after a delay in the kernel.
	_ = packetsock.Close(sockets(m.ifaces))
	switch {
	case err != nil:
		return err
	case late && status.Signaled() && status.Signal() == unix.SIGKILL && errors.Is(cause, io.EOF):
		return errors.New("the parser was killed: it closed its socket and went on")
	case errors.Is(cause, privsep.ErrMessage):
		return cli.Unconfined(fmt.Errorf("the parser was killed: %w", cause))
	case errors.Is(cause, errStopped):
		return nil
	case errors.Is(cause, io.EOF):
		if m.stoppedTogether(status) {
			return nil
		}
		return parserEnded(status, m.phase >= draining, m.inputEnded)
	}
	return cause
}

// stoppedTogether reports whether the monitor received the signal that ended the parser. Early in
// its start the parser does not ignore signals yet, so a signal to the process group, such as
// Ctrl-C, ends it. That is a stop and not a failure.
func (m *monitor) stoppedTogether(status unix.WaitStatus) bool {
	if m.phase != starting || !status.Signaled() || !slices.Contains(endSignals, os.Signal(status.Signal())) {
		return false
	}
	select {
	case <-m.signals:
		return true
	case <-time.After(100 * time.Millisecond):
		return false
	}
}

// parserEnded returns the error for a parser that ended with a status. finished means that the
// parser was expected to end, inputEnded that it had read all of its input.
func parserEnded(status unix.WaitStatus, finished, inputEnded bool) error {
	switch {
	case finished && status.Exited() && status.ExitStatus() == cli.ExitOK:
		return nil
	case inputEnded && status.Exited() && slices.Contains([]int{cli.ExitDamaged, cli.ExitNoHeader, cli.ExitNotEthernet}, status.ExitStatus()):
		return cli.ErrAlreadyReported(status.ExitStatus())
	case status.Signaled() && status.Signal() == unix.SIGSYS:
		return &cli.Failure{Status: cli.ExitConfinement,
			Err:  errors.New("the parser was killed by seccomp: it made a forbidden system call (SIGSYS)"),
			Hint: "the kernel's log has the number of the call: dmesg | grep type=1326"}
	case status.Signaled():
		name := unix.SignalName(status.Signal())
		if name == "" {
			name = status.Signal().String() // "signal 34"
		}
		return fmt.Errorf("the parser was killed by %s", name)
	case status.ExitStatus() == cli.ExitOK:
		return errors.New("the parser exited unexpectedly")
	case status.ExitStatus() == cli.ExitFailure || status.ExitStatus() == cli.ExitConfinement:
		return cli.ErrAlreadyReported(status.ExitStatus())
	}
	return fmt.Errorf("the parser ended with exit status %d", status.ExitStatus())
}
