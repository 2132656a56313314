package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// The exit statuses, a promise to users.
const (
	exitOK          = 0
	exitFailure     = 1 // run-time failure
	exitUsage       = 2 // wrong usage
	exitDamaged     = 2 // damaged input
	exitNoHeader    = 3 // input ended before its header
	exitNotEthernet = 4 // not an Ethernet interface or link type
	exitConfinement = 5 // confinement could not be set up, or was violated
)

// A failure is an error that ends the program with its own exit status, and may know
// a remedy.
type failure struct {
	status int
	err    error
	hint   string
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// usageError is an error in the command line.
func usageError(err error) error {
	return &failure{exitUsage, err, "see maas-netmon --help"}
}

// unconfined is an error of a layer of confinement.
func unconfined(err error) error {
	return &failure{status: exitConfinement, err: err}
}

// errSaid ends the program with a status when the parser, which exited with it, has
// said why.
type errSaid int

func (e errSaid) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// explain prints an error as one line, and its remedy as another, and returns the exit
// status for it. These two formats are all that the program prints as errors:
//
//	maas-netmon: eth9: no such network interface
//	maas-netmon: hint: sudo setcap cap_net_raw=p /usr/sbin/maas-netmon
func explain(w io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	var said errSaid
	if errors.As(err, &said) {
		return int(said)
	}
	fmt.Fprintf(w, "maas-netmon: %s\n", printable(err.Error()))
	var f *failure
	if errors.As(err, &f) && f.hint != "" {
		fmt.Fprintf(w, "maas-netmon: hint: %s\n", printable(f.hint))
	}
	return statusOf(err)
}

// statusOf returns the exit status for an error.
func statusOf(err error) int {
	var f *failure
	if errors.As(err, &f) {
		return f.status
	}
	return exitFailure
}

// printable returns a text as one line of what a terminal can show. Arguments and paths
// can hold anything.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}
