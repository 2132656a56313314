// Package app is the program: it reads the command line and the environment and runs one of the two
// processes, the monitor or the parser. The tests' programs in internal/testbin are the same
// program with [Hooks].
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

// Hooks are where programs for tests do what the shipped one does not. The zero value does nothing.
type Hooks struct {
	Monitor monitor.Hooks
	// Parser is called in the parser at the end of each stage of its start.
	Parser parserproc.Hook
}

func init() {
	// The parser is told of the death of the *thread* that started it, and is read by a loop that
	// blocks: both need main to stay on the main thread.
	runtime.LockOSThread()
	// Each process is one loop. Where others could run at the same time, the Go runtime's monitor
	// thread stays awake for 10 ms after each system call that blocks, in case that they want to:
	// most of all wake-ups. (The parser is started with this setting, see privsep.)
	runtime.GOMAXPROCS(1)
	// Whatever happens, no user is shown a stack.
	debug.SetTraceback("none")
}

// Main runs the program, in either role, with the arguments behind its name. It returns the exit
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
		// Whoever reads what is printed can hold the process up.
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
		cli.StartLog(max(o.LogLevel, slog.LevelWarn)) // it has its own way to say the rest
		err = monitor.Check(o)
	default:
		cli.StartLog(o.LogLevel)
		err = monitor.Run(o, env, hooks.Monitor)
	}
	return cli.PrintError(&cli.Stderr, err)
}
