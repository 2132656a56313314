//go:build !bench

package sandbox

// benchRules are for a build with the tag bench (rules_bench.go). The shipped program has none.
var benchRules []rule
