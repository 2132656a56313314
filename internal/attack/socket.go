package attack

import (
	"fmt"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const network = "reach the network, or a local service"

// families names the address families by number (include/linux/socket.h).
var families = []string{
	"UNSPEC", "UNIX", "INET", "AX25", "IPX", "APPLETALK", "NETROM", "BRIDGE", "ATMPVC", "X25", "INET6",
	"ROSE", "DECnet", "NETBEUI", "SECURITY", "KEY", "NETLINK", "PACKET", "ASH", "ECONET", "ATMSVC",
	"RDS", "SNA", "IRDA", "PPPOX", "WANPIPE", "LLC", "IB", "MPLS", "CAN", "TIPC", "BLUETOOTH", "IUCV",
	"RXRPC", "ISDN", "PHONET", "IEEE802154", "CAIF", "ALG", "NFC", "VSOCK", "KCM", "QIPCRTR", "SMC",
	"XDP", "MCTP",
}

// sockets has acts that create a socket of each family, and acts on sockets of the usual families.
func sockets() []Act {
	var acts []Act
	for number, name := range families {
		// As root, unconfined, the attempt could load a kernel module.
		unconfined := NotTried
		if slices.Contains([]string{"UNIX", "INET", "NETLINK", "PACKET"}, name) {
			unconfined = Done
		}
		kind := uintptr(unix.SOCK_RAW)
		if name == "UNIX" || name == "INET" {
			kind = unix.SOCK_DGRAM
		}
		acts = append(acts, dies(network, fmt.Sprintf("socket AF_%s", name), unconfined,
			sys(unix.SYS_SOCKET, uintptr(number), kind, 0)))
	}
	return append(acts, connections...)
}

var connections = []Act{
	dies(network, "raw IP socket", Done, sys(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)),
	dies(network, "socketpair", Done, func(Target) syscall.Errno {
		return raw(unix.SYS_SOCKETPAIR, unix.AF_UNIX, unix.SOCK_STREAM, 0, keep([2]int32{}))
	}),
	dies(network, "connect TCP", "ECONNREFUSED", connect(unix.SOCK_STREAM,
		unix.RawSockaddrInet4{Family: unix.AF_INET, Port: 1, Addr: [4]byte{127, 0, 0, 1}}, unix.AF_INET)),
	dies(network, "connect UDP", Done, connect(unix.SOCK_DGRAM,
		unix.RawSockaddrInet4{Family: unix.AF_INET, Port: 1, Addr: [4]byte{127, 0, 0, 1}}, unix.AF_INET)),
	dies(network, "connect UNIX", "ENOENT", connect(unix.SOCK_STREAM,
		struct {
			family uint16
			path   [108]byte
		}{unix.AF_UNIX, [108]byte{'n', 'o', 'n', 'e'}}, unix.AF_UNIX)),
	dies(network, "connect by a socket that is there", "ENOENT", func(t Target) syscall.Errno {
		return raw(unix.SYS_CONNECT, uintptr(t.Control), keep([16]byte{unix.AF_UNIX, 0, 'x'}), 16)
	}),
	dies(network, "listen", "EINVAL", func(t Target) syscall.Errno {
		return raw(unix.SYS_LISTEN, uintptr(t.Control), 1)
	}),
	dies(network, "accept4", "EINVAL", func(t Target) syscall.Errno {
		return raw(unix.SYS_ACCEPT4, uintptr(t.Control), 0, 0, 0)
	}),
	dies(network, "bind the control socket", Done, func(t Target) syscall.Errno {
		return raw(unix.SYS_BIND, uintptr(t.Control), keep(uint16(unix.AF_UNIX)), 2)
	}),
	// The monitor reads the addresses of its sockets.
	{network, "getsockname", Killed, Done, Done, func(t Target) syscall.Errno {
		return raw(unix.SYS_GETSOCKNAME, uintptr(t.Packet), wordAddress(), keep(uint32(len(word))))
	}},
	dies(network, "getpeername", Done, func(t Target) syscall.Errno {
		return raw(unix.SYS_GETPEERNAME, uintptr(t.Control), wordAddress(), keep(uint32(len(word))))
	}),
	dies(network, "setsockopt on the control socket", Done, func(t Target) syscall.Errno {
		return raw(unix.SYS_SETSOCKOPT, uintptr(t.Control), unix.SOL_SOCKET, unix.SO_PASSCRED, keep(int32(1)), 4)
	}),
	// The monitor has both for its own use.
	{network, "recvmsg a descriptor", Killed, NotTried, "EAGAIN", func(t Target) syscall.Errno {
		return raw(unix.SYS_RECVMSG, uintptr(t.Control), frameMessage(), unix.MSG_DONTWAIT)
	}},
	{network, "getsockopt of another socket", Killed, NotTried, Done, func(t Target) syscall.Errno {
		return raw(unix.SYS_GETSOCKOPT, uintptr(t.Control), unix.SOL_SOCKET, unix.SO_ERROR, wordAddress(), keep(uint32(4)))
	}},
	dies(network, "getsockopt SO_PEERPIDFD", Whatever, func(t Target) syscall.Errno { // since Linux 6.5
		return raw(unix.SYS_GETSOCKOPT, uintptr(t.Control), unix.SOL_SOCKET, unix.SO_PEERPIDFD, wordAddress(), keep(uint32(4)))
	}),
}

// connect is an act that creates a socket of a family and connects it to an address.
func connect[T any](kind uintptr, address T, family uintptr) func(Target) syscall.Errno {
	return func(Target) syscall.Errno {
		fd, errno := value(unix.SYS_SOCKET, family, kind, 0)
		if errno != 0 {
			return errno
		}
		return raw(unix.SYS_CONNECT, fd, keep(address), unsafe.Sizeof(address))
	}
}
