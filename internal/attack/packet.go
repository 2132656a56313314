package attack

import (
	"encoding/binary"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// harmless shows that an attempt itself does not kill the process.
var harmless = []Act{
	{"nothing at all", "nothing", Done, Done, Done, func(Target) syscall.Errno { return 0 }},
}

const transmit = "transmit a frame"

// transmission has all ways to send a frame through the packet socket.
var transmission = []Act{
	dies(transmit, "write", Sent, func(t Target) syscall.Errno { return writeFrame(uintptr(t.Packet)) }),
	dies(transmit, "write, high bits in the descriptor", Sent, func(t Target) syscall.Errno {
		return writeFrame(uintptr(t.Packet) | high)
	}),
	dies(transmit, "write to standard output, high bits in the descriptor", Done, func(t Target) syscall.Errno {
		return raw(unix.SYS_WRITE, stdout|high, frameAddress(), 0)
	}),
	dies(transmit, "write, high bits in the call's number", Sent, func(t Target) syscall.Errno {
		return raw(unix.SYS_WRITE|high, uintptr(t.Packet), frameAddress(), frameLen)
	}),
	dies(transmit, "pwrite64", "ESPIPE", func(t Target) syscall.Errno {
		return raw(unix.SYS_PWRITE64, uintptr(t.Packet), frameAddress(), frameLen, 0)
	}),
	dies(transmit, "writev", Sent, func(t Target) syscall.Errno {
		return raw(unix.SYS_WRITEV, uintptr(t.Packet), frameVector(), 1)
	}),
	dies(transmit, "pwritev", "ESPIPE", func(t Target) syscall.Errno {
		return raw(unix.SYS_PWRITEV, uintptr(t.Packet), frameVector(), 1, 0, 0)
	}),
	dies(transmit, "pwritev2", Sent, func(t Target) syscall.Errno { // without an offset: writev
		return raw(unix.SYS_PWRITEV2, uintptr(t.Packet), frameVector(), 1, none, none, 0)
	}),
	dies(transmit, "sendto", Sent, func(t Target) syscall.Errno {
		return raw(unix.SYS_SENDTO, uintptr(t.Packet), frameAddress(), frameLen, 0, 0, 0)
	}),
	dies(transmit, "sendto another interface", Done, func(t Target) syscall.Errno {
		return raw(unix.SYS_SENDTO, uintptr(t.Packet), frameAddress(), frameLen, 0, linkAddress(), unix.SizeofSockaddrLinklayer)
	}),
	dies(transmit, "sendmsg", Sent, func(t Target) syscall.Errno {
		return raw(unix.SYS_SENDMSG, uintptr(t.Packet), frameMessage(), 0)
	}),
	dies(transmit, "sendmsg, high bits in the descriptor", Sent, func(t Target) syscall.Errno {
		return raw(unix.SYS_SENDMSG, uintptr(t.Packet)|high, frameMessage(), 0)
	}),
	dies(transmit, "sendmmsg", Sent, func(t Target) syscall.Errno {
		return raw(unix.SYS_SENDMMSG, uintptr(t.Packet), keep(struct {
			unix.Msghdr
			n uint32
		}{Msghdr: message()}), 1, 0)
	}),
	dies(transmit, "sendfile", Sent, func(t Target) syscall.Errno {
		return raw(unix.SYS_SENDFILE, uintptr(t.Packet), uintptr(t.File), 0, frameLen)
	}),
	dies(transmit, "splice", Sent, func(t Target) syscall.Errno {
		return raw(unix.SYS_SPLICE, uintptr(t.Pipe), 0, uintptr(t.Packet), 0, frameLen, 0)
	}),
	dies(transmit, "vmsplice", Done, func(t Target) syscall.Errno { // into standard output, a pipe
		return raw(unix.SYS_VMSPLICE, stdout, keep(unix.Iovec{Base: &word[0]}), 1, 0)
	}),
	dies(transmit, "tee", Whatever, func(t Target) syscall.Errno {
		return raw(unix.SYS_TEE, uintptr(t.Pipe), stdout, 0, 0)
	}),
	dies(transmit, "copy_file_range", "EINVAL", func(t Target) syscall.Errno {
		return raw(unix.SYS_COPY_FILE_RANGE, uintptr(t.File), 0, uintptr(t.Packet), 0, frameLen, 0)
	}),
	dies(transmit, "dup, then write", Sent, through(func(t Target) (uintptr, syscall.Errno) {
		return value(unix.SYS_DUP, uintptr(t.Packet))
	})),
	dies(transmit, "dup3 over standard output, then write", Sent, through(func(t Target) (uintptr, syscall.Errno) {
		return value(unix.SYS_DUP3, uintptr(t.Packet), stdout, 0)
	})),
	dies(transmit, "fcntl F_DUPFD, then write", Sent, through(func(t Target) (uintptr, syscall.Errno) {
		return value(unix.SYS_FCNTL, uintptr(t.Packet), unix.F_DUPFD, stdout)
	})),
	dies(transmit, "fcntl F_DUPFD_CLOEXEC, then write", Sent, through(func(t Target) (uintptr, syscall.Errno) {
		return value(unix.SYS_FCNTL, uintptr(t.Packet), unix.F_DUPFD_CLOEXEC, stdout)
	})),
	dies(transmit, "hand the packet socket to another process", Done, func(t Target) syscall.Errno {
		m, rights := message(), unix.UnixRights(t.Packet)
		m.Control, m.Controllen = &rights[0], uint64(len(rights))
		return raw(unix.SYS_SENDMSG, uintptr(t.Control), keep(m), 0)
	}),
	dies(transmit, "sendto the other process", Done, func(t Target) syscall.Errno {
		return raw(unix.SYS_SENDTO, uintptr(t.Control), frameAddress(), frameLen, 0, 0, 0)
	}),
	dies(transmit, "PACKET_TX_RING", Done, option(unix.SOL_PACKET, unix.PACKET_TX_RING,
		unix.TpacketReq{Block_size: uint32(page), Block_nr: 1, Frame_size: uint32(page), Frame_nr: 1})),
	dies(transmit, "io_uring_setup", Whatever, func(Target) syscall.Errno {
		return raw(unix.SYS_IO_URING_SETUP, 1, keep([120]byte{}))
	}),
	dies(transmit, "io_uring_enter", Whatever, sys(unix.SYS_IO_URING_ENTER, none)),
	dies(transmit, "io_uring_register", Whatever, sys(unix.SYS_IO_URING_REGISTER, none)),
	dies(transmit, "io_setup", Done, func(Target) syscall.Errno {
		return raw(unix.SYS_IO_SETUP, 1, keep(uintptr(0)))
	}),
	dies(transmit, "io_submit", "EINVAL", sys(unix.SYS_IO_SUBMIT, 0, 0, 0)),
}

func writeFrame(fd uintptr) syscall.Errno {
	return raw(unix.SYS_WRITE, fd, frameAddress(), frameLen)
}

// through is an act that creates another descriptor of the packet socket and writes to it.
func through(duplicate func(Target) (uintptr, syscall.Errno)) func(Target) syscall.Errno {
	return func(t Target) syscall.Errno {
		fd, errno := duplicate(t)
		if errno != 0 {
			return errno
		}
		return writeFrame(fd)
	}
}

// linkAddress returns the address (packet(7)) of the loopback interface.
func linkAddress() uintptr {
	return keep(unix.RawSockaddrLinklayer{
		Family: unix.AF_PACKET, Ifindex: loopback,
		Protocol: binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL}),
	})
}

// option is an act that sets an option of the packet socket.
func option[T any](level, name uintptr, v T) func(Target) syscall.Errno {
	return func(t Target) syscall.Errno {
		return raw(unix.SYS_SETSOCKOPT, uintptr(t.Packet), level, name, keep(v), unsafe.Sizeof(v))
	}
}

const receive = "receive more than the filter lets pass"

// acceptAll is a socket filter that accepts everything.
func acceptAll() unix.SockFprog {
	return unix.SockFprog{Len: 1, Filter: &unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff}}
}

// reception has acts that try to receive more from the packet socket. The locked filter (socket(7),
// SO_LOCK_FILTER) protects also without a sandbox.
var reception = []Act{
	dies(receive, "detach the filter", "EPERM", option(unix.SOL_SOCKET, unix.SO_DETACH_FILTER, int32(0))),
	dies(receive, "replace the filter", "EPERM", option(unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, acceptAll())),
	dies(receive, "replace the filter by eBPF", "EPERM", option(unix.SOL_SOCKET, unix.SO_ATTACH_BPF, int32(0))),
	dies(receive, "unlock the filter", "EPERM", option(unix.SOL_SOCKET, unix.SO_LOCK_FILTER, int32(0))),
	dies(receive, "enter promiscuous mode", Done, option(unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP,
		unix.PacketMreq{Ifindex: loopback, Type: unix.PACKET_MR_PROMISC})),
	dies(receive, "receive all multicast", Done, option(unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP,
		unix.PacketMreq{Ifindex: loopback, Type: unix.PACKET_MR_ALLMULTI})),
	dies(receive, "replace the ring", Done, option(unix.SOL_PACKET, unix.PACKET_RX_RING, unix.TpacketReq{})),
	dies(receive, "join a fanout group", Done, option(unix.SOL_PACKET, unix.PACKET_FANOUT, int32(1))),
	dies(receive, "SO_BINDTODEVICE", Whatever, option(unix.SOL_SOCKET, unix.SO_BINDTODEVICE, [16]byte{'l', 'o'})),
	dies(receive, "SO_RCVBUFFORCE", DoneByRoot, option(unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, int32(1<<20))),
	// The monitor does so when the interface was created again.
	{receive, "bind to another interface", Killed, Done, Done, func(t Target) syscall.Errno {
		return raw(unix.SYS_BIND, uintptr(t.Packet), linkAddress(), unix.SizeofSockaddrLinklayer)
	}},
	dies(receive, "bind, high bits in the descriptor", Done, func(t Target) syscall.Errno {
		return raw(unix.SYS_BIND, uintptr(t.Packet)|high, linkAddress(), unix.SizeofSockaddrLinklayer)
	}),
	dies(receive, "read", "EAGAIN", func(t Target) syscall.Errno {
		return raw(unix.SYS_READ, uintptr(t.Packet), wordAddress(), 64)
	}),
	dies(receive, "read, high bits in the descriptor", "EAGAIN", func(t Target) syscall.Errno {
		return raw(unix.SYS_READ, uintptr(t.Packet)|high, wordAddress(), 64)
	}),
	dies(receive, "readv", "EAGAIN", func(t Target) syscall.Errno {
		return raw(unix.SYS_READV, uintptr(t.Packet), keep(unix.Iovec{Base: &word[0], Len: 64}), 1)
	}),
	dies(receive, "pread64", "ESPIPE", func(t Target) syscall.Errno {
		return raw(unix.SYS_PREAD64, uintptr(t.Packet), wordAddress(), 64, 0)
	}),
	dies(receive, "preadv2", "EAGAIN", func(t Target) syscall.Errno {
		return raw(unix.SYS_PREADV2, uintptr(t.Packet), keep(unix.Iovec{Base: &word[0], Len: 64}), 1, none, none, 0)
	}),
	dies(receive, "recvfrom", "EAGAIN", func(t Target) syscall.Errno {
		return raw(unix.SYS_RECVFROM, uintptr(t.Packet), wordAddress(), 64, 0, 0, 0)
	}),
	dies(receive, "recvmsg", "EAGAIN", func(t Target) syscall.Errno {
		return raw(unix.SYS_RECVMSG, uintptr(t.Packet), frameMessage(), 0)
	}),
	dies(receive, "recvmmsg", "EAGAIN", func(t Target) syscall.Errno {
		return raw(unix.SYS_RECVMMSG, uintptr(t.Packet), keep(struct {
			unix.Msghdr
			n uint32
		}{Msghdr: message()}), 1, 0, 0)
	}),
	dies(receive, "map the ring once more", Done, mapRing(unix.PROT_READ|unix.PROT_WRITE)),
	dies(receive, "map the ring to read", Done, mapRing(unix.PROT_READ)),
	dies(receive, "map the ring executable", Whatever, mapRing(unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC)),
	dies(receive, "ioctl SIOCSIFFLAGS: promiscuous", Done, func(t Target) syscall.Errno {
		request := struct {
			name  [16]byte
			flags uint16
			_     [22]byte
		}{name: [16]byte{'l', 'o'}, flags: unix.IFF_UP | unix.IFF_PROMISC}
		return raw(unix.SYS_IOCTL, uintptr(t.Packet), unix.SIOCSIFFLAGS, keep(request))
	}),
	// The monitor has the socket and may send on it; the kernel requires CAP_NET_ADMIN.
	{receive, "promiscuous by netlink", NotTried, "EPERM", NotTried, setPromiscuous},
}

// mapRing is an act that maps the packet socket's ring, in its full length.
func mapRing(protection uintptr) func(Target) syscall.Errno {
	return func(t Target) syscall.Errno {
		const ringLen = 20 << 16
		return raw(unix.SYS_MMAP, 0, ringLen, protection, unix.MAP_SHARED, uintptr(t.Packet), 0)
	}
}

// setPromiscuous asks for promiscuous mode of the loopback interface and returns the
// kernel's answer (rtnetlink(7)).
func setPromiscuous(t Target) syscall.Errno {
	const sequence = 0x61747461
	request := struct {
		unix.NlMsghdr
		unix.IfInfomsg
	}{
		unix.NlMsghdr{Type: unix.RTM_NEWLINK, Flags: unix.NLM_F_REQUEST | unix.NLM_F_ACK, Seq: sequence},
		unix.IfInfomsg{Index: loopback, Flags: unix.IFF_PROMISC, Change: unix.IFF_PROMISC},
	}
	request.Len = uint32(unsafe.Sizeof(request))
	vector := unix.Iovec{Base: (*byte)(unsafe.Pointer(&request)), Len: uint64(request.Len)}
	if errno := raw(unix.SYS_SENDMSG, uintptr(t.Netlink), keep(unix.Msghdr{Iov: &vector, Iovlen: 1}), 0); errno != 0 {
		return errno
	}
	var answer struct {
		unix.NlMsghdr
		Error int32
		_     [4096]byte
	}
	vector = unix.Iovec{Base: (*byte)(unsafe.Pointer(&answer)), Len: uint64(unsafe.Sizeof(answer))}
	for {
		if errno := raw(unix.SYS_RECVMSG, uintptr(t.Netlink), keep(unix.Msghdr{Iov: &vector, Iovlen: 1}), 0); errno != 0 {
			return errno
		}
		if answer.Type == unix.NLMSG_ERROR && answer.Seq == sequence {
			return syscall.Errno(-answer.Error)
		}
	}
}
