package fuzz

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/gopacket/gopacket/pcapgo"

	"maas-netmon/parser"
	"maas-netmon/parser/parsertest"
	"maas-netmon/privsep"
)

// targets lists all fuzz targets, with the function that returns their seeds and the smallest
// number of seeds. Fewer would mean that files were moved.
var targets = []struct {
	name  string
	seeds func() ([][]byte, error)
	least int
}{
	{"FuzzParse", frameSeeds, 130},
	{"FuzzParseND", ndSeeds, 430},
	{"FuzzFilter", ndSeeds, 430},
	{"FuzzFrameToLine", ndSeeds, 430},
	{"FuzzTracker", scriptSeeds, 80},
	{"FuzzReport", eventSeeds, 51},
	{"FuzzMessage", messageSeeds, 21},
	{"FuzzFile", fileSeeds, 50},
	{"FuzzFileLikePcapgo", fileSeeds, 50},
}

// addSeeds adds the seeds of a target. Without the files, as on OSS-Fuzz, the target runs without
// seeds; TestSeeds checks that they exist elsewhere.
func addSeeds(f *testing.F, name string) {
	for _, target := range targets {
		if target.name != name {
			continue
		}
		seeds, err := target.seeds()
		if errors.Is(err, os.ErrNotExist) {
			return
		}
		if err != nil {
			f.Fatal(err)
		}
		for _, seed := range seeds {
			f.Add(seed)
		}
		return
	}
	f.Fatalf("%s has no seeds", name)
}

var writeSeeds = flag.String("write-seeds", "", "directory to write the seeds to, one directory a target")

func TestSeeds(t *testing.T) {
	for _, target := range targets {
		t.Run(target.name, func(t *testing.T) {
			seeds, err := target.seeds()
			if err != nil {
				t.Fatal(err)
			}
			slices.SortFunc(seeds, bytes.Compare)
			seeds = slices.CompactFunc(seeds, bytes.Equal)
			if len(seeds) < target.least {
				t.Errorf("%d seeds, want %d at least", len(seeds), target.least)
			}
			if *writeSeeds == "" {
				return
			}
			dir := filepath.Join(*writeSeeds, target.name)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			for i, seed := range seeds {
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%03d", i)), seed, 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// Every fuzz target of the package is in the table above, and each directory of kept inputs belongs
// to a target.
func TestTargetsAreKnown(t *testing.T) {
	var known, found []string
	for _, target := range targets {
		known = append(known, target.name)
	}
	paths, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`).FindAllSubmatch(text, -1) {
			found = append(found, string(m[1]))
		}
	}
	slices.Sort(known)
	slices.Sort(found)
	if !slices.Equal(known, found) {
		t.Errorf("known targets %v, there are %v", known, found)
	}
	dirs, err := filepath.Glob("testdata/fuzz/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		if !slices.Contains(known, filepath.Base(dir)) {
			t.Errorf("%s belongs to no target", dir)
		}
	}
}

// frameSeeds returns the frames of the vectors and of the captures.
func frameSeeds() ([][]byte, error) {
	seeds, err := vectorInputs()
	if err != nil {
		return nil, err
	}
	captures, err := filepath.Glob("testdata/captures/*.pcap")
	if err != nil {
		return nil, err
	}
	for _, path := range captures {
		frames, err := readCapture(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		for _, frame := range frames {
			seeds = append(seeds, encodeFrame(frame, parser.Tag{}))
		}
	}
	return seeds, nil
}

// ndSeeds returns the frames of the vectors for Neighbor Discovery, and those of frameSeeds.
func ndSeeds() ([][]byte, error) {
	seeds, err := frameSeeds()
	if err != nil {
		return nil, err
	}
	for _, v := range parsertest.NDVectors() {
		seeds = append(seeds, encodeND(v.Frame, v.Tag, v.SumPending))
	}
	return seeds, nil
}

func readCapture(path string) ([][]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	r, err := pcapgo.NewReader(file)
	if err != nil {
		return nil, err
	}
	var frames [][]byte
	for {
		frame, _, err := r.ReadPacketData()
		if err == io.EOF {
			return frames, nil
		}
		if err != nil {
			return nil, err
		}
		frames = append(frames, frame)
	}
}

// scriptSeeds returns random scripts, always the same ones, for all bounds.
func scriptSeeds() ([][]byte, error) {
	var seeds [][]byte
	r := rand.New(rand.NewPCG(4, 2))
	for bound := range 20 {
		for refresh := range 4 {
			seed := []byte{byte(bound), byte(refresh)}
			for range stepLen * (10 + 5*bound) {
				seed = append(seed, byte(r.Uint32()))
			}
			seeds = append(seeds, seed)
		}
	}
	return seeds, nil
}

// eventSeeds returns events of each kind with names that need escaping.
func eventSeeds() ([][]byte, error) {
	var seeds [][]byte
	for _, name := range []string{"", "eth0", "enp0s31f6np0-15", `"`, `\`, "\n", "\x1b[2J", "é", "\xff", "\xe2\x80\xa8", "</script>"} {
		for kind := range 3 {
			seed := []byte{byte(kind), 0, 100, 0, 200, 10, 0, 0, 5, 2, 0xaa, 0, 0, 0, 5, 2, 0xbb, 0, 0, 0, 5, 0, 0, 0, 0, 0x6b, 0, 0xee, 0x16}
			seeds = append(seeds, append(seed, name...))
		}
	}
	for _, addr := range []string{"fe80::aa:ff:fe00:5", "2001:db8::", "2001:db8:0:1:1:1:1:1", "2001:0:0:1:0:0:0:1", "2001:db8:0:0:1:0:0:1", "::2", "64:ff9b::a00:5", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::ffff:10.0.0.5"} {
		seed := slices.Clone(seeds[1])
		seed[3] = 0x80
		seed = append(seed, netip.MustParseAddr(addr).AsSlice()...)
		seeds = append(seeds, seed, append(slices.Clone(seed), "eth0"...))
	}
	return seeds, nil
}

// messageSeeds returns a message of each type, and inputs that are almost messages.
func messageSeeds() ([][]byte, error) {
	var seeds [][]byte
	for t := range 10 {
		m := privsep.Message{Type: privsep.Type(t), Index: uint16(t)}
		for i := range m.Values {
			m.Values[i] = uint64(t) << i
		}
		seeds = append(seeds, m.Encode())
	}
	good := seeds[1]
	seeds = append(seeds, good[:len(good)-1], append(slices.Clone(good), 0), nil)
	for i := range 8 {
		bad := slices.Clone(good)
		bad[i]++
		seeds = append(seeds, bad)
	}
	return seeds, nil
}
