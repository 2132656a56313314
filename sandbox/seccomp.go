package sandbox

import (
	"fmt"

	seccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
)

// compile compiles a table to a libseccomp filter. A call that the table does not allow, or that
// uses the entry point of another architecture (int 0x80, x32), kills the process.
func compile(rules []rule) (*seccomp.ScmpFilter, error) {
	f, err := seccomp.NewFilter(violation)
	if err != nil {
		return nil, fmt.Errorf("seccomp: %w", err)
	}
	return f, fill(f, rules)
}

// fill adds a table to a filter that kills the process by default.
func fill(f *seccomp.ScmpFilter, rules []rule) error {
	// Drop has set no_new_privs on all threads, and a confined process may not call prctl(2) for
	// it.
	if err := f.SetNoNewPrivsBit(false); err != nil {
		return fmt.Errorf("seccomp: %w", err)
	}
	if err := f.SetBadArchAction(seccomp.ActKillProcess); err != nil {
		return fmt.Errorf("seccomp: foreign architectures: %w", err)
	}
	for _, r := range rules {
		if err := add(f, r, seccomp.ActAllow); err != nil {
			return err
		}
	}
	// clone3 passes its flags in memory, which a filter cannot read. ENOSYS makes glibc fall back
	// to clone.
	clone3 := allow("clone3", "glibc: a thread")
	return add(f, clone3, seccomp.ActErrno.SetReturnCode(int16(unix.ENOSYS)))
}

// add adds one rule.
func add(f *seccomp.ScmpFilter, r rule, action seccomp.ScmpAction) error {
	call, err := seccomp.GetSyscallFromName(r.call)
	if err != nil {
		return fmt.Errorf("seccomp: %s: %w", r.call, err)
	}
	conds := make([]seccomp.ScmpCondition, 0, len(r.args))
	for _, a := range r.args {
		c := seccomp.ScmpCondition{Argument: a.i, Op: seccomp.CompareMaskedEqual, Operand1: a.mask, Operand2: a.value}
		if a.mask == allBits {
			c = seccomp.ScmpCondition{Argument: a.i, Op: seccomp.CompareEqual, Operand1: a.value}
		}
		conds = append(conds, c)
	}
	if err := f.AddRuleConditionalExact(call, action, conds); err != nil {
		return fmt.Errorf("seccomp: rule for %s: %w", r.call, err)
	}
	return nil
}

// load puts a table in force on all threads, in addition to the filters in force: libseccomp-golang
// uses SECCOMP_FILTER_FLAG_TSYNC. [Inspect] verifies that it took effect.
func load(rules []rule) error {
	f, err := compile(rules)
	if err != nil {
		return err
	}
	defer f.Release()
	if err := f.Load(); err != nil {
		return fmt.Errorf("seccomp: load filter: %w", err)
	}
	return nil
}
