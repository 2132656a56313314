// Package app is the program: it reads the command line and the environment and runs one of the two
// processes, the monitor or the parser. The test programs in internal/testbin are the same program
// with [Hooks].
package app

import (
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"

	"maas-netmon/internal/cli"
	"maas-netmon/internal/monitor"
	"maas-netmon/internal/parserproc"
	"maas-netmon/sandbox"
)

// Hooks let test programs change the behaviour of the program. The zero value changes nothing.
type Hooks struct {
	Monitor monitor.Hooks
	// Parser is called in the parser at the end of each stage of its start.
	Parser parserproc.Hook
}

func init() {
	// The kernel signals the parser when the *thread* that started it ends (PR_SET_PDEATHSIG), so
	// the monitor's main has to stay on the main thread. The parser's main, a loop of blocking
	// calls, stays on it too.
	runtime.LockOSThread()
	// Each process is one loop, so it needs one processor. With more, the Go runtime's monitor
	// thread stays awake for 10 ms after each blocking system call, which would be most of all
	// wake-ups. (privsep starts the parser with this setting.)
	runtime.GOMAXPROCS(1)
	// No crash prints a stack.
	debug.SetTraceback("none")
}

// Main runs the program, in either role, with the arguments after its name. It returns the exit
// status.
func Main(args []string, hooks Hooks) (status int) {
	defer func() {
		if r := recover(); r != nil {
			status = cli.PrintError(&cli.Stderr, fmt.Errorf("internal error: %v", r))
		}
	}()
	env := cli.TakeEnvironment()
	o, err := cli.ParseOptions(args, env)
	cli.Stderr.ForJournal(env.Journal || o.Journal)
	if err != nil || o.Help || o.Version {
		// Drop all privileges before printing: the reader of the output can block the process.
		if dropErr := sandbox.Drop(); dropErr != nil {
			return cli.PrintError(&cli.Stderr, cli.Unconfined(dropErr))
		}
	}
	switch {
	case err != nil:
		err = cli.UsageError(err)
	case o.Help:
		_, err = fmt.Print(cli.Usage)
	case o.Version:
		_, err = fmt.Printf("maas-netmon %s\n", cli.BuildVersion())
	case o.Role == cli.RoleParser:
		err = parserproc.Run(o, hooks.Parser)
	case o.Check:
		cli.StartLog(max(o.LogLevel, slog.LevelWarn)) // --check prints the rest itself
		err = monitor.Check(o)
	default:
		cli.StartLog(o.LogLevel)
		err = monitor.Run(o, env, hooks.Monitor)
	}
	return cli.PrintError(&cli.Stderr, err)
}
