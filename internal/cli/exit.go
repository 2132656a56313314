package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// The exit statuses. They are documented and stable.
const (
	ExitOK          = 0
	ExitFailure     = 1 // run-time failure
	ExitUsage       = 2 // wrong usage
	ExitDamaged     = 2 // damaged input
	ExitNoHeader    = 3 // input ended before its header
	ExitNotEthernet = 4 // not an Ethernet interface or link type
	ExitConfinement = 5 // confinement could not be set up, or was violated
)

// A Failure is an error that ends the program with its own exit status, and can have a hint for the
// user.
type Failure struct {
	Status int
	Err    error
	Hint   string
}

func (f *Failure) Error() string { return f.Err.Error() }
func (f *Failure) Unwrap() error { return f.Err }

// UsageError returns an error in the command line as a Failure. An error that is a Failure already
// stays unchanged, with its own hint.
func UsageError(err error) error {
	var f *Failure
	if errors.As(err, &f) {
		return err
	}
	return &Failure{ExitUsage, err, "see maas-netmon --help"}
}

// Unconfined returns the Failure for an error of a layer of confinement.
func Unconfined(err error) error {
	return &Failure{Status: ExitConfinement, Err: err}
}

// ErrAlreadyReported ends the process with an exit status and prints nothing: the other process has
// printed the error.
type ErrAlreadyReported int

func (e ErrAlreadyReported) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// PrintError prints an error as one line, and its hint as another, and returns the exit status for
// it. All errors of the program have these two formats:
//
//	maas-netmon: eth9: no such network interface
//	maas-netmon: hint: sudo setcap cap_net_raw=p /usr/sbin/maas-netmon
func PrintError(w io.Writer, err error) int {
	if err == nil {
		return ExitOK
	}
	var said ErrAlreadyReported
	if errors.As(err, &said) {
		return int(said)
	}
	fmt.Fprintf(w, "maas-netmon: %s\n", Printable(err.Error()))
	var f *Failure
	if errors.As(err, &f) && f.Hint != "" {
		fmt.Fprintf(w, "maas-netmon: hint: %s\n", Printable(f.Hint))
	}
	return StatusOf(err)
}

// StatusOf returns the exit status for an error.
func StatusOf(err error) int {
	var f *Failure
	if errors.As(err, &f) {
		return f.Status
	}
	return ExitFailure
}

// Printable returns a text as one line of printable characters. Arguments and paths can contain any
// bytes, also control sequences for terminals.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}
