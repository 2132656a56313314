package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"maas-netmon/capture"
)

// cases are the measurements, in order.
var cases = []struct {
	name, what string
	run        func(*lab) error
}{
	{"daily", "100 to 50,000 duplicates per second, all subjects at the same time", (*lab).daily},
	{"peers", "1,000 duplicates per second, every alternative at the same time", (*lab).peers},
	{"quiet", "frame sent to event read, one new address after each quiet second", (*lab).quiet},
	{"latency", "frame sent to event read, 250 new addresses per second", (*lab).latency},
	{"new", "400,000 new addresses as fast as the sender can, events into a file", (*lab).newAddresses},
	{"surprise", "400,000 new addresses, 400,000 per second, after a quiet second", (*lab).surprise},
	{"busy", "the same while 1,000 duplicates per second come", (*lab).busyBurst},
	{"burst", "10,000 new addresses at once while the reader is stopped for 20 ms", (*lab).burst},
	{"stall", "200,000 new addresses, 20,000 per second, while the reader of the events stalls", (*lab).stall},
	{"full", "duplicates of 256 hosts as fast as the sender can", (*lab).full},
	{"steady", "50,000 duplicates per second", (*lab).steady},
	{"start", "start to first event", (*lab).startUp},
	{"idle", "nobody sends", (*lab).idle},
	{"flood", "a million new addresses as fast as the sender can, events into a file", (*lab).flood},
	{"interfaces", "1 to 500 interfaces, one of them busy", (*lab).interfaces},
	{"bindings", "a thousand to a million bindings", (*lab).bindings},
	{"rates", "duplicates from 100 per second to as fast as the sender can", (*lab).rates},
}

// A load has the frames that were sent to a run, and their cost.
type load struct {
	frames  int
	took    time.Duration
	cpu     time.Duration // of the subject
	dropped int           // by the subject's own count; -1 if it has none
	pss     int           // in KiB, after it
}

// drive sends frames to a run. It stops the subject at the end.
func (l *lab) drive(r *run, first, hosts, frames, rate int) (load, error) {
	before, err := r.cpu()
	if err != nil {
		return load{}, err
	}
	took, err := l.send.send(first, hosts, frames, rate)
	if err != nil {
		return load{}, err
	}
	time.Sleep(r.settled)
	after, err := r.cpu()
	if err != nil {
		return load{}, err
	}
	memory, err := r.pss()
	if err != nil {
		return load{}, err
	}
	dropped, err := r.stop()
	return load{frames, took, after - before, dropped, memory}, err
}

// kept returns the number of frames that the subject received, according to its own count of lost
// frames.
func (d load) kept() int { return d.frames - max(d.dropped, 0) }

// perFrame returns the CPU time per frame that the subject received.
func (d load) perFrame() float64 { return float64(d.cpu.Nanoseconds()) / float64(d.kept()) }

// duplicates measures the CPU of duplicates at a rate.
func (l *lab) duplicates(name string, subjects []*subject, frames, rate int) error {
	for range l.count {
		for _, s := range subjects {
			to := toNull
			if s.name == tcpdumpPipe {
				to = toPipe
			}
			r, pipe, err := l.start(s, to, nil, "va")
			if err != nil {
				return err
			}
			discard(pipe)
			d, err := l.drive(r, 0, 256, frames, rate)
			if err != nil {
				return err
			}
			l.add(name, s.name, "CPU ns/frame", d.perFrame())
			l.add(name, s.name, "lost %", lost(d.dropped, frames))
			l.add(name, s.name, "sent M/s", float64(frames)/d.took.Seconds()/1e6)
		}
	}
	return nil
}

// lost returns a percentage, or -1 if it is unknown.
func lost(n, of int) float64 {
	if n < 0 {
		return -1
	}
	return 100 * float64(n) / float64(of)
}

// discard reads a pipe to its end.
func discard(pipe *os.File) {
	if pipe == nil {
		return
	}
	go func() {
		defer pipe.Close()
		buf := make([]byte, 64<<10)
		for {
			if n, err := pipe.Read(buf); n == 0 || err != nil {
				return
			}
		}
	}()
}

func (l *lab) full() error { return l.duplicates("full", l.every, 1_000_000, 0) }

func (l *lab) steady() error {
	return l.duplicates("steady", l.named(ours, bare, tcpdumpPipe, arpwatch), 200_000, 50_000)
}

// dailyRates are frames per second of the case "daily".
var dailyRates = []int{100, 1_000, 10_000, 50_000}

func (l *lab) daily() error {
	for _, rate := range dailyRates {
		if err := l.together("daily", l.named(ours, tcpdumpPipe, arpwatch), rate); err != nil {
			return err
		}
	}
	return nil
}

// peers is not a part of daily, so that the alternatives without a target do not use the processor
// while those with one are measured.
func (l *lab) peers() error {
	return l.together("peers", l.named(ours, tcpdumpPipe, arpwatch, addrwatch, maas), 1_000)
}

// together sends the subjects the same duplicates at the same time, so that other load on the
// machine affects all of them, and measures their CPU. The start is complete before that.
func (l *lab) together(name string, subjects []*subject, rate int) error {
	const warmUp, window = 3, 10 // seconds
	for range l.count {
		var runs []*run
		for _, s := range subjects {
			r, pipe, err := l.start(s, toPipe, nil, "va")
			if err != nil {
				return err
			}
			discard(pipe)
			runs = append(runs, r)
		}
		if _, err := l.send.send(0, 256, warmUp*rate, rate); err != nil {
			return err
		}
		before := make([]time.Duration, len(runs))
		for i, r := range runs {
			var err error
			if before[i], err = r.cpu(); err != nil {
				return err
			}
		}
		took, err := l.send.send(0, 256, window*rate, rate)
		if err != nil {
			return err
		}
		for i, r := range runs {
			after, err := r.cpu()
			if err != nil {
				return err
			}
			l.at(name, r.name, "CPU %", rate, 100*(after-before[i]).Seconds()/took.Seconds())
		}
		for _, r := range runs {
			if _, err := r.stop(); err != nil {
				return err
			}
		}
	}
	return nil
}

// address finds the addresses in text events, of maas-netmon, MAAS's own program, arpwatch and
// addrwatch.
var address = regexp.MustCompile(`(?:"ip":"|ip address: |(?:[0-9a-f]{2}:){5}[0-9a-f]{2} )(\d+\.\d+\.\d+\.\d+)`)

// hosts counts the events per host in a file.
func hosts(file string) (map[string]int, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	found := map[string]int{}
	for _, m := range address.FindAllSubmatch(text, -1) {
		found[string(m[1])]++
	}
	return found, nil
}

// fill sends this number of new addresses at once, and returns the number of hosts that have an
// event, and the number of those that have several.
func (l *lab) fill(r *run, n int) (d load, named, twice int, err error) {
	if d, err = l.drive(r, 0, n, n, 0); err != nil {
		return
	}
	found, err := hosts(r.out)
	for _, times := range found {
		if times > 1 {
			twice++
		}
	}
	return d, len(found), twice, err
}

func (l *lab) newAddresses() error {
	const frames = 400_000
	for range l.count {
		for _, s := range l.named(ours, tcpdumpPipe, arpwatch) {
			r, _, err := l.start(s, toFile, nil, "va")
			if err != nil {
				return err
			}
			if s.name == tcpdumpPipe { // its output has frames
				d, err := l.drive(r, 0, frames, frames, 0)
				if err != nil {
					return err
				}
				l.add("new", s.name, "lost %", lost(d.dropped, frames))
				l.add("new", s.name, "told lost %", lost(d.dropped, frames))
				continue
			}
			d, named, _, err := l.fill(r, frames)
			if err != nil {
				return err
			}
			l.add("new", s.name, "lost %", lost(frames-named, frames))
			l.add("new", s.name, "told lost %", lost(d.dropped, frames))
			l.add("new", s.name, "sent M/s", frames/d.took.Seconds()/1e6)
		}
	}
	return nil
}

// burstFrames is the length of a burst during a reader's sleep, burstRate its frames per second:
// about half of the rate that a subject can handle. At the full rate of the sender (the case "new")
// the loss depends on the table and on writing, not on the sleep.
const burstFrames, burstRate = 400_000, 400_000

func (l *lab) surprise() error {
	for range l.count {
		for _, s := range l.named(ours, tcpdumpPipe) {
			to := toFile
			if s.name == tcpdumpPipe {
				to = toPipe
			}
			r, pipe, err := l.start(s, to, nil, "va")
			if err != nil {
				return err
			}
			discard(pipe)
			time.Sleep(time.Second)
			d, err := l.drive(r, 0, burstFrames, burstFrames, burstRate)
			if err != nil {
				return err
			}
			l.add("surprise", s.name, "lost %", lost(d.dropped, burstFrames))
		}
	}
	return nil
}

// busyBurst measures a burst while the reader lets frames gather. Frames of 100 ms that exceed the
// ring may be lost, but must be counted.
func (l *lab) busyBurst() error {
	const before = 2_000
	for range l.count {
		for _, s := range l.named(ours) {
			r, _, err := l.start(s, toFile, nil, "va")
			if err != nil {
				return err
			}
			if _, err := l.send.send(burstFrames, 256, before, 1_000); err != nil {
				return err
			}
			d, err := l.drive(r, 0, burstFrames, burstFrames, burstRate)
			if err != nil {
				return err
			}
			found, err := hosts(r.out)
			if err != nil {
				return err
			}
			missing := burstFrames + 256 - len(found)
			allowed := burstFrames/10/d.took.Seconds() - float64(capture.RingSlots(1, false))
			l.add("busy", s.name, "lost %", lost(missing, burstFrames))
			l.add("busy", s.name, "lost, part of what 100 ms bring beyond the ring", float64(missing)/max(allowed, 1))
			l.add("busy", s.name, "lost and not counted", float64(missing-d.dropped))
		}
	}
	return nil
}

// stall lets the reader of the events sleep while new addresses arrive, and then read all.
func (l *lab) stall() error {
	const frames, rate = 200_000, 20_000
	for range l.count {
		for _, s := range l.named(ours, tcpdumpPipe, arpwatch, addrwatch, maas) {
			r, pipe, err := l.start(s, toPipe, nil, "va")
			if err != nil {
				return err
			}
			if _, err := l.send.send(0, frames, frames, rate); err != nil {
				return err
			}
			memory, err := r.pss()
			if err != nil {
				return err
			}
			came := arrivals(s, pipe)
			told := make(map[int]bool)
			for quiet := false; !quiet; {
				select {
				case a := <-came:
					told[a.host] = true
				case <-time.After(r.settled + time.Second):
					quiet = true
				}
			}
			if _, err := r.stop(); err != nil {
				return err
			}
			for a := range came {
				told[a.host] = true
			}
			l.add("stall", s.name, "lost %", lost(frames-len(told), frames))
			l.add("stall", s.name, "PSS MiB", float64(memory)/1024)
		}
	}
	return nil
}

func (l *lab) burst() error {
	const frames = 10_000
	for range l.count {
		for _, s := range l.named(ours, tcpdumpPipe, arpwatch) {
			r, _, err := l.start(s, toFile, nil, "va")
			if err != nil {
				return err
			}
			for _, pid := range r.pids {
				if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
					return err
				}
			}
			time.AfterFunc(20*time.Millisecond, func() {
				for _, pid := range r.pids {
					_ = unix.Kill(pid, unix.SIGCONT)
				}
			})
			if s.name == tcpdumpPipe {
				d, err := l.drive(r, 0, frames, frames, 0)
				if err != nil {
					return err
				}
				l.add("burst", s.name, "lost", float64(d.dropped))
				continue
			}
			_, named, _, err := l.fill(r, frames)
			if err != nil {
				return err
			}
			l.add("burst", s.name, "lost", float64(frames-named))
		}
	}
	return nil
}

// An arrival is the time at which the event of a host was read.
type arrival struct {
	host int
	at   time.Time
}

// arrivals reads events until the end and sends their arrivals. It reads with a blocking system
// call, on a separate thread.
func arrivals(s *subject, pipe *os.File) <-chan arrival {
	c := make(chan arrival, 1<<16)
	go func() {
		defer close(c)
		defer pipe.Close()
		buf := make([]byte, 64<<10)
		var rest []byte
		for {
			n, err := unix.Read(int(pipe.Fd()), buf)
			now := time.Now()
			if err == unix.EINTR {
				continue
			}
			if n <= 0 {
				return
			}
			rest = append(rest, buf[:n]...)
			var found []int
			if s.name == tcpdumpPipe {
				found, rest = hostsOfPcap(rest)
			} else {
				found, rest = hostsOfText(rest)
			}
			for _, h := range found {
				c <- arrival{h, now}
			}
		}
	}()
	return c
}

// hostsOfText returns the hosts in complete lines, and the rest after them.
func hostsOfText(b []byte) (found []int, rest []byte) {
	end := bytes.LastIndexByte(b, '\n') + 1
	for _, m := range address.FindAllSubmatch(b[:end], -1) {
		if ip, err := netip.ParseAddr(string(m[1])); err == nil {
			four := ip.As4()
			found = append(found, int(binary.BigEndian.Uint32(four[:]))-firstHost)
		}
	}
	return found, b[end:]
}

// hostsOfPcap does the same for a pcap stream (pcap-savefile(5)). It skips the file header before
// the first record.
func hostsOfPcap(b []byte) (found []int, rest []byte) {
	const fileHeader, recordHeader, senderIP = 24, 16, 28
	if len(b) >= fileHeader && binary.NativeEndian.Uint32(b) == 0xa1b2c3d4 {
		b = b[fileHeader:]
	}
	for len(b) >= recordHeader {
		n := recordHeader + int(binary.NativeEndian.Uint32(b[8:]))
		if len(b) < n {
			break
		}
		ip := binary.BigEndian.Uint32(b[recordHeader+senderIP:])
		found = append(found, int(ip)-firstHost)
		b = b[n:]
	}
	return found, b
}

func (l *lab) latency() error { return l.delays("latency", 500, 250) }

func (l *lab) quiet() error { return l.delays("quiet", 20, 1) }

// delays measures the time from a frame to its event, for new addresses at a rate. The subjects
// receive the same frames at the same time, except arpwatch, which would disturb the others.
func (l *lab) delays(name string, frames, rate int) error {
	took := make(map[string][]float64)
	for range l.count {
		var runs []*run
		var came []<-chan arrival
		for _, s := range l.named(ours, tcpdumpPipe) {
			r, pipe, err := l.start(s, toPipe, nil, "va")
			if err != nil {
				return err
			}
			runs, came = append(runs, r), append(came, arrivals(s, pipe))
		}
		time.Sleep(time.Second)
		sent := make([]time.Time, frames)
		start := time.Now()
		for i := range sent {
			t := unix.NsecToTimespec(int64(max(0, time.Until(start.Add(time.Duration(i)*time.Second/time.Duration(rate))))))
			_ = unix.Nanosleep(&t, nil)
			sent[i] = time.Now()
			if _, err := l.send.send(i, 1, 1, 0); err != nil {
				return err
			}
		}
		for i, r := range runs {
			time.Sleep(r.settled)
			if _, err := r.stop(); err != nil {
				return err
			}
			n := 0
			for a := range came[i] {
				took[r.name] = append(took[r.name], a.at.Sub(sent[a.host]).Seconds()*1e3)
				n++
			}
			if n != frames {
				return fmt.Errorf("%s: %d events of %d frames", r.name, n, frames)
			}
		}
	}
	for _, s := range l.named(ours, tcpdumpPipe) {
		all := took[s.name]
		slices.Sort(all)
		l.add(name, s.name, "p50 ms", all[len(all)/2])
		l.add(name, s.name, "p99 ms", all[len(all)*99/100])
		l.add(name, s.name, "longest ms", all[len(all)-1])
	}
	return nil
}

func (l *lab) startUp() error {
	for range 4 * l.count {
		for _, s := range l.named(ours, oursCopied, tcpdumpPipe, arpwatch) {
			stop := make(chan bool)
			stopped := make(chan error, 1)
			go func() { // continuous frames
				for i := 0; ; i++ {
					select {
					case <-stop:
						stopped <- nil
						return
					default:
					}
					if _, err := l.send.send(i, 1, 1, 0); err != nil {
						stopped <- err
						return
					}
					time.Sleep(200 * time.Microsecond)
				}
			}()
			start := time.Now()
			r, pipe, err := l.begin(s, toPipe, nil, "va")
			if err != nil {
				return err
			}
			came := arrivals(s, pipe)
			a, ok := <-came
			if err := r.find(); err != nil {
				return err
			}
			confined, err := r.confined()
			if err != nil {
				return err
			}
			close(stop)
			if err := <-stopped; err != nil {
				return err
			}
			_, _ = r.stop() // stopped this early, it may have no counters
			for range came {
			}
			if !ok {
				return fmt.Errorf("%s: no event", s.name)
			}
			l.add("start", s.name, "ms", a.at.Sub(start).Seconds()*1e3)
			if len(r.pids) == 2 && !confined {
				return fmt.Errorf("%s: an event before both processes were confined", s.name)
			}
		}
	}
	return nil
}

// idle measures all subjects at the same time, without frames.
func (l *lab) idle() error {
	const window = 20 * time.Second
	var runs []*run
	for _, s := range l.every {
		to := toNull
		if s.name == tcpdumpPipe {
			to = toPipe
		}
		r, pipe, err := l.start(s, to, nil, "va")
		if err != nil {
			return err
		}
		discard(pipe)
		runs = append(runs, r)
	}
	time.Sleep(3 * time.Second) // until the start is complete
	before := make([]int, len(runs))
	for range l.count {
		for i, r := range runs {
			var err error
			if before[i], err = r.wakeups(); err != nil {
				return err
			}
		}
		time.Sleep(window)
		for i, r := range runs {
			after, err := r.wakeups()
			if err != nil {
				return err
			}
			memory, err := r.pss()
			if err != nil {
				return err
			}
			l.add("idle", r.name, "wake-ups/s", float64(after-before[i])/window.Seconds())
			l.add("idle", r.name, "PSS MiB", float64(memory)/1024)
		}
	}
	for _, r := range runs {
		if _, err := r.stop(); err != nil {
			return err
		}
	}
	return nil
}

func (l *lab) flood() error {
	const frames = 1_000_000
	for range l.count {
		for _, s := range l.named(ours, arpwatch) {
			r, _, err := l.start(s, toFile, nil, "va")
			if err != nil {
				return err
			}
			d, named, twice, err := l.fill(r, frames)
			if err != nil {
				return err
			}
			l.add("flood", s.name, "lines M/s", float64(named)/d.took.Seconds()/1e6)
			l.add("flood", s.name, "lost %", lost(frames-named, frames))
			l.add("flood", s.name, "PSS MiB", float64(d.pss)/1024)
			l.add("flood", s.name, "told twice", float64(twice))
		}
	}
	return nil
}

// interfaceCounts and interfaceRates are those of the case "interfaces".
var (
	interfaceCounts = []int{1, 4, 16, 64, 500}
	interfaceRates  = []int{100, 1_000, 10_000, 50_000}
)

// interfaces adds interfaces without frames.
func (l *lab) interfaces() error {
	names := []string{"va"}
	for _, n := range interfaceCounts {
		var more strings.Builder
		for len(names) < n {
			name := fmt.Sprintf("i%d", len(names))
			fmt.Fprintf(&more, "link add %s type veth peer name p%[1]s\n", name)
			for _, end := range []string{name, "p" + name} {
				fmt.Fprintf(&more, "link set %s arp off addrgenmode none up\n", end)
			}
			names = append(names, name)
		}
		if err := l.rack.Batch(more.String()); err != nil {
			return err
		}
		for range l.count {
			for _, s := range l.named(ours) {
				start := time.Now()
				r, _, err := l.start(s, toNull, nil, names...)
				if err != nil {
					return err
				}
				l.at("interfaces", s.name, "start ms", n, time.Since(start).Seconds()*1e3)
				threads, err := r.threads()
				if err != nil {
					return err
				}
				l.at("interfaces", s.name, "threads", n, float64(threads))
				for _, rate := range interfaceRates {
					if _, err := l.send.send(0, 256, rate, rate); err != nil {
						return err
					}
					before, err := r.cpu()
					if err != nil {
						return err
					}
					if _, err := l.send.send(0, 256, 3*rate, rate); err != nil {
						return err
					}
					after, err := r.cpu()
					if err != nil {
						return err
					}
					l.at("interfaces", s.name, fmt.Sprintf("CPU ns/frame at %d/s", rate), n,
						float64((after-before).Nanoseconds())/float64(3*rate))
				}
				memory, err := r.pss()
				if err != nil {
					return err
				}
				l.at("interfaces", s.name, "PSS MiB", n, float64(memory)/1024)
				dropped, err := r.stop()
				if err != nil {
					return err
				}
				l.at("interfaces", s.name, "lost", n, float64(dropped))
			}
		}
	}
	return nil
}

func (l *lab) bindings() error {
	for n := 1_000; n <= 1_000_000; n *= 10 {
		for range l.count {
			for _, s := range l.named(ours) {
				r, _, err := l.start(s, toNull, []string{"--max-bindings", "1048576"}, "va")
				if err != nil {
					return err
				}
				// All of them, at a rate without loss; then the same again, for the measurement.
				if _, err := l.send.send(0, n, n, 100_000); err != nil {
					return err
				}
				time.Sleep(r.settled)
				d, err := l.drive(r, 0, n, 100_000, 100_000)
				if err != nil {
					return err
				}
				l.at("bindings", s.name, "CPU ns/frame", n, d.perFrame())
				l.at("bindings", s.name, "PSS MiB", n, float64(d.pss)/1024)
			}
		}
	}
	return nil
}

func (l *lab) rates() error {
	for _, rate := range []int{100, 1_000, 10_000, 100_000, 0} {
		for range l.count {
			for _, s := range l.named(ours, bare, tcpdumpPipe, arpwatch) {
				to := toNull
				if s.name == tcpdumpPipe {
					to = toPipe
				}
				r, pipe, err := l.start(s, to, nil, "va")
				if err != nil {
					return err
				}
				discard(pipe)
				frames := rate
				if rate == 0 {
					frames = 1_000_000
				}
				d, err := l.drive(r, 0, 256, frames, rate)
				if err != nil {
					return err
				}
				x := rate
				if rate == 0 {
					x = fullRate
				}
				l.at("rates", s.name, "CPU us/frame", x, d.perFrame()/1e3)
				l.at("rates", s.name, "lost %", x, lost(d.dropped, frames))
			}
		}
	}
	return nil
}
