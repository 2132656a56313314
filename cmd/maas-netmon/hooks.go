//go:build !attack && !liar && !stress

package main

// At these places builds that are for tests try what the confinement forbids (tag attack,
// attack.go), lie to the monitor (liar, liar.go), or put the Go runtime under stress
// (stress, stress.go). The program that is shipped does nothing here.

// parserRole is the work of the parser.
func parserRole(o options) error { return runParser(o) }

// launchArgs returns the parser's argument list.
func launchArgs(args []string) []string { return args }

// confined is called when the monitor is confined and the parser reads.
func (m *monitor) confined() {}

// confined is called when the parser is confined and about to read.
func (p *reading) confined([]int) {}
