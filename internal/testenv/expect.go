package testenv

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Patience is the time that an expectation waits before it fails. It is long, for slow machines; no
// test measures it. The environment variable NETMON_PATIENCE changes it, for emulated machines.
var Patience = patience()

func patience() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("NETMON_PATIENCE")); err == nil {
		return d
	}
	return 10 * time.Second
}

// A Stream is a sequence of observed items, such as frames or lines. Safe for concurrent use.
type Stream[T any] struct {
	name string

	mu           sync.Mutex
	seen         []T
	ended        bool
	end          chan struct{}
	expectations []*Expectation[T]
}

// NewStream returns an empty stream; the name is for messages.
func NewStream[T any](name string) *Stream[T] {
	return &Stream[T]{name: name, end: make(chan struct{})}
}

// Publish adds an item.
func (s *Stream[T]) Publish(v T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, v)
	for _, e := range s.expectations {
		e.look(v)
	}
}

// End marks the end of the stream.
func (s *Stream[T]) End() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.ended = true
		close(s.end)
	}
}

// Seen returns all items up to now.
func (s *Stream[T]) Seen() []T {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

// Await returns the first item that satisfies all predicates, earlier or later than the call. It
// reports false if there is none before the end, or within [Patience].
func (s *Stream[T]) Await(what ...func(T) bool) (v T, ok bool) {
	e := s.Expect(what...)
	s.mu.Lock()
	for _, earlier := range s.seen {
		e.look(earlier)
	}
	s.mu.Unlock()
	if !e.Wait(Patience) {
		return v, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return e.found[0], true
}

// WaitEnd waits for the end and returns all items.
func (s *Stream[T]) WaitEnd(t testing.TB) []T {
	t.Helper()
	select {
	case <-s.end:
	case <-time.After(Patience):
		t.Fatalf("%s: no end within %v; seen:\n%s", s.name, Patience, s.dump())
	}
	return s.Seen()
}

// dump lists the items.
func (s *Stream[T]) dump() string {
	var b strings.Builder
	for _, v := range s.Seen() {
		fmt.Fprintf(&b, "\t%v\n", v)
	}
	return b.String()
}

// An Expectation waits for items in a stream that satisfy all its predicates.
type Expectation[T any] struct {
	stream *Stream[T]
	what   []func(T) bool
	want   int

	found []T
	met   chan struct{}
}

// Expect expects an item that satisfies all predicates, from now on. Call it before the stimulus.
// Earlier items do not count.
func (s *Stream[T]) Expect(what ...func(T) bool) *Expectation[T] { return s.ExpectN(1, what...) }

// ExpectN expects n such items.
func (s *Stream[T]) ExpectN(n int, what ...func(T) bool) *Expectation[T] {
	e := &Expectation[T]{stream: s, what: what, want: n, met: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expectations = append(s.expectations, e)
	return e
}

// look is called with the stream locked.
func (e *Expectation[T]) look(v T) {
	for _, p := range e.what {
		if !p(v) {
			return
		}
	}
	e.found = append(e.found, v)
	if len(e.found) == e.want {
		close(e.met)
	}
}

// Met reports whether the expectation is met.
func (e *Expectation[T]) Met() bool {
	select {
	case <-e.met:
		return true
	default:
		return false
	}
}

// Wait waits at most d and reports whether the expectation is met. It is for loops that repeat a
// stimulus; otherwise use Await.
func (e *Expectation[T]) Wait(d time.Duration) bool {
	select {
	case <-e.met:
		return true
	case <-e.stream.end:
		return e.Met()
	case <-time.After(d):
		return false
	}
}

// Await fails the test unless the expectation is met within [Patience].
func (e *Expectation[T]) Await(t testing.TB) {
	t.Helper()
	if !e.Wait(Patience) {
		t.Fatalf("%s: expected, not seen; seen:\n%s", e.stream.name, e.stream.dump())
	}
}

// Value calls Await, and returns the first matching item.
func (e *Expectation[T]) Value(t testing.TB) T {
	t.Helper()
	e.Await(t)
	e.stream.mu.Lock()
	defer e.stream.mu.Unlock()
	return e.found[0]
}

// NotBefore fails the test if the expectation is met before fence is. The test causes fence after
// the act that must have no effect: an effect would come before fence.
func (e *Expectation[T]) NotBefore(t testing.TB, fence *Expectation[T]) {
	t.Helper()
	fence.Await(t)
	e.stream.mu.Lock()
	found := slices.Clone(e.found)
	e.stream.mu.Unlock()
	if len(found) != 0 {
		t.Fatalf("%s: seen, not to be: %v", e.stream.name, found)
	}
}

// And is the predicate that all predicates are true.
func And[T any](ps ...func(T) bool) func(T) bool {
	return func(v T) bool {
		for _, p := range ps {
			if !p(v) {
				return false
			}
		}
		return true
	}
}

// Not is the predicate that p is false.
func Not[T any](p func(T) bool) func(T) bool { return func(v T) bool { return !p(v) } }
