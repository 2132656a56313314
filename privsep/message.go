package privsep

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A Type is the purpose of a message.
type Type uint8

// The types of messages. Each is sent in one direction only, and only a Socket carries a
// descriptor.
const (
	_       Type = iota
	Hello        // parser to monitor, first: the parser is confined and waits
	Socket       // monitor to parser: a descriptor; Index counts up from 0
	Start        // monitor to parser: all sockets are sent, begin
	Ready        // parser to monitor: the setup is complete, reading begins
	Ping         // monitor to parser: asks for the counters of Index
	Pong         // parser to monitor: the answer, with the Index of the question
	Stop         // monitor to parser: handle the remaining frames, then answer until the end of file
	End          // parser to monitor: the input has ended; the parser answers until the end of file
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

// A Message is the unit of communication between the two processes: numbers, no text, always of the
// same size. The caller defines the meaning of Values; unused ones are zero.
type Message struct {
	Type   Type
	Index  uint16
	Values [NumValues]uint64
}

// version is in each message. Both ends are the same executable, so another version means that the
// file was replaced while the program started, or an attack.
const version = 1

// MessageLen is the size of an encoded message in bytes: version, type, index,
// four bytes of zero, values; in the host's byte order.
const MessageLen = 8 + 8*NumValues

// ErrMessage is wrapped by each error that refuses a message.
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

// Decode decodes a message. It accepts only the exact output of Encode for a message of a known
// type. Otherwise it returns a zero Message and an error that wraps [ErrMessage].
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
