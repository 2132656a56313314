package monitor

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"maas-netmon/internal/cli"
	"maas-netmon/internal/control"
	"maas-netmon/sandbox"
)

// A metricsFile implements --metrics-file: counters for node_exporter's textfile collector, which
// can read the file at any time and must find it complete.
//
// The confined monitor cannot open a file. So two files are open from the start: the one with the
// name, and a spare one. The monitor writes the spare file, and then exchanges the names of the two
// (RENAME_EXCHANGE, renameat2(2)). A process keeps both locked (flock(2)) until it ends: a spare
// file that can be locked was left by a process that was killed.
type metricsFile struct {
	path  string
	dir   int // of the directory, O_PATH
	name  string
	spare string
	files [2]int // the spare one first
	// complete means that the state of the interfaces is known, and a round was started to write
	// it.
	complete bool
	failed   lossLog
}

// startMetrics opens the metrics file. On an error it logs the reason and returns nil: the program
// works without metrics. Only a restart tries again, because a confined process cannot open a file.
func startMetrics(path, text string) *metricsFile {
	f, err := openMetrics(path, text)
	if err != nil {
		attrs := []any{"file", path, "err", err}
		if errors.Is(err, unix.EACCES) {
			attrs = append(attrs, "user", os.Getuid())
		}
		slog.Warn("no metrics file until the next start", attrs...)
		return nil
	}
	return f
}

// openMetrics creates the two files, and removes the spare files of processes that were killed. The
// file with the name replaces an older one and contains text.
func openMetrics(path, text string) (_ *metricsFile, err error) {
	f := &metricsFile{path: path, name: filepath.Base(path)}
	f.dir, err = unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("open", err)
	}
	f.removeDead()
	var made [2]string
	defer func() {
		if err == nil {
			return
		}
		for i, name := range made {
			if name != "" {
				_ = unix.Unlinkat(f.dir, name, 0)
				_ = unix.Close(f.files[i])
			}
		}
		_ = unix.Close(f.dir)
	}()
	for i := range f.files {
		fd, name, err := f.create()
		if err != nil {
			return nil, os.NewSyscallError("create", err)
		}
		f.files[i], made[i] = fd, name
	}
	if n, err := unix.Pwrite(f.files[1], []byte(text), 0); err != nil || n < len(text) {
		return nil, os.NewSyscallError("write", cmp.Or(err, error(unix.ENOSPC)))
	}
	// Not every file system can exchange names. Try it with two temporary names, before the real
	// name changes.
	if err := unix.Renameat2(f.dir, made[0], f.dir, made[1], unix.RENAME_EXCHANGE); err != nil {
		return nil, os.NewSyscallError("exchange", err)
	}
	if err := unix.Renameat(f.dir, made[0], f.dir, f.name); err != nil {
		return nil, os.NewSyscallError("rename", err)
	}
	f.spare = made[1]
	return f, nil
}

// create creates a file that belongs to this process alone, and locks it.
func (f *metricsFile) create() (fd int, name string, err error) {
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_CLOEXEC
	// A process in another PID namespace may have the same process ID.
	for n := range 100 {
		name = fmt.Sprintf(".%s.%d.%d", f.name, os.Getpid(), n)
		fd, err = unix.Openat(f.dir, name, flags, 0o644)
		if err == unix.EEXIST {
			continue
		}
		if err != nil {
			break
		}
		// On a file system without locks, the files of killed processes are not removed.
		_ = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		// Before the lock, another process may have removed the file as one of a dead process. Then
		// try again.
		var st unix.Stat_t
		if err = unix.Fstat(fd, &st); err != nil || st.Nlink > 0 {
			break
		}
		_ = unix.Close(fd)
	}
	return fd, name, err
}

// removeDead removes the spare files of processes that were killed, as far as permissions allow.
func (f *metricsFile) removeDead() {
	dir, err := os.Open(filepath.Dir(f.path))
	if err != nil {
		return // the directory may be writable and not readable
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		numbers, ok := strings.CutPrefix(name, "."+f.name+".")
		if !ok || numbers == "" || strings.Trim(numbers, "0123456789.") != "" {
			continue
		}
		fd, err := unix.Openat(f.dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		if unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) == nil {
			_ = unix.Unlinkat(f.dir, name, 0)
		}
		_ = unix.Close(fd)
	}
}

// grant adds the descriptors that write and remove need to g.
func (f *metricsFile) grant(g *sandbox.MonitorGrant) {
	g.Rewrite = f.files[:]
	g.Directory = f.dir
}

// exchange gives the name to the spare file, and the spare name to the other one.
func (f *metricsFile) exchange() error {
	err := unix.Renameat2(f.dir, f.spare, f.dir, f.name, unix.RENAME_EXCHANGE)
	if err == nil {
		f.files[0], f.files[1] = f.files[1], f.files[0]
	}
	return err
}

// write replaces the content of the file. On an error the old content stays.
func (f *metricsFile) write(text string) {
	n, err := unix.Pwrite(f.files[0], []byte(text), 0)
	if err == nil && n < len(text) {
		err = unix.ENOSPC
	}
	if err == nil {
		err = unix.Ftruncate(f.files[0], int64(n))
	}
	if err == nil {
		err = f.exchange()
	}
	if err != nil {
		f.failed.add(1, "metrics file not written", "file", f.path, "err", err)
	}
}

// remove removes the spare file. Unless keep is true it also removes the file with the name: its
// counters would look like those of a running program.
func (f *metricsFile) remove(keep bool) {
	_ = unix.Unlinkat(f.dir, f.spare, 0)
	if !keep {
		_ = unix.Unlinkat(f.dir, f.name, 0)
	}
}

// started is the time at which the process started.
var started = time.Now()

// metrics returns the counters, the state of each interface and the constants in Prometheus's text
// format. The label watch has the interfaces and patterns of the command line. It distinguishes
// several processes on one host: two files must not contain the same series.
func metrics(ifaces []*iface, o cli.Options) string {
	var b strings.Builder
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
	watch := escape.Replace(cmp.Or(o.Input, strings.Join(slices.Concat(o.Interfaces, o.Match), " ")))
	family := func(name, kind, help string) {
		fmt.Fprintf(&b, "# HELP maas_netmon_%s %s\n# TYPE maas_netmon_%s %s\n", name, help, name, kind)
	}
	perInterface := func(name string, value func(*iface) uint64) {
		for _, f := range ifaces {
			if f.name != "" {
				fmt.Fprintf(&b, "maas_netmon_%s{interface=\"%s\"} %d\n", name, escape.Replace(f.name), value(f))
			}
		}
	}
	for _, c := range control.Table {
		if c.Metric == "" || !c.Shown(o.IPv6) {
			continue
		}
		kind := "gauge"
		if strings.HasSuffix(c.Metric, "_total") {
			kind = "counter"
		}
		family(c.Metric, kind, c.HelpFor(o.IPv6))
		perInterface(c.Metric, func(f *iface) uint64 { return *c.Of(&f.counters) })
	}
	if len(ifaces) > 0 && ifaces[0].socket != nil { // an input file has no state
		family("interface_up", "gauge", "Whether the interface is there, up and has a carrier: 1, otherwise 0.")
		perInterface("interface_up", func(f *iface) uint64 {
			if f.link.now == up {
				return 1
			}
			return 0
		})
	}
	var bindings uint64
	for _, f := range ifaces {
		bindings += f.counters.Bindings
	}
	for _, p := range []struct {
		name, help string
		value      uint64
	}{
		{"table_bindings", "Bindings that the table of the process holds, of all its interfaces.", bindings},
		{"max_bindings", "Bindings that the table of the process holds at most.", uint64(o.MaxBindings)},
		{"start_time_seconds", "When the process started, in seconds since 1970.", uint64(started.Unix())},
	} {
		family(p.name, "gauge", p.help)
		fmt.Fprintf(&b, "maas_netmon_%s{watch=\"%s\"} %d\n", p.name, watch, p.value)
	}
	family("build_info", "gauge", "The version of the program and of the Go that built it: always 1.")
	version, golang, _ := strings.Cut(cli.BuildVersion(), " ")
	fmt.Fprintf(&b, "maas_netmon_build_info{watch=\"%s\",version=\"%s\",goversion=\"%s\"} 1\n", watch, escape.Replace(version), escape.Replace(golang))
	return b.String()
}
