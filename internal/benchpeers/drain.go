package main

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"maas-netmon/capture"
)

// drain is the bare limit: it empties a ring like ours (the same socket, filter, size and
// sleep, from package capture), looks at nothing and does nothing else; or, with look, at one byte of
// each frame, which is in another line of the processor's cache than the slot's status. On
// SIGTERM it says what it lost.
func drain(name string, look bool) error {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	socket, err := capture.Open(ifi)
	if err != nil {
		return err
	}
	fd := socket.FD()
	const slotLen = 128 // as in package capture
	ring, err := unix.Mmap(fd, 0, capture.RingFrames*slotLen, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map ring: %w", err)
	}
	if err := socket.Bind(ifi.Index); err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, unix.SIGTERM)
	go func() {
		<-stop
		s, _ := unix.GetsockoptTpacketStats(fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
		fmt.Fprintf(os.Stderr, "frames=%d dropped=%d\n", s.Packets, s.Drops)
		os.Exit(0)
	}()
	fmt.Fprintln(os.Stderr, "listening on", name)

	poll := unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	var seen int
	for head := 0; ; {
		n := 0
		for {
			status := (*uint32)(unsafe.Pointer(&ring[head*slotLen]))
			if atomic.LoadUint32(status)&unix.TP_STATUS_USER == 0 {
				break
			}
			if look {
				const frame = 66 // as in package capture
				seen += int(ring[head*slotLen+frame])
			}
			atomic.StoreUint32(status, unix.TP_STATUS_KERNEL)
			if head++; head == capture.RingFrames {
				head = 0
			}
			n++
		}
		if n > 1 {
			pause := unix.Timespec{Nsec: 8e6} // the kernel writes to it
			if n < 64 || n > capture.RingFrames/8 {
				pause.Nsec = 3e6
			}
			_, _, _ = unix.RawSyscall6(unix.SYS_PPOLL, 0, 0, uintptr(unsafe.Pointer(&pause)), 0, 0, 0)
		} else {
			poll.Revents = 0
			_, _ = unix.Ppoll([]unix.PollFd{poll}, nil, nil)
		}
	}
}
