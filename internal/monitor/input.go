// This file runs in the monitor, which opens an input and never reads it.

package monitor

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"maas-netmon/internal/cli"
	"maas-netmon/privsep"
)

// input is the FILE of the command line, or standard input. The monitor opens it but does not read
// it.
type input struct {
	fd    int
	size  uint64 // number of bytes to read; 0 if unknown
	shown bool   // show the progress on standard error
	drawn bool   // progress is on the screen and has to be erased
}

// openInput opens a file for reading, without any privilege.
func openInput(name string) (*input, error) {
	in := &input{fd: cli.InputFD(name)}
	if in.fd < 0 {
		// Non-blocking, so that opening a pipe without a writer does not block here. The parser
		// waits until there is data.
		fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
		if err != nil {
			return nil, inputFailure(name, err)
		}
		in.fd = fd
	} else if in.fd == unix.Stdin {
		if err := cli.CheckStdin(); err != nil {
			return nil, err
		}
	} else if flags, err := unix.FcntlInt(uintptr(in.fd), unix.F_GETFL, 0); err != nil || flags&unix.O_ACCMODE == unix.O_WRONLY {
		return nil, cli.UsageError(fmt.Errorf("%s is not open for reading", cli.InputName(name)))
	} else if privsep.Replaced(in.fd) {
		return nil, &cli.Failure{Status: cli.ExitFailure, Err: fmt.Errorf("%s: %w", cli.InputName(name), privsep.ErrAppArmor),
			Hint: "use cat FILE | maas-netmon -i -"}
	}
	if isTerminal(in.fd) {
		return nil, cli.UsageError(fmt.Errorf("%s: is a terminal, not a pipe or a file", cli.InputName(name)))
	}
	var st unix.Stat_t
	if err := unix.Fstat(in.fd, &st); err != nil {
		return nil, inputFailure(name, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return nil, inputFailure(name, unix.EISDIR)
	case 0:
		// An anonymous inode: the caller's descriptor was not open, and the Go runtime has opened
		// one with this number.
		return nil, inputFailure(name, unix.EBADF)
	case unix.S_IFREG:
		// Another program may have read a part of standard input already.
		if start, err := unix.Seek(in.fd, 0, unix.SEEK_CUR); err == nil {
			in.size = uint64(max(0, st.Size-start))
		}
	}
	in.shown = in.size > 0 && isTerminal(unix.Stderr)
	return in, nil
}

// inputFailure returns the error for a file that cannot be opened.
func inputFailure(name string, err error) error {
	f := &cli.Failure{Status: cli.ExitFailure, Err: fmt.Errorf("%s: %w", cli.InputName(name), err)}
	if errors.Is(err, unix.EACCES) {
		f.Hint = fmt.Sprintf("user %d must be able to open it; -i - reads what another user has opened", unix.Getuid())
	}
	return f
}

// close closes the monitor's descriptor when the parser has its own. A standard stream stays open,
// so that no other file gets its number.
func (in *input) close() error {
	if in.fd <= unix.Stderr {
		return nil
	}
	return unix.Close(in.fd)
}

// show prints the part that the parser has read, in per cent. The next output begins at the start
// of the same line, and is longer.
func (in *input) show(position uint64) {
	in.drawn = true
	fmt.Fprintf(&cli.Stderr, "%3d%%\r", min(100, 100*position/in.size))
}

// clear erases the output of show.
func (in *input) clear() {
	if in.drawn {
		fmt.Fprint(&cli.Stderr, "    \r")
	}
}
