package privsep

import (
	"errors"
	"testing"
)

func TestMessageRoundTrip(t *testing.T) {
	for typ := Hello; typ < endType; typ++ {
		want := Message{Type: typ, Index: 0xabcd}
		for i := range want.Values {
			want.Values[i] = uint64(i)<<56 | uint64(i+1)
		}
		b := want.Encode()
		if len(b) != MessageLen {
			t.Fatalf("%v: encoded in %d bytes, want %d", typ, len(b), MessageLen)
		}
		got, err := Decode(b)
		if err != nil || got != want {
			t.Errorf("%v: got %+v, %v, want %+v", typ, got, err, want)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	good := (&Message{Type: Ping}).Encode()
	alter := func(i int, v byte) []byte {
		b := append([]byte(nil), good...)
		b[i] = v
		return b
	}
	for _, c := range []struct {
		name string
		b    []byte
	}{
		{"nothing", nil},
		{"one byte short", good[:len(good)-1]},
		{"one byte long", append(append([]byte(nil), good...), 0)},
		{"older version", alter(0, version-1)},
		{"newer version", alter(0, version+1)},
		{"type zero", alter(1, 0)},
		{"type past the last", alter(1, byte(endType))},
		{"highest type", alter(1, 255)},
		{"reserved byte 4", alter(4, 1)},
		{"reserved byte 7", alter(7, 0x80)},
	} {
		if m, err := Decode(c.b); !errors.Is(err, ErrMessage) || m != (Message{}) {
			t.Errorf("%s: got %+v, %v, want the zero message and ErrMessage", c.name, m, err)
		}
	}
}

func TestTypeString(t *testing.T) {
	seen := map[string]bool{}
	for typ := Hello; typ < endType; typ++ {
		s := typ.String()
		if s == "" || s == "invalid" || seen[s] {
			t.Errorf("type %d is called %q", typ, s)
		}
		seen[s] = true
	}
	if got := endType.String(); got != "invalid" {
		t.Errorf("a type that does not exist is called %q", got)
	}
}
