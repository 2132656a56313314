package testenv

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A MAC is an Ethernet address.
type MAC [6]byte

// String returns it as 02:00:00:00:00:0a.
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// Broadcast is the address of all hosts.
var Broadcast = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// A Tag is a VLAN tag in its form on the wire.
type Tag struct{ TPID, TCI uint16 }

// An ARP is an ARP packet in its frame, in a form for tests. Bytes replaces zero fields by those of
// a request: broadcast, operation 1.
type ARP struct {
	Source, Destination MAC // of the Ethernet header; Source is SenderMAC if zero
	Tags                []Tag
	Operation           uint16
	SenderMAC           MAC
	SenderIP            string // dotted quad
	TargetMAC           MAC
	TargetIP            string
}

// Bytes returns the frame, padded to the 60 bytes that Ethernet requires.
func (a ARP) Bytes() []byte {
	if a.Source == (MAC{}) {
		a.Source = a.SenderMAC
	}
	if a.Destination == (MAC{}) {
		a.Destination = Broadcast
	}
	if a.Operation == 0 {
		a.Operation = 1
	}
	b := slices.Concat(a.Destination[:], a.Source[:])
	for _, tag := range a.Tags {
		b = binary.BigEndian.AppendUint16(b, tag.TPID)
		b = binary.BigEndian.AppendUint16(b, tag.TCI)
	}
	b = append(b, 8, 6, 0, 1, 8, 0, 6, 4)
	b = binary.BigEndian.AppendUint16(b, a.Operation)
	sender, target := netip.MustParseAddr(a.SenderIP).As4(), netip.MustParseAddr(a.TargetIP).As4()
	b = slices.Concat(b, a.SenderMAC[:], sender[:], a.TargetMAC[:], target[:])
	return append(b, make([]byte, max(0, 60-len(b)))...)
}

// A Port is a packet socket on an interface, for sending any bytes.
type Port struct {
	fd int
}

// Open opens a Port on the host's interface. It needs CAP_NET_RAW.
func (h Host) Open() (*Port, error) {
	p := &Port{fd: -1}
	err := h.Do(func() error {
		fd, err := packetSocket(h.Name, 0)
		p.fd = fd
		return err
	})
	return p, err
}

// packetSocket opens a packet socket bound to an interface for frames of a protocol: ETH_P_ALL, or
// 0 to receive none.
func packetSocket(name string, protocol uint16) (int, error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return -1, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open packet socket: %w", err)
	}
	network := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, protocol))
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: network, Ifindex: ifi.Index}); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("bind packet socket: %w", err)
	}
	return fd, nil
}

// Port waits until the interface is running, because the kernel drops what is sent before, and
// returns an open Port that is closed at the end of the test.
func (h Host) Port(t testing.TB) *Port {
	t.Helper()
	Must(t, h.AwaitRunning())
	p, err := h.Open()
	Must(t, err)
	t.Cleanup(func() { p.Close() })
	return p
}

// Close closes the port.
func (p *Port) Close() error { return unix.Close(p.fd) }

// Send sends a frame.
func (p *Port) Send(frame []byte) error {
	_, err := unix.Write(p.fd, frame)
	if err != nil {
		return fmt.Errorf("send frame: %w", err)
	}
	return nil
}

// Frame is a frame as it was on the wire: a tag that the kernel stripped is inserted again.
type Frame struct {
	Bytes    []byte
	Outgoing bool // sent by this host
}

// String returns the bytes in hexadecimal.
func (f Frame) String() string { return fmt.Sprintf("%x (outgoing %v)", f.Bytes, f.Outgoing) }

// From is the predicate that a frame has the source MAC.
func From(m MAC) func(Frame) bool {
	return func(f Frame) bool { return len(f.Bytes) >= 12 && MAC(f.Bytes[6:12]) == m }
}

// To is the predicate that a frame has the destination MAC.
func To(m MAC) func(Frame) bool {
	return func(f Frame) bool { return len(f.Bytes) >= 6 && MAC(f.Bytes[:6]) == m }
}

// Tagged is the predicate that the outermost tag of a frame is this tag.
func Tagged(tag Tag) func(Frame) bool {
	return func(f Frame) bool {
		return len(f.Bytes) >= 16 && binary.BigEndian.Uint16(f.Bytes[12:]) == tag.TPID &&
			binary.BigEndian.Uint16(f.Bytes[14:]) == tag.TCI
	}
}

// EtherType is the predicate that an untagged frame has the EtherType.
func EtherType(v uint16) func(Frame) bool {
	return func(f Frame) bool { return len(f.Bytes) >= 14 && binary.BigEndian.Uint16(f.Bytes[12:]) == v }
}

// Sniff returns the frames that the host's interface receives and sends from now on,
// until the test ends.
func (h Host) Sniff(t testing.TB) *Stream[Frame] {
	t.Helper()
	fd := -1
	Must(t, h.Do(func() (err error) {
		fd, err = packetSocket(h.Name, unix.ETH_P_ALL)
		return err
	}))
	Must(t, unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1))
	// The timeout lets the reader notice the end of the test.
	Must(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000}))
	s := NewStream[Frame]("frames on " + h.Name)
	stop, stopped := make(chan bool), make(chan bool)
	t.Cleanup(func() {
		close(stop)
		<-stopped
		unix.Close(fd)
	})
	go func() {
		defer close(stopped)
		defer s.End()
		for {
			select {
			case <-stop:
				return
			default:
			}
			if f, ok := receiveFrame(fd); ok {
				s.Publish(f)
			}
		}
	}()
	return s
}

// receiveFrame reads one frame, or gives up after the socket's timeout.
func receiveFrame(fd int) (Frame, bool) {
	buf, control := make([]byte, 2048), make([]byte, 256)
	n, controlLen, _, from, err := unix.Recvmsg(fd, buf, control, 0)
	if err != nil {
		return Frame{}, false
	}
	f := Frame{Bytes: buf[:n]}
	if ll, ok := from.(*unix.SockaddrLinklayer); ok {
		f.Outgoing = ll.Pkttype == unix.PACKET_OUTGOING
	}
	messages, err := unix.ParseSocketControlMessage(control[:controlLen])
	if err != nil {
		return Frame{}, false
	}
	for _, m := range messages {
		// struct tpacket_auxdata (include/uapi/linux/if_packet.h).
		if m.Header.Level != unix.SOL_PACKET || m.Header.Type != unix.PACKET_AUXDATA || len(m.Data) < 20 {
			continue
		}
		if binary.NativeEndian.Uint32(m.Data)&unix.TP_STATUS_VLAN_VALID != 0 && n >= 12 {
			tag := binary.BigEndian.AppendUint16(nil, binary.NativeEndian.Uint16(m.Data[18:]))
			tag = binary.BigEndian.AppendUint16(tag, binary.NativeEndian.Uint16(m.Data[16:]))
			f.Bytes = slices.Insert(f.Bytes, 12, tag...)
		}
	}
	return f, true
}

// Talk makes the host's own kernel resolve an address: it sends a datagram to it, which needs ARP
// or Neighbor Discovery first.
func (h Host) Talk(address string) error {
	return h.Do(func() error {
		conn, err := net.DialTimeout("udp", net.JoinHostPort(address, "9"), time.Second)
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write([]byte("x"))
		return err
	})
}
