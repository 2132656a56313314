package cli

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"
)

// InputName returns the name of an input for messages.
func InputName(name string) string {
	if name == "-" {
		return "standard input"
	}
	return name
}

// InputFD returns the descriptor that the name of an input refers to, or -1 for any other file:
// standard input for "-", and N for /dev/fd/N, which a shell passes for <(command). The program
// reads this descriptor and does not open the name: that would need permissions on the file, which
// the user of a process that was started as root may not have.
func InputFD(name string) int {
	switch name {
	case "-", "/dev/stdin":
		return unix.Stdin
	}
	dir, base := filepath.Split(name)
	if dir != "/dev/fd/" && dir != "/proc/self/fd/" {
		return -1
	}
	// Only the form that the kernel prints: decimal digits without leading zeros.
	n, err := strconv.Atoi(base)
	if err != nil || n < 0 || strconv.Itoa(n) != base {
		return -1
	}
	return n
}

// captureSuffixes are the usual suffixes of capture files.
var captureSuffixes = []string{".pcap", ".pcapng", ".cap", ".ntar", ".dmp", ".gz"}

// FileHint returns the hint for an INTERFACE that looks like the name of a file, or "".
func FileHint(name string) string {
	isFile := name == "-" || strings.Contains(name, "/") || slices.ContainsFunc(captureSuffixes, func(suffix string) bool {
		return strings.HasSuffix(strings.ToLower(name), suffix)
	})
	if !isFile {
		return ""
	}
	return "to read a file: maas-netmon -i " + ShellQuote(name)
}

// ShellQuote quotes a word for a POSIX shell, if necessary.
func ShellQuote(word string) string {
	if word != "" && !strings.ContainsFunc(word, func(r rune) bool {
		return !strings.ContainsRune("-+=_./:,@%", r) && (r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r))
	}) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
