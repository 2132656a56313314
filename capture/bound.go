package capture

import (
	"fmt"

	"golang.org/x/sys/unix"
)

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
