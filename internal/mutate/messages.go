package main

// Tests of the messages between the two processes, and of the end of the parser.
const (
	byControl = "./internal/control ^Test(CountersMessage|Table|HelloMessage|NameMessage)$"
	byEnd     = "./internal/monitor ^(TestParserEnded|TestParserIsKilled)$"
)

// messageGuards break the meaning of messages, and the exit status after the end of the parser.
var messageGuards = []guard{
	{"control: the parser sets the monitor's counters", "internal/control/control.go", "\t\tif !Table[i].Own {\n\t\t\t*Table[i].Of(&c) = ", "\t\tif true {\n\t\t\t*Table[i].Of(&c) = ", byControl},
	{"control: the monitor's counters are sent", "internal/control/control.go", "\t\tif !Table[i].Own {\n\t\t\tm.Values[i] = ", "\t\tif true {\n\t\t\tm.Values[i] = ", byControl},
	{"control: MDWE is in force", "internal/control/control.go", "MDWE: m.Values[1] == 1", "MDWE: true", byControl},
	{"control: Landlock is not in force", "internal/control/control.go", "Landlock: int(m.Values[0])", "Landlock: 0 * int(m.Values[0])", byControl},
	{"control: a counter twice", "internal/control/control.go", "return &c.Ignored", "return &c.Refused", byControl},
	{"control: counters of the first interface", "internal/control/control.go", "Type: privsep.Pong, Index: index", "Type: privsep.Pong, Index: 0 * index", byControl},
	{"control: bytes of a name in another order", "internal/control/control.go", "uint64(c) << (i % 8 * 8)", "uint64(c) << (56 - i%8*8)", byControl},
	{"control: names of seven bytes", "internal/control/control.go", "for i := range MaxName {", "for i := range 7 {", byControl},

	{"end: a parser may exit at any time", "internal/monitor/end.go", "case finished && status.Exited()", "case status.Exited()", byEnd},
	{"end: status of an input without an input", "internal/monitor/end.go", "case inputEnded && status.Exited()", "case status.Exited()", byEnd},
	{"end: a violation of seccomp is a signal as others", "internal/monitor/end.go", "status.Signal() == unix.SIGSYS:", "false:", byEnd},
	{"end: any exit status of the parser", "internal/monitor/end.go", "status.ExitStatus() == cli.ExitFailure || status.ExitStatus() == cli.ExitConfinement:", "true:", byEnd},
	{"end: a failed confinement is a failure", "internal/monitor/end.go", " || status.ExitStatus() == cli.ExitConfinement:", ":", byEnd},
	{"end: EPIPE hides the reason", "internal/monitor/end.go", "errors.Is(cause, unix.EPIPE)", "false", byEnd},
	{"end: the reason is killed", "internal/monitor/end.go", "if !errors.Is(cause, io.EOF) {\n\t\tm.child.Kill()", "if true {\n\t\tm.child.Kill()", byEnd},
}
