package privsep

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A Type says what a message is for.
type Type uint8

// The types of messages. Each travels in one direction only, and only a Socket
// carries a descriptor.
const (
	_       Type = iota
	Hello        // parser to monitor, first: the parser is confined and waits
	Socket       // monitor to parser: a descriptor, Index counts up from 0
	Start        // monitor to parser: that was the last Socket, begin
	Ready        // parser to monitor: everything is set up, work begins
	Ping         // monitor to parser: counters of Index, please
	Pong         // parser to monitor: the answer, with the Index of the question
	Stop         // monitor to parser: finish what is there, then go on answering until the end of file
	End          // parser to monitor: what it reads has ended; it goes on answering until the end of file
	Name         // monitor to parser: from now on Index has another name, or none
	Named        // parser to monitor: the answer
	endType      // one past the last
)

// String returns the lower-case name of the type.
func (t Type) String() string {
	names := [...]string{"invalid", "hello", "socket", "start", "ready", "ping", "pong", "stop", "end", "name", "named"}
	if t >= endType {
		t = 0
	}
	return names[t]
}

// NumValues is the number of values in a message.
const NumValues = 24

// A Message is what the two processes say to each other: numbers, no text, always of
// the same size. The meaning of Values is the caller's; unused ones are zero.
type Message struct {
	Type   Type
	Index  uint16
	Values [NumValues]uint64
}

// version is in each message. Both ends are the same executable, so another version
// means that it was replaced while the program started, or an attack.
const version = 1

// MessageLen is the size of an encoded message in bytes: version, type, index,
// four bytes of zero, values; in the host's byte order.
const MessageLen = 8 + 8*NumValues

// ErrMessage is what every refusal of a message wraps.
var ErrMessage = errors.New("malformed message")

// Encode returns the bytes of m.
func (m *Message) Encode() []byte {
	b := make([]byte, 0, MessageLen)
	b = append(b, version, byte(m.Type))
	b = binary.NativeEndian.AppendUint16(b, m.Index)
	b = append(b, 0, 0, 0, 0)
	for _, v := range m.Values {
		b = binary.NativeEndian.AppendUint64(b, v)
	}
	return b
}

// Decode reads a message. Anything but exactly what Encode gives for a message of
// a known type is refused with an error that wraps [ErrMessage] and a zero Message.
func Decode(b []byte) (Message, error) {
	if len(b) != MessageLen {
		return Message{}, fmt.Errorf("%w: %d bytes, want %d", ErrMessage, len(b), MessageLen)
	}
	if b[0] != version {
		return Message{}, fmt.Errorf("%w: version %d, want %d", ErrMessage, b[0], version)
	}
	if t := Type(b[1]); t == 0 || t >= endType {
		return Message{}, fmt.Errorf("%w: type %d", ErrMessage, b[1])
	}
	if [4]byte(b[4:8]) != [4]byte{} {
		return Message{}, fmt.Errorf("%w: reserved bytes", ErrMessage)
	}
	m := Message{Type: Type(b[1]), Index: binary.NativeEndian.Uint16(b[2:])}
	for i := range m.Values {
		m.Values[i] = binary.NativeEndian.Uint64(b[8+8*i:])
	}
	return m, nil
}
