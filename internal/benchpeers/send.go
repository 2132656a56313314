package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"maas-netmon/internal/testenv"
)

// batch is the number of frames per system call of the sender.
const batch = 64

// A sender sends ARP requests from an interface, many per system call. Not safe for concurrent use.
type sender struct {
	fd       int
	frames   [batch][]byte
	vectors  [batch]unix.Iovec
	messages [batch]message
}

// message is struct mmsghdr (sendmmsg(2)).
type message struct {
	unix.Msghdr
	_ [8]byte // number of bytes sent
}

// openSender opens a packet socket on an interface of this namespace.
func openSender(name string) (*sender, error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return nil, err
	}
	s := &sender{}
	// Protocol 0: it receives nothing.
	if s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	// No queue between the sender and the other end (packet(7)).
	if err := unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1); err != nil {
		return nil, fmt.Errorf("bypass queue: %w", err)
	}
	if err := unix.Bind(s.fd, &unix.SockaddrLinklayer{Ifindex: ifi.Index}); err != nil {
		return nil, fmt.Errorf("bind packet socket: %w", err)
	}
	request := testenv.ARP{SenderIP: "10.0.0.0", TargetIP: "10.0.0.1"}.Bytes()
	for i := range s.frames {
		s.frames[i] = append([]byte{}, request...)
		s.vectors[i] = unix.Iovec{Base: &s.frames[i][0], Len: uint64(len(request))}
		s.messages[i].Iov, s.messages[i].Iovlen = &s.vectors[i], 1
	}
	return s, nil
}

func (s *sender) close() { unix.Close(s.fd) }

// firstHost is the address of host 0. Each host has the MAC 02:00 and its address.
const firstHost = 10<<24 + 1<<16

// number turns frame i of the batch into a frame of the host with this number.
func (s *sender) number(i, host int) {
	const source, senderMAC, senderIP = 6, 22, 28 // offsets
	f, address := s.frames[i], uint32(firstHost+host)
	for _, at := range []int{source, senderMAC} {
		f[at] = 2
		binary.BigEndian.PutUint32(f[at+2:], address)
	}
	binary.BigEndian.PutUint32(f[senderIP:], address)
}

// send sends count frames, at a rate per second or, if that is 0, as fast as possible. They are
// from the hosts from first on, in turn, and start again after that many hosts. It returns the time
// that it took.
func (s *sender) send(first, hosts, count, rate int) (time.Duration, error) {
	start := time.Now()
	for sent := 0; sent < count; {
		n := min(batch, count-sent)
		if rate > 0 {
			due := int(time.Since(start).Seconds()*float64(rate)) + 1 - sent
			if due <= 0 {
				wait := time.Until(start.Add(time.Duration(float64(sent) / float64(rate) * 1e9)))
				// Not time.Sleep, which can be late by a millisecond.
				t := unix.NsecToTimespec(int64(max(wait, 100*time.Microsecond)))
				_ = unix.Nanosleep(&t, nil)
				continue
			}
			n = min(n, due)
		}
		for i := range n {
			s.number(i, first+(sent+i)%hosts)
		}
		n, err := s.flush(n)
		if err != nil {
			return 0, err
		}
		sent += n
	}
	return time.Since(start), nil
}

// flush sends the first n frames of the batch, or some of them.
func (s *sender) flush(n int) (int, error) {
	for {
		sent, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.messages)), uintptr(n), 0, 0, 0)
		switch errno {
		case 0:
			return int(sent), nil
		case unix.EINTR, unix.ENOBUFS, unix.EAGAIN:
		default:
			return 0, fmt.Errorf("send frames: %w", errno)
		}
	}
}
