package sandbox

import (
	"fmt"

	seccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
)

// compile makes libseccomp's filter of a table: what it does not allow, and what
// comes in through another architecture's entry (int 0x80, x32), kills the process.
func compile(rules []rule) (*seccomp.ScmpFilter, error) {
	f, err := seccomp.NewFilter(violation)
	if err != nil {
		return nil, fmt.Errorf("seccomp: %w", err)
	}
	// Drop has done that, on all threads, and prctl(2) is not for a confined process.
	if err := f.SetNoNewPrivsBit(false); err != nil {
		return nil, fmt.Errorf("seccomp: %w", err)
	}
	if err := f.SetBadArchAction(seccomp.ActKillProcess); err != nil {
		return nil, fmt.Errorf("seccomp: foreign architectures: %w", err)
	}
	for _, r := range rules {
		if err := add(f, r, seccomp.ActAllow); err != nil {
			return nil, err
		}
	}
	// clone3 keeps its flags in memory, where a filter cannot look. Told that the
	// kernel does not know it, glibc falls back to clone.
	clone3 := with("clone3", "glibc: a thread")
	return f, add(f, clone3, seccomp.ActErrno.SetReturnCode(int16(unix.ENOSYS)))
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
		if a.mask == all {
			c = seccomp.ScmpCondition{Argument: a.i, Op: seccomp.CompareEqual, Operand1: a.value}
		}
		conds = append(conds, c)
	}
	if err := f.AddRuleConditionalExact(call, action, conds); err != nil {
		return fmt.Errorf("seccomp: rule for %s: %w", r.call, err)
	}
	return nil
}

// load puts a table in force on all threads, on top of what is in force already:
// libseccomp-golang asks for SECCOMP_FILTER_FLAG_TSYNC. Whether it got it is for [Inspect] to see.
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
