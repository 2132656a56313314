package main

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"maas-netmon/capture"
	"maas-netmon/capture/packetsock"
)

// drain is the lower limit of the cost: it empties the same ring (with the socket, the filter, the
// size and about the pauses of package capture) and does nothing else. With look it reads one byte
// per frame, in another cache line than the slot's status. On SIGTERM it prints the number of lost
// frames.
func drain(name string, look bool) error {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	slots := capture.RingSlots(1, false)
	socket, err := packetsock.Open(ifi, false)
	if err != nil {
		return err
	}
	if err := packetsock.MakeRings([]*packetsock.Socket{socket}, false); err != nil {
		return err
	}
	fd := socket.FD()
	const slotLen = 128 // as in package capture
	ring, err := unix.Mmap(fd, 0, slots*slotLen, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
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

	polls := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	var seen int
	last := time.Now()
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
			if head++; head == slots {
				head = 0
			}
			n++
		}
		if n == 0 {
			_, _ = unix.Ppoll(polls, nil, nil)
			continue
		}
		now := time.Now()
		pause := now.Sub(last) * time.Duration(slots/8) / time.Duration(n)
		limit := unix.NsecToTimespec(int64(min(max(pause, 3*time.Millisecond), 100*time.Millisecond)))
		_, _ = unix.Ppoll(nil, &limit, nil)
		last = now
	}
}
