package pcapfile

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"iter"
)

const gzipMagic = "\x1f\x8b" // RFC 1952 section 2.3.1

// errGzip is wrapped by the errors of a compressed stream.
var errGzip = errors.New("gzip")

// An inflater decompresses an input that can pause at any byte. compress/gzip cannot return in the
// middle of a stream when its reader has no data yet. So it runs as a coroutine, which yields there
// and continues when there is more data. Its memory is bounded: the window of gzip and a piece of
// the input.
type inflater struct {
	input    []byte // compressed bytes, not yet used
	buf      []byte // holds input
	ended    bool   // no bytes follow input
	starved  bool   // it needs more input to continue
	position uint64 // number of input bytes that were used

	out  []byte // receives the output
	n    int    // number of bytes in it
	err  error  // of the stream, io.EOF at its end
	next func() (struct{}, bool)
}

// newInflater returns an inflater for an input whose first bytes are begin.
func newInflater(begin []byte) *inflater {
	z := &inflater{buf: make([]byte, inputLen)}
	z.input = z.buf[:copy(z.buf, begin)]
	// The coroutine is never stopped: the process uses it to its end.
	z.next, _ = iter.Pull(z.run)
	return z
}

// read decompresses into b. It returns 0 without an error if nothing is available yet.
func (z *inflater) read(fd int, b []byte) (int, error) {
	if z.starved && !z.ended {
		n, err := readInput(fd, z.buf)
		switch {
		case err == io.EOF:
			z.ended = true
		case err != nil || n == 0:
			return 0, err
		}
		z.input = z.buf[:n]
	}
	z.starved = false
	z.out, z.n = b, 0
	if z.err == nil {
		z.next()
	}
	if z.n > 0 {
		return z.n, nil
	}
	return 0, z.err
}

// run is the coroutine: it yields when it has produced output, and when it needs input.
func (z *inflater) run(yield func(struct{}) bool) {
	source := &source{z, yield}
	zr, err := gzip.NewReader(source)
	for err == nil {
		// One member at a time: bytes after the last member are ignored, as in gzip(1).
		zr.Multistream(false)
		for err == nil {
			z.n, err = zr.Read(z.out)
			if z.n > 0 && !yield(struct{}{}) {
				return
			}
		}
		if err == io.EOF && source.more() == nil && z.input[0] == gzipMagic[0] {
			if err = zr.Reset(source); errors.Is(err, gzip.ErrHeader) {
				err = io.EOF
			}
		}
	}
	if err != io.EOF {
		err = fmt.Errorf("%w: %w", errGzip, err)
	}
	z.n, z.err = 0, err
}

// A source passes an inflater's input to compress/gzip. It implements io.ByteReader, so that
// compress/gzip does not read beyond the end of a member.
type source struct {
	z     *inflater
	yield func(struct{}) bool
}

// more yields until there is input, and returns io.EOF at its end.
func (s *source) more() error {
	for len(s.z.input) == 0 {
		if s.z.ended {
			return io.EOF
		}
		s.z.starved = true
		if !s.yield(struct{}{}) {
			return io.ErrClosedPipe
		}
	}
	return nil
}

func (s *source) Read(b []byte) (int, error) {
	if err := s.more(); err != nil {
		return 0, err
	}
	n := copy(b, s.z.input)
	s.z.input = s.z.input[n:]
	s.z.position += uint64(n)
	return n, nil
}

func (s *source) ReadByte() (byte, error) {
	if err := s.more(); err != nil {
		return 0, err
	}
	b := s.z.input[0]
	s.z.input = s.z.input[1:]
	s.z.position++
	return b, nil
}
