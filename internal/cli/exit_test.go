package cli

import (
	"errors"
	"fmt"
	"testing"
)

func TestPrintError(t *testing.T) {
	base := errors.New("no such thing")
	for _, c := range []struct {
		name   string
		err    error
		status int
		want   string
	}{
		{"nothing", nil, 0, ""},
		{"plain", base, 1, "maas-netmon: no such thing\n"},
		{"usage", UsageError(base), 2, "maas-netmon: no such thing\nmaas-netmon: hint: see maas-netmon --help\n"},
		{"wrapped", fmt.Errorf("eth0: %w", &Failure{ExitNotEthernet, base, "try another"}), 4,
			"maas-netmon: eth0: no such thing\nmaas-netmon: hint: try another\n"},
		{"confinement", Unconfined(base), 5, "maas-netmon: no such thing\n"},
		{"said already", ErrAlreadyReported(5), 5, ""},
		{"several lines, escapes", errors.New("a\nb\x1b[31m\x00\u202e"), 1, "maas-netmon: a?b?[31m??\n"},
	} {
		var b writer
		if status := PrintError(&b, c.err); status != c.status || string(b) != c.want {
			t.Errorf("%s: exit status %d, %q, want %d, %q", c.name, status, b, c.status, c.want)
		}
	}
}

type writer []byte

func (w *writer) Write(b []byte) (int, error) { *w = append(*w, b...); return len(b), nil }
