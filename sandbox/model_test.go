package sandbox

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"
)

// These tests compare the filters in the kernel with the policy of the documents (policy_test.go),
// without rules.go, which states the policy, and without libseccomp, which compiles it. So neither
// a rule that is too wide nor a defect of libseccomp's optimizer can weaken the sandbox unnoticed.

// killed and enosys are the verdicts other than [unix.SECCOMP_RET_ALLOW].
const (
	killed = unix.SECCOMP_RET_KILL_PROCESS
	enosys = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
)

var foreignArchs = []uint32{
	unix.AUDIT_ARCH_I386, unix.AUDIT_ARCH_ARM, unix.AUDIT_ARCH_AARCH64, unix.AUDIT_ARCH_X86_64,
	unix.AUDIT_ARCH_PPC64LE, unix.AUDIT_ARCH_RISCV64, unix.AUDIT_ARCH_S390X, 0, ^uint32(0),
}

// x32 marks a number of the x32 ABI, which has the architecture of amd64.
const x32 = 0x40000000

// A model is the policy of one process.
type model []permit

// verdict returns the expected verdict on a call on architecture a.
func (m model) verdict(a *abi, c *call) uint32 {
	if c.arch != a.arch {
		return killed
	}
	for i := range m {
		if a.numbers[m[i].call] == c.nr && m[i].ok(c.args) {
			return unix.SECCOMP_RET_ALLOW
		}
	}
	if c.nr == a.numbers["clone3"] {
		return enosys
	}
	return killed
}

// strictest returns the kernel's verdict if two filters decide: the lower action as a signed number
// (seccomp_run_filters in kernel/seccomp.c).
func strictest(a, b uint32) uint32 {
	if int32(a&unix.SECCOMP_RET_ACTION_FULL) < int32(b&unix.SECCOMP_RET_ACTION_FULL) {
		return a
	}
	return b
}

// A subject has the filters of a process, and the policies that they should implement.
type subject struct {
	abi      *abi
	programs []*program
	models   []model
}

// decide returns the verdict of the filters on a call, and that of the policies.
func (s *subject) decide(c *call) (got, want uint32) {
	got, want = unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_ALLOW
	for _, p := range s.programs {
		got = strictest(got, p.run(c))
	}
	for _, m := range s.models {
		want = strictest(want, m.verdict(s.abi, c))
	}
	return got, want
}

// calls generates calls that are close to allowed ones: most are an example with a small change in
// one or two arguments.
type calls struct {
	*rand.Rand
	arch     uint32
	numbers  []uint32 // of each example
	examples []args
	values   []uint64 // that occur in the examples
}

func newCalls(seed uint64, a *abi, models []model) *calls {
	g := &calls{Rand: rand.New(rand.NewPCG(seed, 0)), arch: a.arch, values: []uint64{0, 1, allBits, 1 << 31, 1 << 32, 1 << 63}}
	for _, m := range append(models, model{always("clone3")}) {
		for _, p := range m {
			for _, e := range p.examples {
				g.numbers, g.examples = append(g.numbers, a.numbers[p.call]), append(g.examples, e)
				for _, v := range e {
					if v != 0 {
						g.values = append(g.values, v)
					}
				}
			}
		}
	}
	return g
}

// next returns a call. An argument that is 0 in the example may not matter.
func (g *calls) next(c *call) {
	i := g.IntN(len(g.examples))
	*c = call{nr: g.numbers[i], arch: g.arch, ip: g.Uint64(), args: g.examples[i]}
	for i, v := range c.args {
		if v == 0 && g.IntN(2) == 0 {
			c.args[i] = g.value()
		}
	}
	for g.IntN(2) == 0 {
		i := g.IntN(len(c.args))
		c.args[i] = g.near(c.args[i])
	}
	switch g.IntN(32) {
	case 0:
		c.arch = foreignArchs[g.IntN(len(foreignArchs))]
	case 1:
		c.arch = g.arch ^ 1<<g.IntN(32)
	case 2:
		c.nr = g.Uint32N(1024)
	case 3:
		c.nr ^= 1 << g.IntN(32)
	case 4:
		c.nr |= x32
	case 5:
		c.nr = g.Uint32()
	case 6:
		c.nr = ^g.Uint32N(4)
	}
}

// value returns a value that may occur in the policy.
func (g *calls) value() uint64 {
	v := g.values[g.IntN(len(g.values))]
	if g.IntN(2) == 0 {
		v = g.near(v)
	}
	return v
}

// near returns a number that is easily confused with v.
func (g *calls) near(v uint64) uint64 {
	switch g.IntN(12) {
	case 0:
		return v + 1
	case 1:
		return v - 1
	case 2:
		return v | 1<<32
	case 3:
		return v | 1<<63
	case 4:
		return v | 0xffffffff<<32
	case 5:
		return uint64(int32(v)) // sign extension
	case 6:
		return uint64(uint32(v))
	case 7:
		return v>>32 | v<<32
	case 8:
		return ^v
	case 9:
		return g.Uint64()
	case 10:
		return g.values[g.IntN(len(g.values))]
	}
	return v ^ 1<<g.IntN(64)
}

// compare lets the filters and the policies decide on calls until they differ: n random calls, and
// the numbers 0 to 1023 of each architecture. It returns the difference, or "".
func (s *subject) compare(seed uint64, n int) string {
	g := newCalls(seed, s.abi, s.models)
	var c call
	differs := func() string {
		if got, want := s.decide(&c); got != want {
			return fmt.Sprintf("%v: the filter gives %#x, the policy %#x", &c, got, want)
		}
		return ""
	}
	for range n {
		g.next(&c)
		if d := differs(); d != "" {
			return d
		}
	}
	for _, arch := range append(foreignArchs, s.abi.arch) {
		for nr := range uint32(1024) {
			for _, bit := range []uint32{0, x32, 1 << 31} {
				for _, v := range []uint64{0, 1, allBits} {
					c = call{nr: nr | bit, arch: arch, args: [6]uint64{v, v, v, v, v, v}}
					if d := differs(); d != "" {
						return d
					}
				}
			}
		}
	}
	return ""
}

// random is the number of random calls per comparison.
const random = 500_000

// check fails the test if the filters and the policies differ, or if the calls did not take every
// path through the filters.
func (s *subject) check(t *testing.T) {
	t.Helper()
	seed := rand.Uint64()
	if d := s.compare(seed, random); d != "" {
		t.Fatalf("seed %d: %s", seed, d)
	}
	for i, p := range s.programs {
		if unused := p.unused(); len(unused) > 0 {
			t.Errorf("seed %d: filter %d of %d instructions: no call shows that %q", seed, i, len(p.code), unused)
		}
	}
}

// The policy covers each call: an example is allowed, but not for another architecture.
func TestModel(t *testing.T) {
	for _, table := range tables(t, 2) {
		for _, a := range abis {
			for _, p := range table.policy {
				nr, ok := a.numbers[p.call]
				if !ok {
					t.Fatalf("%s: no number for %s: add it to the test", table.name, p.call)
				}
				for _, e := range p.examples {
					c := call{nr: nr, arch: a.arch, args: e}
					if got := table.policy.verdict(a, &c); got != unix.SECCOMP_RET_ALLOW {
						t.Errorf("%s, %s: %v: %#x", a.name, table.name, &c, got)
					}
					c.arch = unix.AUDIT_ARCH_I386
					if got := table.policy.verdict(a, &c); got != killed {
						t.Errorf("%s, %s: %v: %#x", a.name, table.name, &c, got)
					}
				}
			}
			if got := table.policy.verdict(a, &call{nr: a.numbers["clone3"], arch: a.arch}); got != enosys {
				t.Errorf("%s, %s: clone3: %#x", a.name, table.name, got)
			}
			if got := table.policy.verdict(a, &call{nr: a.numbers["openat"], arch: a.arch}); got != killed {
				t.Errorf("%s, %s: openat: %#x", a.name, table.name, got)
			}
		}
	}
}

// libseccomp compiles each table to the policy, for each architecture.
func TestExportedFilters(t *testing.T) {
	for _, table := range tables(t, 2) {
		for _, a := range abis {
			t.Run(table.name+" on "+a.name, func(t *testing.T) {
				t.Parallel()
				s := subject{a, []*program{newProgram(export(t, a, table.rules))}, []model{table.policy}}
				s.check(t)
			})
		}
	}
}

// The comparison detects a filter with a single wrong instruction: each instruction is changed in
// each possible way.
func TestComparisonSeesWrongFilters(t *testing.T) {
	for _, table := range tables(t, 2) {
		t.Run(table.name, func(t *testing.T) {
			t.Parallel()
			s := subject{native, []*program{newProgram(export(t, native, table.rules))}, []model{table.policy}}
			p := s.programs[0]
			mutants := 0
			for pc, right := range p.code {
				if noConsequence(p, pc) {
					continue
				}
				for _, wrong := range wrongs(right) {
					mutants++
					p.code[pc] = wrong
					if s.compare(1, random) == "" {
						t.Errorf("instruction %d is %+v instead of %+v, and no call shows it", pc, wrong, right)
					}
				}
				p.code[pc] = right
			}
			t.Logf("%d wrong filters", mutants)
		})
	}
}

// noConsequence reports whether a filter is correct in spite of a wrong instruction: one about the
// half of an argument that a rule ignores, and the two that detect x32, whose numbers are in no
// table.
func noConsequence(p *program, pc int) bool {
	for i := pc; i < pc+3 && i < len(p.code); i++ {
		if p.idle(i) { // load, mask, jump
			return true
		}
	}
	isX32 := func(pc int) bool { return p.code[pc].Code&0xf0 == unix.BPF_JGE && p.code[pc].K == x32 }
	return isX32(pc) || pc > 0 && isX32(pc-1)
}

// wrongs returns other instructions that libseccomp might have generated instead of one.
func wrongs(i unix.SockFilter) []unix.SockFilter {
	k := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: i.Code, Jt: i.Jt, Jf: i.Jf, K: k} }
	switch i.Code & 7 {
	case unix.BPF_LD:
		return []unix.SockFilter{k(i.K ^ 4)} // the other half
	case unix.BPF_ALU:
		return []unix.SockFilter{k(i.K & (i.K - 1)), k(i.K | (i.K + 1)), k(^i.K)}
	case unix.BPF_RET:
		if i.K == unix.SECCOMP_RET_ALLOW {
			return []unix.SockFilter{k(killed), k(unix.SECCOMP_RET_LOG)}
		}
		return []unix.SockFilter{k(unix.SECCOMP_RET_ALLOW), k(i.K ^ 1)}
	}
	if i.Jt == i.Jf {
		return nil
	}
	other := i
	other.Jt, other.Jf = i.Jf, i.Jt
	always, never := i, i
	always.Jf, never.Jt = i.Jt, i.Jf
	return []unix.SockFilter{other, always, never, k(i.K ^ 1), k(i.K ^ 1<<31)}
}
