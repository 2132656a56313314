package testenv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Bind is a bind(2) of the program, which waits for Continue.
type Bind struct {
	Packet   bool   // of a packet socket
	Protocol uint16 // 0 stops the flow of frames (packet(7))

	id       uint64
	listener int
}

// Continue lets the call continue.
func (b Bind) Continue() error {
	response := struct {
		id           uint64
		value        int64
		error, flags uint32
	}{id: b.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
	err := ioctl(b.listener, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&response))
	if err == unix.ENOENT {
		return nil // interrupted by a signal: the program repeats the call
	}
	return err
}

// ContinueAll lets all further calls continue: after a message about its interface the monitor
// binds the socket again.
func ContinueAll(binds <-chan Bind) {
	go func() {
		for bind := range binds {
			_ = bind.Continue() // fails once the program has ended
		}
	}()
}

// holdBinds makes each bind(2) of the calling thread, and of the processes that it starts, wait for
// the reader of the returned descriptor (seccomp_unotify(2)).
func holdBinds() (listener int, err error) {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_BIND, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(filter)
	if errno != 0 {
		return -1, fmt.Errorf("seccomp: %w", errno)
	}
	return int(fd), nil
}

// passBinds sends each bind(2) to the channel, until the program has ended.
func passBinds(listener int, binds chan<- Bind, ended <-chan struct{}) error {
	defer close(binds)
	defer unix.Close(listener)
	for {
		polls := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
		if _, err := unix.Poll(polls, 100); err != nil && err != unix.EINTR {
			return err
		}
		if polls[0].Revents&unix.POLLIN == 0 {
			select {
			case <-ended:
				return nil
			default:
				continue
			}
		}
		var n struct { // struct seccomp_notif
			id         uint64
			pid, flags uint32
			nr         int32
			arch       uint32
			ip         uint64
			args       [6]uint64
		}
		err := ioctl(listener, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n))
		if err == unix.ENOENT {
			continue // interrupted by a signal
		}
		if err != nil {
			return err
		}
		// The beginning of the call's struct sockaddr_ll.
		var address [4]byte
		_, err = unix.ProcessVMReadv(int(n.pid), []unix.Iovec{{Base: &address[0], Len: uint64(len(address))}},
			[]unix.RemoteIovec{{Base: uintptr(n.args[1]), Len: len(address)}}, 0)
		if err != nil {
			return fmt.Errorf("read the address of a bind: %w", err)
		}
		bind := Bind{
			Packet:   binary.NativeEndian.Uint16(address[:]) == unix.AF_PACKET,
			Protocol: binary.BigEndian.Uint16(address[2:]),
			id:       n.id,
			listener: listener,
		}
		select {
		case binds <- bind:
		case <-ended:
			return nil
		}
	}
}

func ioctl(fd int, request uint, arg unsafe.Pointer) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(arg))
	if errno != 0 {
		return errno
	}
	return nil
}

// probeHoldBind tries it on a process that does not call bind.
func probeHoldBind() error {
	if status, err := os.ReadFile("/proc/self/status"); err != nil || !bytes.Contains(status, []byte("Seccomp_filters:")) {
		return errors.New("before Linux 5.9, or without seccomp")
	}
	return onThread(func() error {
		listener, err := holdBinds()
		if err != nil {
			return err
		}
		defer unix.Close(listener)
		return exec.Command("true").Run()
	})
}
