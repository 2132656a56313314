package parserproc

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"maas-netmon/capture/packetsock"
	"maas-netmon/internal/cli"
	"maas-netmon/internal/testenv"
	"maas-netmon/privsep"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// A falseMonitor starts the real parser and acts as its monitor.
type falseMonitor struct {
	t    *testing.T
	fd   int
	cmd  *exec.Cmd
	errs strings.Builder
}

// startParser starts the parser of one interface as [privsep.Launch] does, and waits for its hello.
func startParser(t *testing.T) *falseMonitor {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the parser ends with this thread
	// The parser has no capability, even if its user is root (capabilities(7)).
	const noRoot = 1 // SECBIT_NOROOT
	testenv.Must(t, unix.Prctl(unix.PR_SET_SECUREBITS, noRoot, 0, 0, 0))
	o, err := cli.ParseOptions([]string{"lo"}, cli.Environment{})
	testenv.Must(t, err)
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	testenv.Must(t, err)
	theirs := os.NewFile(uintptr(fds[1]), "control")
	defer theirs.Close()
	m := &falseMonitor{t: t, fd: fds[0], cmd: exec.Command(testenv.Binary(t), o.ParserArgs()[1:]...)}
	m.cmd.Env = []string{}
	m.cmd.ExtraFiles = []*os.File{theirs}
	m.cmd.Stderr = &m.errs
	testenv.Must(t, m.cmd.Start())
	t.Cleanup(func() {
		m.close()
		_ = m.cmd.Process.Kill()
		_ = m.cmd.Wait()
	})
	m.await(privsep.Hello)
	return m
}

// await waits for a message from the parser.
func (m *falseMonitor) await(want privsep.Type) {
	m.t.Helper()
	testenv.Must(m.t, unix.SetNonblock(m.fd, false))
	limit := unix.NsecToTimeval(int64(testenv.Patience))
	testenv.Must(m.t, unix.SetsockoptTimeval(m.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit))
	buf := make([]byte, privsep.MessageLen)
	n, err := unix.Read(m.fd, buf)
	for err == unix.EINTR {
		n, err = unix.Read(m.fd, buf)
	}
	testenv.Must(m.t, err)
	got, err := privsep.Decode(buf[:n])
	if err != nil || got.Type != want {
		m.t.Fatalf("got %v, %v, want %v", got, err, want)
	}
}

// write sends bytes, with descriptors if there are any.
func (m *falseMonitor) write(b []byte, fds ...int) {
	m.t.Helper()
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	testenv.Must(m.t, unix.Sendmsg(m.fd, b, rights, nil, unix.MSG_NOSIGNAL))
}

func (m *falseMonitor) send(message privsep.Message, fds ...int) {
	m.t.Helper()
	m.write(message.Encode(), fds...)
}

// close ends the monitor.
func (m *falseMonitor) close() {
	if m.fd >= 0 {
		unix.Close(m.fd)
	}
	m.fd = -1
}

// work completes the handshake, so that the parser reads frames.
func (m *falseMonitor) work() {
	m.t.Helper()
	m.send(privsep.Message{Type: privsep.Socket}, packetSocket(m.t))
	m.send(privsep.Message{Type: privsep.Start})
	m.await(privsep.Ready)
}

// ends waits for the end of the parser, which must exit with at most one line.
func (m *falseMonitor) ends(status int, says string) {
	m.t.Helper()
	timer := time.AfterFunc(2*testenv.Patience, func() { _ = m.cmd.Process.Kill() })
	defer timer.Stop()
	_ = m.cmd.Wait()
	if got := m.cmd.ProcessState.ExitCode(); got != status {
		m.t.Errorf("%v, want exit status %d", m.cmd.ProcessState, status)
	}
	got := m.errs.String()
	if says == "" && got != "" || says != "" && !strings.HasPrefix(got, "maas-netmon: "+says) || strings.Count(got, "\n") > 1 {
		m.t.Errorf("got %q, want one line: %q", got, says)
	}
}

// packetSocket returns a packet socket as the real monitor opens it.
func packetSocket(t *testing.T) int {
	t.Helper()
	a, _ := testenv.Pair(t)
	var fd int
	testenv.Must(t, a.Do(func() error {
		ifi, err := net.InterfaceByName(a.Name)
		if err != nil {
			return err
		}
		socket, err := packetsock.Open(ifi, false)
		if err != nil {
			return err
		}
		fd = socket.FD()
		return packetsock.MakeRings([]*packetsock.Socket{socket}, false)
	}))
	return fd
}

// file returns a descriptor of a file of this size.
func file(t *testing.T, size int64) int {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "ring"))
	testenv.Must(t, err)
	t.Cleanup(func() { f.Close() })
	testenv.Must(t, f.Truncate(size))
	return int(f.Fd())
}

// socket returns a new socket.
func socket(t *testing.T, domain, kind int) int {
	t.Helper()
	fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, 0)
	testenv.Must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// A monitor that violates the protocol, because it is of another version or compromised, makes the
// parser exit with one line, and not hang.
func TestLyingMonitor(t *testing.T) {
	testenv.Require(t, testenv.Netns)
	hello := (&privsep.Message{Type: privsep.Hello}).Encode()
	const (
		malformed = "malformed message: "
		notPacket = "read packet statistics: " // the reason depends on the kernel
	)
	for _, c := range []struct {
		name   string
		do     func(*falseMonitor)
		status int
		says   string // the beginning of the line
	}{
		// Instead of a socket.
		{"end of file", func(m *falseMonitor) { m.close() }, 1, ""}, // the monitor reports
		{"short", func(m *falseMonitor) { m.write(hello[:9]) }, 1, "receive socket: " + malformed + "9 bytes, want 200"},
		{"garbage", func(m *falseMonitor) { m.write(make([]byte, privsep.MessageLen)) }, 1, "receive socket: " + malformed + "version 0, want 1"},
		{"long", func(m *falseMonitor) { m.write(make([]byte, 2*privsep.MessageLen)) }, 1, "receive socket: " + malformed + "201 bytes, want 200"},
		{"start without socket", func(m *falseMonitor) { m.send(privsep.Message{Type: privsep.Start}) }, 1,
			"receive socket: " + malformed + "no descriptor with start"},
		{"no descriptor", func(m *falseMonitor) { m.send(privsep.Message{Type: privsep.Socket}) }, 1,
			"receive socket: " + malformed + "no descriptor with socket"},
		{"two descriptors", func(m *falseMonitor) { m.send(privsep.Message{Type: privsep.Socket}, 1, 2) }, 1,
			"receive socket: " + malformed + "a descriptor too many, or one that a security module refuses"},
		{"start with a descriptor", func(m *falseMonitor) { m.send(privsep.Message{Type: privsep.Start}, 1) }, 1,
			"receive socket 0: " + malformed + "start 0"},
		{"another index", func(m *falseMonitor) { m.send(privsep.Message{Type: privsep.Socket, Index: 1}, 1) }, 1,
			"receive socket 0: " + malformed + "socket 1"},
		{"a ping for a start", func(m *falseMonitor) {
			m.send(privsep.Message{Type: privsep.Socket}, packetSocket(m.t))
			m.send(privsep.Message{Type: privsep.Ping})
		}, 1, malformed + "ping instead of start"},
		{"more sockets than interfaces", func(m *falseMonitor) {
			fd := packetSocket(m.t)
			m.send(privsep.Message{Type: privsep.Socket}, fd)
			m.send(privsep.Message{Type: privsep.Socket, Index: 1}, fd)
		}, 1, malformed + "socket instead of start"},

		// The wrong kind of descriptor.
		{"file", wrongKind(func(t *testing.T) int { return file(t, 64<<20) }), 1, notPacket},
		{"empty file", wrongKind(func(t *testing.T) int { return file(t, 0) }), 1, notPacket},
		{"UDP socket", wrongKind(func(t *testing.T) int { return socket(t, unix.AF_INET, unix.SOCK_DGRAM) }), 1, notPacket},
		{"packet socket without a ring", wrongKind(func(t *testing.T) int {
			return socket(t, unix.AF_PACKET, unix.SOCK_RAW)
		}), 1, "map ring: invalid argument"},
		{"pipe", wrongKind(func(t *testing.T) int {
			r, w, err := os.Pipe()
			testenv.Must(t, err)
			t.Cleanup(func() { r.Close(); w.Close() })
			return int(w.Fd())
		}), 1, notPacket},
		{"control socket", func(m *falseMonitor) {
			m.send(privsep.Message{Type: privsep.Socket}, m.fd)
			m.send(privsep.Message{Type: privsep.Start})
		}, 1, notPacket},

		// While it works.
		{"end of file later", func(m *falseMonitor) { m.work(); m.close() }, 0, ""},
		{"short later", func(m *falseMonitor) { m.work(); m.write(hello[:9]) }, 1, malformed + "9 bytes, want 200"},
		{"long later", func(m *falseMonitor) { m.work(); m.write(make([]byte, 500)) }, 1, malformed + "201 bytes, want 200"},
		{"garbage later", func(m *falseMonitor) { m.work(); m.write(make([]byte, privsep.MessageLen)) }, 1, malformed + "version 0, want 1"},
		{"hello", func(m *falseMonitor) { m.work(); m.write(hello) }, 1, malformed + "unexpected hello"},
		{"start twice", func(m *falseMonitor) { m.work(); m.send(privsep.Message{Type: privsep.Start}) }, 1, malformed + "unexpected start"},
		{"another socket", func(m *falseMonitor) { m.work(); m.send(privsep.Message{Type: privsep.Socket}, 1) }, 1, malformed + "unexpected socket"},
		{"ping for an interface that is not there", func(m *falseMonitor) {
			m.work()
			m.send(privsep.Message{Type: privsep.Ping, Index: 1})
		}, 1, malformed + "unexpected ping"},
		{"pings without reading", func(m *falseMonitor) {
			m.work()
			for range 10000 {
				m.send(privsep.Message{Type: privsep.Ping})
			}
			m.close()
		}, 0, ""},
		{"stop, and then nonsense", func(m *falseMonitor) {
			m.work()
			m.send(privsep.Message{Type: privsep.Stop})
			m.send(privsep.Message{Type: privsep.Hello})
		}, 0, ""},

		{"name for an interface that is not there", func(m *falseMonitor) {
			m.work()
			m.send(privsep.Message{Type: privsep.Name, Index: 1})
		}, 1, malformed + "unexpected name"},

		// Nothing, for as long as the handshake may take.
		{"silence", func(*falseMonitor) {}, 1, "receive socket: no message in time"},
		{"silence instead of start", func(m *falseMonitor) {
			m.send(privsep.Message{Type: privsep.Socket}, packetSocket(m.t))
		}, 1, "no message in time"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := startParser(t)
			c.do(m)
			m.ends(c.status, c.says)
		})
	}
}

// Arbitrary bytes, during the handshake or afterwards, can only end the parser.
func TestRandomMessagesToTheParser(t *testing.T) {
	testenv.Require(t, testenv.Netns)
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 0))
			b := make([]byte, 1+r.IntN(2*privsep.MessageLen))
			for i := range b {
				b[i] = byte(r.Uint32())
			}
			if r.IntN(2) == 0 { // from the sixth byte on it may be a message
				copy(b, []byte{1, byte(privsep.Stop), 0, 0, 0, 1})
			}
			m := startParser(t)
			says := "receive socket: malformed message: "
			if r.IntN(2) == 0 {
				m.work()
				says = "malformed message: "
			}
			m.write(b)
			m.ends(1, says)
		})
	}
}

// wrongKind returns a step that sends another descriptor as a socket.
func wrongKind(open func(*testing.T) int) func(*falseMonitor) {
	return func(m *falseMonitor) {
		m.send(privsep.Message{Type: privsep.Socket}, open(m.t))
		m.send(privsep.Message{Type: privsep.Start})
	}
}

// A parser that holds a capability does not run, even if its parent created the socket: as root, or
// as another user that can execute a file with the capability.
func TestCapableParser(t *testing.T) {
	testenv.Require(t, testenv.Root)
	const nobody = 65534
	o, err := cli.ParseOptions([]string{"lo"}, cli.Environment{})
	testenv.Must(t, err)
	for _, c := range []struct {
		path string
		as   *syscall.Credential
	}{
		{testenv.Binary(t), nil},
		{testenv.CapableBinary(t, "cap_net_raw=p"), &syscall.Credential{Uid: nobody, Gid: nobody}},
	} {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		testenv.Must(t, err)
		theirs := os.NewFile(uintptr(fds[1]), "control")
		cmd := exec.Command(c.path, o.ParserArgs()[1:]...)
		cmd.ExtraFiles = []*os.File{theirs}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.as}
		out, _ := cmd.CombinedOutput()
		unix.Close(fds[0])
		theirs.Close()
		if status := cmd.ProcessState.ExitCode(); status != cli.ExitConfinement || !strings.HasPrefix(string(out), "maas-netmon: the parser must not have a capability") {
			t.Errorf("exit status %d, %q", status, out)
		}
	}
}
