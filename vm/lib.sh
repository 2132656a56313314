# shellcheck shell=dash disable=SC2034 # variables that the tests use
# Shell functions of the tests that run inside the virtual machines: vm/init and vm/system-test.

failures=0

# expect WHAT COMMAND... runs a command that must succeed and prints the verdict.
expect() {
	what=$1
	shift
	if "$@" >/tmp/output 2>&1; then
		echo "ok: $what"
	else
		echo "FAILED: $what"
		failures=$((failures + 1))
	fi
	cat /tmp/output
}

# verdict prints the line that the host looks for.
verdict() {
	[ "$failures" = 0 ] && echo 'vm: all tests passed' || echo "vm: $failures failures"
}

# has PATTERN FILE: a line of the file matches.
has() { grep -q -e "$1" "$2" || { cat "$2" && false; }; }

# hasnt PATTERN FILE: no line of the file matches.
hasnt() { ! grep -q -e "$1" "$2" || { cat "$2" && false; }; }

# lines N FILE: the file has N lines.
lines() { [ "$(wc -l <"$2")" = "$1" ] || { cat "$2" && false; }; }

# await COMMAND... runs the command until it succeeds, for a minute at most.
await() { await_for 60 "$@"; }

# await_for SECONDS COMMAND... does the same with another bound.
await_for() {
	tries=$(($1 * 10))
	shift
	n=0
	until "$@" >/dev/null 2>&1; do
		[ $n -lt $tries ] || return 1
		sleep 0.1
		n=$((n + 1))
	done
}

# processes LOG reads the parser's process ID from the program's log and sets parser and monitor.
processes() {
	parser=$(sed -n 's/.*parser=\([0-9]*\).*/\1/p' "$1")
	monitor=$(sed -n 's/^PPid:\t//p' "/proc/$parser/status")
}

# kernel_is MAJOR MINOR: the kernel is this version or newer.
kernel_is() {
	version=$(uname -r)
	major=${version%%.*}
	minor=${version#*.}
	minor=${minor%%[!0-9]*}
	[ "$major" -gt "$1" ] || { [ "$major" = "$1" ] && [ "$minor" -ge "$2" ]; }
}

# confined_as FILE [LABEL]: /proc/PID/attr/current is the label, enforced.
confined_as() { has "^${2-maas-netmon} (enforce)" "$1"; }
