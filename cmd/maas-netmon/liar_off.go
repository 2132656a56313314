//go:build !liar

package main

// parserRole is the work of the parser. A build with the tag liar, which is for tests,
// has something else in its place (liar.go).
func parserRole(o options) error { return runParser(o) }
