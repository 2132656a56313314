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

// InputFD returns the descriptor that the name of an input means, or -1 for any other file: standard
// input for "-", and N for /dev/fd/N, which is what a shell passes for <(command). The descriptor
// itself is read, because to open it a second time takes the permissions of its file, which the user
// of a process that was started as root may not have.
func InputFD(name string) int {
	switch name {
	case "-", "/dev/stdin":
		return unix.Stdin
	}
	dir, base := filepath.Split(name)
	if dir != "/dev/fd/" && dir != "/proc/self/fd/" {
		return -1
	}
	// As the kernel writes a descriptor: decimal digits without leading zeros.
	n, err := strconv.Atoi(base)
	if err != nil || n < 0 || strconv.Itoa(n) != base {
		return -1
	}
	return n
}

// captureSuffixes end the names of files with captures.
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

// ShellQuote returns a word as a POSIX shell reads it.
func ShellQuote(word string) string {
	if word != "" && !strings.ContainsFunc(word, func(r rune) bool {
		return !strings.ContainsRune("-+=_./:,@%", r) && (r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r))
	}) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
