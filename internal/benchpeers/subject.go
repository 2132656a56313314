package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"maas-netmon/internal/testenv"
)

// The names of the subjects in the table.
const (
	ours        = "maas-netmon"
	oursCopied  = "maas-netmon, readable file"
	bare        = "bare drain"
	bareLook    = "bare drain, looks at each frame"
	tcpdumpNull = "tcpdump -w /dev/null"
	tcpdumpPipe = "tcpdump, pipe"
	arpwatch    = "arpwatch"
	addrwatch   = "addrwatch"
	maas        = "MAAS's maas-netmon"
)

// A subject is a program to measure.
type subject struct {
	name    string
	args    []string       // path and arguments; the interfaces are appended
	uid     uint32         // the user that it is started as
	ready   string         // its message on standard error when it reads; "" if it has none
	dropped *regexp.Regexp // its final message about lost frames; nil if it has none
	// settled is the time after the last frame until it has read all frames.
	settled time.Duration
}

// sharedLog returns the name of addrwatch's log in shared memory, which it does not remove.
func sharedLog(dir string) string { return filepath.Base(dir) + "-addrwatch" }

// subjects returns all subjects that can be measured here, and the names of missing ones. MAAS's
// program is one of them if its path is not empty.
func subjects(dir, binary, maasBinary string) (found []*subject, missing []string, err error) {
	for _, f := range []struct{ name, mode string }{{"installed", "0711"}, {"readable", "0755"}} {
		path := filepath.Join(dir, f.name)
		if out, err := exec.Command("install", "-m", f.mode, binary, path).CombinedOutput(); err != nil {
			return nil, nil, fmt.Errorf("install: %w: %s", err, out)
		}
		if out, err := exec.Command("setcap", "cap_net_raw=p", path).CombinedOutput(); err != nil {
			return nil, nil, fmt.Errorf("setcap: %w: %s", err, out)
		}
	}
	const nobody = 65534
	dropped := regexp.MustCompile(`msg=counters .* dropped=(\d+)`)
	const soon = 300 * time.Millisecond
	said := regexp.MustCompile(`dropped=(\d+)`)
	found = []*subject{
		{name: ours, args: []string{filepath.Join(dir, "installed")}, uid: nobody,
			ready: "watching", dropped: dropped, settled: soon},
		{name: oursCopied, args: []string{filepath.Join(dir, "readable")}, uid: nobody,
			ready: "watching", dropped: dropped, settled: soon},
		{name: bare, args: []string{"/proc/self/exe", "-drain"}, ready: "listening on", dropped: said, settled: soon},
		{name: bareLook, args: []string{"/proc/self/exe", "-look", "-drain"}, ready: "listening on", dropped: said, settled: soon},
	}
	if path, err := exec.LookPath("tcpdump"); err != nil {
		missing = append(missing, "tcpdump")
	} else {
		// Not the system's own: tcpdump gives its file to the user that it becomes.
		null := filepath.Join(dir, "null")
		if err := unix.Mknod(null, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
			return nil, nil, os.NewSyscallError("mknod", err)
		}
		// As MAAS starts it, except for the position of the filter.
		args := []string{path, "-p", "-U", "--immediate-mode", "-s", "64", "-n"}
		dropped := regexp.MustCompile(`(\d+) packets? dropped by kernel`)
		for _, v := range []struct{ name, file string }{{tcpdumpNull, null}, {tcpdumpPipe, "-"}} {
			found = append(found, &subject{name: v.name, ready: "listening on", dropped: dropped, settled: soon,
				args: append(append([]string{}, args...), "-w", v.file, "arp or (vlan and arp)", "-i")})
		}
	}
	if path, err := exec.LookPath("arpwatch"); err != nil {
		missing = append(missing, "arpwatch")
	} else {
		data := filepath.Join(dir, "arp.dat")
		found = append(found, &subject{name: arpwatch,
			settled: 1300 * time.Millisecond, // it delays frames for up to a second
			args:    []string{path, "-d", "-p", "-N", "-f", data, "-i"}})
	}
	if path, err := exec.LookPath("addrwatch"); err != nil {
		missing = append(missing, "addrwatch")
	} else {
		// A line per binding every ten minutes, as maas-netmon, instead of one per frame. libpcap
		// delays frames for up to a second.
		found = append(found, &subject{name: addrwatch, settled: 1300 * time.Millisecond,
			args: []string{path, "-P", "-r", "600", "-H", "65536", "-m", "/" + sharedLog(dir)}})
	}
	if maasBinary == "" {
		missing = append(missing, maas+" (-maas FILE)")
	} else {
		// As maas-rack observe-arp starts it. Its message comes before it opens the socket.
		path, err := filepath.Abs(maasBinary)
		if err != nil {
			return nil, nil, err
		}
		found = append(found, &subject{name: maas, settled: soon, args: []string{path}})
	}
	return found, missing, nil
}

// A run is a running subject.
type run struct {
	*subject
	cmd  *exec.Cmd
	pids []int  // its processes
	log  string // file of standard error
	out  string // file of its events, if they are written to a file
}

// The destinations of the events of a run.
type sink int

const (
	toNull sink = iota
	toFile
	toPipe
)

// begin starts the subject on the interfaces without waiting for it. The events can be
// read from the pipe, which is nil for the other sinks.
func (l *lab) begin(s *subject, to sink, more []string, interfaces ...string) (*run, *os.File, error) {
	l.runs++
	r := &run{subject: s, log: filepath.Join(l.dir, fmt.Sprintf("%d.log", l.runs))}
	if err := os.WriteFile(filepath.Join(l.dir, "arp.dat"), nil, 0o666); err != nil {
		return nil, nil, err
	}
	args := append(append([]string{}, s.args...), more...)
	r.cmd = exec.Command(args[0], append(args[1:], interfaces...)...)
	r.cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	if s.uid != 0 {
		r.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: s.uid, Gid: s.uid}}
	}
	log, err := os.Create(r.log)
	if err != nil {
		return nil, nil, err
	}
	defer log.Close()
	r.cmd.Stderr = log
	var reader *os.File
	switch to {
	case toFile:
		// In memory, so that the disk is not measured. Each run overwrites it.
		r.out = filepath.Join("/dev/shm", filepath.Base(l.dir))
		out, err := os.Create(r.out)
		if err != nil {
			return nil, nil, err
		}
		defer out.Close()
		r.cmd.Stdout = out
	case toPipe:
		var fds [2]int
		if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
			return nil, nil, err
		}
		// Blocking, so that reading it needs no netpoller.
		reader = os.NewFile(uintptr(fds[0]), "pipe")
		writer := os.NewFile(uintptr(fds[1]), "pipe")
		defer writer.Close()
		r.cmd.Stdout = writer
	}
	if err := l.rack.Do(r.cmd.Start); err != nil {
		return nil, nil, err
	}
	l.begun = append(l.begun, r)
	return r, reader, nil
}

// start calls begin, and waits until the subject reads.
func (l *lab) start(s *subject, to sink, more []string, interfaces ...string) (*run, *os.File, error) {
	r, reader, err := l.begin(s, to, more, interfaces...)
	if err != nil {
		return nil, nil, err
	}
	if s.ready == "" {
		time.Sleep(time.Second)
		return r, reader, r.find()
	}
	for deadline := time.Now().Add(testenv.Patience); ; time.Sleep(5 * time.Millisecond) {
		log, err := os.ReadFile(r.log)
		if err == nil && bytes.Contains(log, []byte(s.ready)) {
			return r, reader, r.find()
		}
		if time.Now().After(deadline) {
			_ = r.cmd.Process.Kill()
			return nil, nil, fmt.Errorf("%s does not start: %s", s.name, log)
		}
	}
}

// find determines the processes of the run.
func (r *run) find() error {
	pid := r.cmd.Process.Pid
	r.pids = []int{pid}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return err
	}
	for _, t := range tasks {
		children, err := os.ReadFile(t)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		for _, c := range strings.Fields(string(children)) {
			n, err := strconv.Atoi(c)
			if err != nil {
				return err
			}
			r.pids = append(r.pids, n)
		}
	}
	return nil
}

// cpu returns the processor time of all threads that the processes have or had.
func (r *run) cpu() (time.Duration, error) {
	var sum time.Duration
	for _, pid := range r.pids {
		t, err := testenv.CPU(pid)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", r.name, err)
		}
		sum += t
	}
	return sum, nil
}

// read returns the contents of the files of that pattern in each process's directory in /proc.
func (r *run) read(pattern string) ([]string, error) {
	var texts []string
	for _, pid := range r.pids {
		files, err := filepath.Glob(fmt.Sprintf("/proc/%d/%s", pid, pattern))
		if err != nil {
			return nil, err
		}
		if len(files) == 0 {
			return nil, fmt.Errorf("%s has ended", r.name)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if errors.Is(err, unix.ESRCH) || errors.Is(err, os.ErrNotExist) {
				continue // a thread that has ended
			}
			if err != nil {
				return nil, err
			}
			texts = append(texts, string(text))
		}
	}
	return texts, nil
}

// sum adds the numbers after a word at the beginning of a line of these files.
func (r *run) sum(pattern, word string) (int, error) {
	texts, err := r.read(pattern)
	total := 0
	for _, text := range texts {
		for line := range strings.Lines(text) {
			if rest, ok := strings.CutPrefix(line, word); ok {
				n, err := strconv.Atoi(strings.Fields(rest)[0])
				if err != nil {
					return 0, err
				}
				total += n
			}
		}
	}
	return total, err
}

// pss returns the memory of the processes in KiB, shared pages divided by their users.
func (r *run) pss() (int, error) { return r.sum("smaps_rollup", "Pss:") }

// wakeups returns the number of times that the threads began to wait.
func (r *run) wakeups() (int, error) { return r.sum("task/*/status", "voluntary_ctxt_switches:") }

// threads returns the number of threads.
func (r *run) threads() (int, error) { return r.sum("status", "Threads:") }

// confined reports whether all threads of all its processes have a seccomp filter.
func (r *run) confined() (bool, error) {
	texts, err := r.read("task/*/status")
	for _, text := range texts {
		if !strings.Contains(text, "\nSeccomp:\t2\n") {
			return false, err
		}
	}
	return len(r.pids) == 2, err
}

// stop ends the run and returns the number of lost frames that it reports, or -1.
func (r *run) stop() (int, error) {
	if err := r.cmd.Process.Signal(unix.SIGTERM); err != nil {
		return -1, fmt.Errorf("stop %s: %w", r.name, err)
	}
	timer := time.AfterFunc(testenv.Patience, func() { _ = r.cmd.Process.Kill() })
	defer timer.Stop()
	_ = r.cmd.Wait() // arpwatch exits with 1
	if r.dropped == nil {
		return -1, nil
	}
	log, err := os.ReadFile(r.log)
	if err != nil {
		return -1, err
	}
	total := 0
	all := r.dropped.FindAllSubmatch(log, -1)
	if len(all) == 0 {
		return -1, fmt.Errorf("%s does not say what it lost: %s", r.name, log)
	}
	for _, m := range all {
		n, err := strconv.Atoi(string(m[1]))
		if err != nil {
			return -1, err
		}
		total += n
	}
	return total, nil
}
