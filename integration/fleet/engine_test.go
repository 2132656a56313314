package fleet

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"maas-netmon/internal/testenv"
)

const (
	engineDir  = "FLEET_ENGINE_DIR"
	enginePort = "FLEET_ENGINE_PORT"

	// Not 127.0.0.1, from which clients connect: a client that connects to a port without a
	// listener could get that port as its own, and block it for the engine.
	engineHost = "127.0.0.2"
)

// runEngine is a NATS server with its streams in dir. It prints its port and runs until it is
// killed, or the test has ended.
func runEngine(dir, port string) int {
	n, err := strconv.Atoi(port)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	s, err := server.NewServer(&server.Options{
		Host: engineHost, Port: n, JetStream: true, StoreDir: dir, NoSigs: true,
		SyncAlways: true, // an acknowledged line is on the disk
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	s.Start()
	if !s.ReadyForConnections(testenv.Patience) {
		fmt.Fprintln(os.Stderr, "the engine is not ready")
		return 1
	}
	fmt.Println(s.Addr().(*net.TCPAddr).Port)
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// An engine is a process with a NATS server.
type engine struct {
	dir, port string
	cmd       *exec.Cmd
}

// start starts the engine, the second time with the store and the port of the first.
func (e *engine) start(t *testing.T) {
	t.Helper()
	e.cmd = exec.Command("/proc/self/exe")
	e.cmd.Env = append(os.Environ(), engineDir+"="+e.dir, enginePort+"="+e.port)
	e.cmd.Stderr = os.Stderr
	_, err := e.cmd.StdinPipe()
	testenv.Must(t, err)
	out, err := e.cmd.StdoutPipe()
	testenv.Must(t, err)
	testenv.Must(t, e.cmd.Start())
	cmd := e.cmd
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the engine did not start: %v", err)
	}
	e.port = line[:len(line)-1]
}

// kill kills the engine: it has no time to write anything.
func (e *engine) kill(t *testing.T) {
	t.Helper()
	testenv.Must(t, e.cmd.Process.Kill())
	_ = e.cmd.Wait()
}

// connect returns a client of the engine that outlives its restarts.
func (e *engine) connect(t *testing.T) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect("nats://"+net.JoinHostPort(engineHost, e.port),
		nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.ReconnectJitter(0, 0))
	testenv.Must(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	testenv.Must(t, err)
	return js
}

// deadline is a context for one answer of the engine.
func deadline(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
