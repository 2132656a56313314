// Package packetsock opens packet sockets (packet(7)) and binds them to interfaces, for the
// monitor, the process that has CAP_NET_RAW for a short time. [Open] needs the capability, for the
// one socket(2) call; the other functions do not. Package capture, in the parser, reads the
// sockets.
package packetsock

// #include <linux/if_packet.h>
// int packetsock_in_parallel(const int *fds, int n, const struct tpacket_req *ring);
import "C"

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"unsafe"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"maas-netmon/capture"
)

// ErrNotEthernet is returned for an interface whose frames have no Ethernet header, such as a tun
// device.
var ErrNotEthernet = errors.New("not an Ethernet interface")

// A Socket is a packet socket with a locked filter and a ring. Not safe for concurrent use.
type Socket struct {
	fd   int
	ipv6 bool

	// The membership of all multicast groups, with IPv6: the index of its interface, or 0 if there
	// is none, and its identity, see join.
	joined   int
	identity byte
}

// Open opens a packet socket and attaches its filter, which it locks. It needs CAP_NET_RAW in the
// effective set, for socket(2). The socket receives nothing before [Socket.Bind]: mdlayher/packet
// binds it to the interface with protocol 0, which stops the flow of frames. Before Bind it needs a
// ring, see [MakeRings].
//
// An ifi whose Index is 0 stands for an interface that does not exist yet.
//
// If ipv6 is true, the socket also receives Neighbor Discovery, see [Filter] and [Socket.Bind].
//
// Open returns [ErrNotEthernet] for an interface that is not Ethernet, [unix.EPERM] if the
// capability is missing, and [unix.ENODEV] if the interface is gone.
func Open(ifi *net.Interface, ipv6 bool) (*Socket, error) {
	filter, err := Filter(ipv6)
	if err != nil {
		return nil, fmt.Errorf("assemble filter: %w", err)
	}
	conn, err := packet.Listen(ifi, packet.Raw, 0, &packet.Config{Filter: filter})
	if err != nil {
		// packet's *net.OpError adds "listen packet 02:..:05: "; use the error that it wraps.
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err
		}
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	defer conn.Close()
	s := &Socket{ipv6: ipv6}
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	if controlErr := raw.Control(func(fd uintptr) { s.fd, err = prepare(int(fd)) }); controlErr != nil {
		return nil, controlErr
	}
	return s, err
}

// prepare sets up the socket through the descriptor of packet's connection, and returns another
// descriptor of the same socket. The descriptor of packet is registered with the netpoller, and
// would wake this process for each frame that the parser reads.
func prepare(fd int) (int, error) {
	// From here on no process, including this one, can detach, replace or widen the filter
	// (socket(7), SO_LOCK_FILTER).
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_LOCK_FILTER, 1); err != nil {
		return -1, fmt.Errorf("lock filter: %w", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return -1, fmt.Errorf("look at packet socket: %w", err)
	}
	if ll, ok := name.(*unix.SockaddrLinklayer); !ok || ll.Ifindex != 0 && !Ethernet(ll.Hatype) {
		return -1, ErrNotEthernet
	}
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	return own, os.NewSyscallError("fcntl", err)
}

// MakeRings sets up the ring of each socket, with capture.RingSlots(len(sockets), ipv6) slots. It
// needs no capability, and must be called before Bind.
func MakeRings(sockets []*Socket, ipv6 bool) error {
	for _, s := range sockets {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V2); err != nil {
			return fmt.Errorf("choose TPACKET_V2: %w", err)
		}
	}
	if err := inParallel(sockets, capture.Ring(capture.RingSlots(len(sockets), ipv6), ipv6)); err != nil {
		return fmt.Errorf("make ring: %w", err)
	}
	return nil
}

// Close closes sockets. Closing the last descriptor of a socket waits until the kernel has stopped
// the flow of frames.
func Close(sockets []*Socket) error { return os.NewSyscallError("close", inParallel(sockets, nil)) }

// inParallel gives each socket a ring, or closes it if ring is nil. For either, the kernel waits
// until every processor has passed through the scheduler (synchronize_net in
// net/packet/af_packet.c), 10 ms or more each time. Threads that wait at the same time share one
// wait.
func inParallel(sockets []*Socket, ring *unix.TpacketReq) error {
	fds := make([]C.int, len(sockets))
	for i, s := range sockets {
		fds[i] = C.int(s.fd)
	}
	errno := C.packetsock_in_parallel(unsafe.SliceData(fds), C.int(len(fds)), (*C.struct_tpacket_req)(unsafe.Pointer(ring)))
	if errno != 0 {
		return unix.Errno(errno)
	}
	return nil
}

// Ethernet reports whether an interface of this ARPHRD_ type (include/uapi/linux/if_arp.h) delivers
// frames with an Ethernet header. Loopback does, with zero addresses.
func Ethernet(hardwareType uint16) bool {
	return hardwareType == unix.ARPHRD_ETHER || hardwareType == unix.ARPHRD_LOOPBACK
}

// Bind starts the flow of frames from the interface with this index. It also moves a socket to an
// interface that was created again with a new index: ring, filter and lock stay. It needs no
// capability (packet(7); only socket(2) requires CAP_NET_RAW). Bind also succeeds for an interface
// that is down, and frames flow when it comes up.
//
// With IPv6, Bind also has the interface receive the frames of all multicast groups
// (PACKET_MR_ALLMULTI, packet(7)): a Neighbor Solicitation is sent to a group of its target (RFC
// 4861 2.3), which only the target's interface receives. That lasts until Mute or until the last
// descriptor of the socket is closed. It too needs no capability.
func (s *Socket) Bind(ifindex int) error {
	if err := s.bind(ifindex, unix.ETH_P_ALL); err != nil || !s.ipv6 {
		return err
	}
	return s.join(ifindex)
}

func (s *Socket) bind(ifindex int, protocol uint16) error {
	err := unix.Bind(s.fd, &unix.SockaddrLinklayer{Protocol: htons(protocol), Ifindex: ifindex})
	if err != nil {
		return fmt.Errorf("bind packet socket: %w", err)
	}
	return nil
}

// Mute stops the flow of frames until the next Bind. It is needed because a socket stays bound to
// an interface that was renamed. The kernel cannot unbind a socket, so Mute binds it to a protocol
// whose frames the filter refuses. With IPv6 it also drops the membership.
func (s *Socket) Mute(ifindex int) error {
	return cmp.Or(s.bind(ifindex, unix.ETH_P_802_EX1), s.leave())
}

// join makes the socket a member of all multicast groups of the interface, instead of any
// membership before. The kernel counts memberships that are equal, and ends them without notice
// when the interface is deleted or moved to another namespace, so that the number of them is not
// known. Therefore the new membership is never equal to the one before: the first byte of its
// address, which the kernel only compares, alternates. To drop one that does not exist is no error.
func (s *Socket) join(ifindex int) error {
	old := *s
	s.identity ^= 1
	if err := s.membership(unix.PACKET_ADD_MEMBERSHIP, ifindex); err != nil {
		s.identity ^= 1
		return err
	}
	s.joined = ifindex
	return old.leave()
}

// leave drops the membership, if there is one.
func (s *Socket) leave() error {
	ifindex := s.joined
	if s.joined = 0; ifindex == 0 {
		return nil
	}
	return s.membership(unix.PACKET_DROP_MEMBERSHIP, ifindex)
}

func (s *Socket) membership(option, ifindex int) error {
	err := unix.SetsockoptPacketMreq(s.fd, unix.SOL_PACKET, option, &unix.PacketMreq{
		Ifindex: int32(ifindex),
		Type:    unix.PACKET_MR_ALLMULTI,
		Alen:    1,
		Address: [8]uint8{s.identity},
	})
	if err != nil {
		return fmt.Errorf("change membership of all multicast groups: %w", err)
	}
	return nil
}

// Bound returns the index of the interface whose frames the socket receives, or 0 if there is none.
// It asks the kernel (getsockname(2)): the kernel unbinds a socket when its interface is deleted or
// moved to another namespace (packet_notifier, net/packet/af_packet.c).
func (s *Socket) Bound() (ifindex int, err error) {
	name, err := unix.Getsockname(s.fd)
	if err != nil {
		return 0, fmt.Errorf("look at packet socket: %w", err)
	}
	ll, ok := name.(*unix.SockaddrLinklayer)
	if !ok || ll.Ifindex < 0 || ll.Protocol != htons(unix.ETH_P_ALL) {
		return 0, nil
	}
	return ll.Ifindex, nil
}

// FD returns the socket's descriptor, for a [capture.Reader] in another process.
func (s *Socket) FD() int { return s.fd }

// htons returns v in network byte order, for sockaddr_ll.
func htons(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}
