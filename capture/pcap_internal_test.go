package capture

import (
	"errors"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
)

// broken is a reader with a defect that a record has found.
type broken struct{}

func (broken) ZeroCopyReadPacketData() ([]byte, gopacket.CaptureInfo, error) {
	var none []byte
	return none[:1], gopacket.CaptureInfo{}, nil
}

// A panic in pcapgo is a damaged record like any other, and what came before is kept.
func TestPanicIsADamagedRecord(t *testing.T) {
	f := NewFile(-1, -1)
	f.packets = broken{}
	f.start, f.end = 4, 24
	var frame Frame
	if f.decode(f.buf[4:24], &frame) || !errors.Is(f.err, ErrDamaged) {
		t.Fatal(f.err)
	}
	if _, err := f.Wait(); err != f.err || !strings.Contains(err.Error(), "damaged record at byte 4: runtime error: slice bounds") {
		t.Error(err)
	}
}
