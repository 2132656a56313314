// Package packetsock opens packet sockets (packet(7)) and binds them to interfaces, for the
// monitor, the process that has CAP_NET_RAW for a moment. [Open] needs it, for the one socket(2)
// call, and nothing after that does. What comes out of the sockets is read elsewhere: package
// capture.
package packetsock

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"maas-netmon/capture"
)

// ErrNotEthernet is returned for an interface whose frames have no Ethernet
// header, like a tun device.
var ErrNotEthernet = errors.New("not an Ethernet interface")

// A Socket is a packet socket with a locked filter and a ring. Not safe for
// concurrent use.
type Socket struct {
	fd int
}

// Open makes a packet socket with its filter, which is locked. It
// needs CAP_NET_RAW in the effective set, for socket(2). The socket receives
// nothing before [Socket.Bind]: mdlayher/packet binds it to the interface with
// protocol 0, which the kernel takes as "not yet". Before that it needs a ring, see [MakeRings].
//
// An ifi whose Index is 0 stands for an interface that is not there yet.
//
// An interface that is not Ethernet gives [ErrNotEthernet]; a missing capability
// an error that is [unix.EPERM]; an interface that went away one that is
// [unix.ENODEV].
func Open(ifi *net.Interface) (*Socket, error) {
	filter, err := Filter()
	if err != nil {
		return nil, fmt.Errorf("assemble filter: %w", err)
	}
	conn, err := packet.Listen(ifi, packet.Raw, 0, &packet.Config{Filter: filter})
	if err != nil {
		// packet's *net.OpError says "listen packet 02:..:05: "; what matters is below.
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err
		}
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	defer conn.Close()
	s := &Socket{}
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	if controlErr := raw.Control(func(fd uintptr) { s.fd, err = prepare(int(fd)) }); controlErr != nil {
		return nil, controlErr
	}
	return s, err
}

// prepare does the rest with the descriptor of packet's connection, and returns another
// descriptor of the same socket. packet's is the netpoller's, too, and would wake this process
// for each frame that the parser reads.
func prepare(fd int) (int, error) {
	// From here on nobody, this process included, can detach, replace or widen
	// the filter (socket(7), SO_LOCK_FILTER).
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

// MakeRings makes the ring of each socket, with [capture.RingSlots] of their number. It takes no
// capability, and must come before Bind.
func MakeRings(sockets []*Socket) error {
	slots := capture.RingSlots(len(sockets))
	return inParallel(sockets, func(s *Socket) error { return makeRing(s.fd, slots) })
}

func makeRing(fd, slots int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V2); err != nil {
		return fmt.Errorf("choose TPACKET_V2: %w", err)
	}
	if err := unix.SetsockoptTpacketReq(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, capture.Ring(slots)); err != nil {
		return fmt.Errorf("make ring: %w", err)
	}
	return nil
}

// Close closes sockets. Those that no other process has take as long as the kernel needs to end the
// flow of frames.
func Close(sockets []*Socket) error {
	return inParallel(sockets, func(s *Socket) error { return os.NewSyscallError("close", unix.Close(s.fd)) })
}

// inParallel calls f for each socket and returns the first error. To make a ring and to close a
// socket, the kernel waits until every processor has passed through the scheduler (synchronize_net
// in net/packet/af_packet.c), 10 ms or more each time. Threads that wait at the same time wait
// once. The threads end with the call.
func inParallel(sockets []*Socket, f func(*Socket) error) error {
	const few, most = 4, 16
	threads := min(len(sockets)/few, most)
	if threads < 2 {
		for _, s := range sockets {
			if err := f(s); err != nil {
				return err
			}
		}
		return nil
	}
	errs := make([]error, threads)
	var group sync.WaitGroup
	for i := range threads {
		group.Go(func() {
			runtime.LockOSThread() // and not unlocked, so that the thread ends
			for n := i; n < len(sockets) && errs[i] == nil; n += threads {
				errs[i] = f(sockets[n])
			}
		})
	}
	group.Wait()
	return cmp.Or(errs...)
}

// Ethernet reports whether an interface of that ARPHRD_ type
// (include/uapi/linux/if_arp.h) delivers frames with an Ethernet header.
// Loopback does: its addresses are zero.
func Ethernet(hardwareType uint16) bool {
	return hardwareType == unix.ARPHRD_ETHER || hardwareType == unix.ARPHRD_LOOPBACK
}

// Bind starts the flow of frames from the interface with that index, and is also
// how a socket moves to the interface that came back under a new index: ring,
// filter and lock stay. It needs no capability (packet(7); only socket(2) asks
// for CAP_NET_RAW). An interface that is down is bound all the same, and frames
// flow when it comes up.
func (s *Socket) Bind(ifindex int) error { return s.bind(ifindex, unix.ETH_P_ALL) }

func (s *Socket) bind(ifindex int, protocol uint16) error {
	err := unix.Bind(s.fd, &unix.SockaddrLinklayer{Protocol: htons(protocol), Ifindex: ifindex})
	if err != nil {
		return fmt.Errorf("bind packet socket: %w", err)
	}
	return nil
}

// Mute ends the flow of frames, until the next Bind: an interface that was renamed is
// still the socket's. The kernel knows no "nothing" to bind to again, but a protocol of
// which the filter lets no frame pass is as good.
func (s *Socket) Mute(ifindex int) error { return s.bind(ifindex, unix.ETH_P_802_EX1) }

// Bound returns the index of the interface whose frames the socket receives, or 0 if there is
// none. It asks the kernel (getsockname(2)), which unbinds a socket when its interface is
// deleted or moves to another namespace (packet_notifier, net/packet/af_packet.c).
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

// FD returns the socket's descriptor, to be handed to a [capture.Reader] elsewhere.
func (s *Socket) FD() int { return s.fd }

// htons returns v in network byte order, as sockaddr_ll has it.
func htons(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}
