package sandbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"unsafe"

	seccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
)

// A call is the input of a filter, in the layout of the kernel's struct seccomp_data
// (include/uapi/linux/seccomp.h).
type call struct {
	nr   uint32
	arch uint32
	ip   uint64
	args [6]uint64
}

// word returns the 32-bit word at a byte offset, in host byte order, as a filter
// sees it.
func (c *call) word(offset uint32) uint32 {
	return (*[unsafe.Sizeof(*c) / 4]uint32)(unsafe.Pointer(c))[offset/4]
}

func (c *call) String() string {
	return fmt.Sprintf("call %d (%#x) of architecture %#x with arguments %#x", c.nr, c.nr, c.arch, c.args)
}

// A program is a filter in classic BPF, and records the paths that were taken through it.
type program struct {
	code []unix.SockFilter
	ran  []bool    // by instruction
	went [][2]bool // by jump: not, and taken
}

func newProgram(code []unix.SockFilter) *program {
	return &program{code, make([]bool, len(code)), make([][2]bool, len(code))}
}

// run decides on a call. It supports the instructions that libseccomp uses, few of those that the
// kernel accepts (seccomp_check_filter in kernel/seccomp.c), and panics on others.
func (p *program) run(c *call) uint32 {
	var a uint32
	for pc := 0; ; pc++ {
		i := p.code[pc]
		p.ran[pc] = true
		var taken bool
		switch i.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			a = c.word(i.K)
			continue
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			a &= i.K
			continue
		case unix.BPF_RET | unix.BPF_K:
			return i.K
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(i.K)
			continue
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			taken = a == i.K
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			taken = a > i.K
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			taken = a >= i.K
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			taken = a&i.K != 0
		default:
			panic(fmt.Sprintf("instruction %d has the unknown code %#x", pc, i.Code))
		}
		if taken {
			p.went[pc][1] = true
			pc += int(i.Jt)
		} else {
			p.went[pc][0] = true
			pc += int(i.Jf)
		}
	}
}

// unused lists the instructions, and the branches of jumps, that no call has taken.
func (p *program) unused() []string {
	var unused []string
	for pc, i := range p.code {
		switch {
		case !p.ran[pc]:
			unused = append(unused, fmt.Sprintf("%d never runs", pc))
		case i.Code&7 != unix.BPF_JMP || i.Code == unix.BPF_JMP|unix.BPF_JA:
		case p.idle(pc):
		case !p.went[pc][0]:
			unused = append(unused, fmt.Sprintf("%d always jumps", pc))
		case !p.went[pc][1]:
			unused = append(unused, fmt.Sprintf("%d never jumps", pc))
		}
	}
	return unused
}

// idle reports whether only one branch of a jump is possible: libseccomp also compares the half of
// an argument that a rule ignores, with a mask of 0.
func (p *program) idle(pc int) bool {
	return pc > 0 && p.code[pc-1] == (unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K})
}

// decode reads instructions in the kernel's layout (struct sock_filter).
func decode(b []byte) []unix.SockFilter {
	var code []unix.SockFilter
	for ; len(b) >= unix.SizeofSockFilter; b = b[unix.SizeofSockFilter:] {
		code = append(code, unix.SockFilter{
			Code: binary.NativeEndian.Uint16(b), Jt: b[2], Jf: b[3], K: binary.NativeEndian.Uint32(b[4:]),
		})
	}
	return code
}

// export returns the filter that the sandbox would load for a table on that architecture.
func export(t *testing.T, a *abi, rules []rule) []unix.SockFilter {
	t.Helper()
	f, err := seccomp.NewFilter(violation)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Release()
	if a != native {
		if err := errors.Join(f.AddArch(a.scmp), f.RemoveArch(native.scmp)); err != nil {
			t.Fatal(err)
		}
	}
	if err := fill(f, rules); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	exported := make(chan error, 1)
	go func() {
		defer w.Close()
		exported <- f.ExportBPF(w)
	}()
	b, err := io.ReadAll(r)
	if err := <-exported; err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return decode(b)
}

// The interpreter runs a simple filter correctly.
func TestProgram(t *testing.T) {
	const (
		load = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		and  = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
		jump = unix.BPF_JMP | unix.BPF_JA
		eq   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		gt   = unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K
		ge   = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
		set  = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
		ret  = unix.BPF_RET | unix.BPF_K
	)
	type ins struct {
		code   uint16
		jt, jf uint8
		k      uint32
	}
	args := uint32(unsafe.Offsetof(call{}.args))
	low, high := args, args+4
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		low, high = high, low
	}
	c := call{nr: 39, arch: 0xc000003e, args: [6]uint64{0x1234567890abcdef}}
	for _, x := range []struct {
		name string
		code []ins
		want uint32
	}{
		{"number", []ins{{load, 0, 0, 0}, {eq, 0, 1, 39}, {ret, 0, 0, 1}, {ret, 0, 0, 2}}, 1},
		{"architecture", []ins{{load, 0, 0, 4}, {eq, 1, 0, 0xc000003e}, {ret, 0, 0, 1}, {ret, 0, 0, 2}}, 2},
		{"low half", []ins{{load, 0, 0, low}, {eq, 1, 0, 0x90abcdef}, {ret, 0, 0, 1}, {ret, 0, 0, 2}}, 2},
		{"high half", []ins{{load, 0, 0, high}, {eq, 1, 0, 0x12345678}, {ret, 0, 0, 1}, {ret, 0, 0, 2}}, 2},
		{"mask", []ins{{load, 0, 0, 0}, {and, 0, 0, 6}, {eq, 1, 0, 6}, {ret, 0, 0, 1}, {ret, 0, 0, 2}}, 2},
		{"not greater", []ins{{load, 0, 0, 0}, {gt, 1, 0, 39}, {ret, 0, 0, 1}, {ret, 0, 0, 2}}, 1},
		{"as great", []ins{{load, 0, 0, 0}, {ge, 1, 0, 39}, {ret, 0, 0, 1}, {ret, 0, 0, 2}}, 2},
		{"bit", []ins{{load, 0, 0, 0}, {set, 1, 0, 5}, {ret, 0, 0, 1}, {ret, 0, 0, 2}}, 2},
		{"no bit", []ins{{load, 0, 0, 0}, {set, 1, 0, 8}, {ret, 0, 0, 1}, {ret, 0, 0, 2}}, 1},
		{"jump", []ins{{jump, 0, 0, 1}, {ret, 0, 0, 1}, {ret, 0, 0, 2}}, 2},
	} {
		var code []unix.SockFilter
		for _, i := range x.code {
			code = append(code, unix.SockFilter{Code: i.code, Jt: i.jt, Jf: i.jf, K: i.k})
		}
		if got := newProgram(code).run(&c); got != x.want {
			t.Errorf("%s: got %d, want %d", x.name, got, x.want)
		}
	}
}
