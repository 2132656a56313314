//go:build !bench

package sandbox

// benchRules are for a build with the tag bench (rules_bench.go). The program that is shipped
// has none.
var benchRules []rule
