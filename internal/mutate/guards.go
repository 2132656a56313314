package main

// Tests of the guards.
const (
	byPolicy       = "./sandbox ^(TestExportedFilters|TestModel|TestRules)$"
	byPrivileges   = "./sandbox ^TestPrivileges$"
	byLayers       = "./sandbox ^TestLayers$"
	byInspect      = "./sandbox ^(TestInspect|TestCheckStatus|TestInspectAnother|TestInspectProc)$"
	byConfined     = "./sandbox ^TestConfined$"
	byRound        = "./internal/monitor ^(TestSilence|TestAnswers|TestStoppedTogether|TestUnsent|FuzzConversation)$"
	byFiles        = "./internal/monitor ^(TestSpareFiles|TestMetricsFileFails)$"
	byMessages     = "./privsep ^(Test.*Receive.*|TestDecode.*|TestMessage.*|Fuzz.*)$"
	byThief        = "./privsep ^(TestThief|TestNoWay)$"
	byStart        = "./privsep ^(TestRuntimeVariables|TestOutOfMemory)$"
	bySurroundings = "./integration ^TestImpossibleSurroundings$"
	byInherit      = "./privsep ^(TestInheritByHand|TestLaunch)$"
	byUser         = "./integration ^TestUser$"
	byLyingMonitor = "./internal/parserproc ^TestLyingMonitor$"
	bySnap         = "./integration ^(TestSnap|TestSnapStoppedParser|TestDieWithParent)$"
	byBounding     = "./integration ^TestBoundingSetBeforeThreads$"
	byStatus       = "./integration ^(TestConfinedAsStarted|TestStartedAsRoot|TestFileCapability)$"
)

// guards are the protective acts of the sandbox, of privsep, and of both processes: each
// restriction, flag, limit and comparison.
var guards = []guard{
	// The start and the end of the parser.
	{"parser executed from a readable file", "privsep/start.go", "if !readable(self) {\n\t\treturn", "if true {\n\t\treturn", byThief},
	{"copy in memory is readable", "privsep/start.go", "unix.Fchmod(fd, 0o111)", "unix.Fchmod(fd, 0o555)", byThief},
	{"parser started with the real group", "privsep/start.go", "Gid: uint32(gid), NoSetGroups", "Gid: uint32(gid*0 + os.Getgid()), NoSetGroups", byThief},
	{"monitor keeps the saved group", "privsep/privsep.go", "syscall.Setresgid(gid, gid, gid)", "syscall.Setresgid(gid, gid, -1)", byThief},
	{"parser keeps the other group", "privsep/preinit.c", "\tleave_group();\n\tneed_proc();", "\tneed_proc();", byThief},
	{"stopped parser is not killed where pidfd_send_signal is refused", "privsep/start.go", "c.byPID = err == unix.EPERM ||", "c.byPID = err == unix.ENXIO ||", bySnap},
	{"program outlives its starter", "privsep/privsep.go", "unix.PR_SET_PDEATHSIG, uintptr(unix.SIGTERM)", "unix.PR_SET_PDEATHSIG, uintptr(0)", bySnap},
	{"settings of the Go runtime", "privsep/preinit.c", "\tset_runtime(envp);\n", "\t(void)envp, (void)set_runtime;\n", "./integration ^TestStartedAnyhow$/^settings"},
	{"GODEBUG", "privsep/preinit.c", `{"GODEBUG=", ""}, `, "", byStart},
	{"GOGC", "privsep/preinit.c", `{"GOGC=", ""}, `, "", byStart},
	{"GOMEMLIMIT", "privsep/preinit.c", `{"GOMEMLIMIT=", ""}, `, "", byStart},
	{"GOMAXPROCS", "privsep/preinit.c", `{"GOMAXPROCS=", "GOMAXPROCS=1"}, `, "", byStart},
	{"GOTRACEBACK", "privsep/preinit.c", `, {"GOTRACEBACK=", "GOTRACEBACK=none"}`, "", byStart},
	{"dump of the Go runtime without memory", "privsep/preinit.c", "if (p == MAP_FAILED)", "if (0)", byStart},
	{"dump of the Go runtime without threads", "privsep/preinit.c", "else if (err != EAGAIN || ++failures >= 20)", "else if (0)", "./integration ^TestFewThreads"},
	{"stacks of the caller's size", "privsep/preinit.c", "\t\tpthread_setattr_default_np(&attr);\n", "", "./integration ^TestStartedAnyhow$/^large_stacks$"},
	{"small stacks", "privsep/preinit.c", "\t\tsetrlimit(RLIMIT_STACK, &limit);\n", "\t\t(void)limit;\n", "./integration ^TestStartedAnyhow$/^small_stacks$"},
	{"too little stack", "privsep/preinit.c", "need(RLIMIT_STACK, STACK,", "need(RLIMIT_STACK, 0,", bySurroundings},
	{"too little address space", "privsep/preinit.c", "need(RLIMIT_AS, 2048 * MIB,", "need(RLIMIT_AS, 0,", bySurroundings},
	{"too little data", "privsep/preinit.c", "need(RLIMIT_DATA, 256 * MIB,", "need(RLIMIT_DATA, 0,", bySurroundings},
	{"too few processes", "privsep/preinit.c", "need(RLIMIT_NPROC, 32,", "need(RLIMIT_NPROC, 0,", bySurroundings},
	{"no /proc", "privsep/preinit.c", "\tneed_proc();\n\tneed(", "\t(void)need_proc;\n\tneed(", bySurroundings},
	{"/proc of another namespace", "privsep/preinit.c", " || atol(self) != getpid()", "", bySurroundings},
	{"too few pending signals", "internal/monitor/monitor.go", "{unix.RLIMIT_SIGPENDING, 64,", "{unix.RLIMIT_SIGPENDING, 0,", bySurroundings},
	{"too few descriptors", "internal/monitor/monitor.go", "const own = 20 //", "const own = 3 //", "./integration ^TestFewDescriptors$"},
	{"environment of the caller", "internal/cli/environment.go", "\tos.Clearenv()\n", "", "./integration ^TestStartedAnyhow$/^a_time_zone"},
	{"standard output as the controlling terminal", "privsep/reopen.go", "unix.O_WRONLY|", "unix.O_RDWR|", "./integration ^TestTerminalIsNotTaken$"},
	{"input open in the monitor", "internal/monitor/start.go", "return m.input.close()", "return nil", "./integration ^TestNamedPipe$"},
	{"wait for the writer of a pipe", "internal/monitor/input.go", "|unix.O_NOCTTY|unix.O_NONBLOCK, 0)", "|unix.O_NOCTTY, 0)", "./integration ^TestNamedPipe$"},
	{"parser with a capability", "internal/parserproc/run.go", "if capErr != nil {\n\t\treturn", "if false {\n\t\treturn", "./internal/parserproc ^TestCapableParser$"},
	{"user 0 without Landlock", "internal/monitor/user.go", "!userZero || landlock > 0", "true", "./internal/monitor ^TestUserZeroNeedsLandlock$"},
	{"kill of any process", "sandbox/rules.go", "eq(0, g.KillPID), ", "", byPolicy},
	{"kill by any signal", "sandbox/rules.go", ", eq(1, int(unix.SIGKILL))", "", byPolicy},

	{"socket of another kind", "privsep/conn.go", "err != nil || kind != unix.SOCK_SEQPACKET", "err != nil || kind == -1", byInherit},
	{"socket of another process", "privsep/conn.go", "err != nil || int(peer.Pid) != os.Getppid()", "err != nil || peer.Pid == int32(os.Getpid())", byInherit},
	{"an early parser outlives the monitor", "privsep/start.go", ", Pdeathsig: syscall.SIGKILL", "", "./privsep ^TestChildDiesWithParent$"},
	{"environment of the parser", "privsep/start.go", `[]string{"GOTRACEBACK=none", "GOMAXPROCS=1"}`, "os.Environ()", byInherit},
	{"the monitor's end in the parser", "privsep/conn.go", "unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|", "unix.SOCK_SEQPACKET|", byInherit},
	{"a parser that does not read stops the monitor", "privsep/conn.go", "unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK", "unix.SOCK_CLOEXEC", "./privsep ^TestSendDoesNotBlock$"},
	{"fs.suid_dumpable", "privsep/start.go", `case string(value) == "1\n":`, `case string(value) == "3\n":`, "./integration ^TestSuidDumpable$"},
	{"root by another name", "internal/monitor/user.go", "case a.uid == 0:", "case a.uid == -1:", byUser},
	{"root's group", "internal/monitor/user.go", "case a.gid == 0:", "case a.gid == -1:", byUser},
	{"root by a number that is cut", "internal/monitor/user.go", "strconv.ParseUint(u.Uid, 10, 32)", "strconv.ParseUint(u.Uid, 10, 64)", byUser},
	{"root's group by a number that is cut", "internal/monitor/user.go", "strconv.ParseUint(u.Gid, 10, 32)", "strconv.ParseUint(u.Gid, 10, 64)", byUser},
	{"standard output that is closed", "internal/monitor/privileged.go", "err := cli.CheckStdout()", "err := error(nil)", "./integration ^TestStandardOutput$"},

	// The handshake.
	{"a monitor that waits without end", "internal/monitor/start.go", "time.NewTimer(control.HandshakeTimeout)", "time.NewTimer(1000 * control.HandshakeTimeout)", "./integration ^TestLyingParser$/^silent$"},
	{"another message than is due", "internal/monitor/start.go", "r.err == nil && r.Type != want", "false", "./integration ^TestLyingParser$/^(ready-first|pong-first|hello-twice)$"},
	{"a parser that waits without end", "internal/parserproc/run.go", "conn.ReceiveFD(control.HandshakeTimeout)", "conn.ReceiveFD(-1)", byLyingMonitor + "/^silence$"},
	{"a parser that waits without end for the start", "internal/parserproc/run.go", "conn.Receive(control.HandshakeTimeout)", "conn.Receive(-1)", byLyingMonitor + "/^silence_instead_of_start$"},
	{"any message with a descriptor", "internal/parserproc/run.go", "m.Type != privsep.Socket ||", "", byLyingMonitor + "/^start_with_a_descriptor$"},
	{"sockets in any order", "internal/parserproc/run.go", " || int(m.Index) != len(sockets)", "", byLyingMonitor + "/^another_index$"},
	{"any message for a start", "internal/parserproc/run.go", "err == nil && m.Type != privsep.Start", "false", byLyingMonitor + "/^a_ping_for_a_start$"},
	{"a question about no interface", "internal/parserproc/loop.go", "m.Type == privsep.Ping && int(m.Index) < len(p.names)", "m.Type == privsep.Ping", byLyingMonitor + "/^ping_for_an_interface_that_is_not_there$"},
	{"a name of no interface", "internal/parserproc/loop.go", "m.Type == privsep.Name && int(m.Index) < len(p.names)", "m.Type == privsep.Name", byLyingMonitor + "/^name_for_an_interface_that_is_not_there$"},
	{"a signal to the group cuts the last lines off", "internal/parserproc/run.go", "unix.SIGINT, unix.SIGTERM, unix.SIGHUP", "unix.SIGHUP", "./integration ^TestSignals$"},
	{"memory of the parser", "internal/parserproc/run.go", "256<<20 + perBinding*", "2<<30 + perBinding*", "./integration ^TestCheck$"},
	{"memory of the parser with IPv6", "internal/parserproc/run.go", "perBinding += 64", "perBinding += 0", "./internal/parserproc ^TestMemoryLimits$"},
	{"a parser that is stopped keeps the program", "internal/monitor/loop.go", "m.deadline = time.After(stopLimit)", "m.deadline = time.After(time.Hour)", bySnap},
	{"a parser that goes on after the end of its input", "internal/monitor/loop.go", "m.deadline = time.After(control.HandshakeTimeout)", "m.deadline = time.After(time.Hour)", "./integration ^TestLyingParser$/^end-and-stay$"},
	{"a parser that closes its socket and goes on", "internal/monitor/end.go", "time.AfterFunc(stopLimit, m.child.Kill)", "time.AfterFunc(time.Hour, m.child.Kill)", "./integration ^TestLyingParser$/^(close|shutdown)$"},

	// The allowed calls and their arguments.
	{"mmap executable", "sandbox/rules.go", "bitsClear(2, unix.PROT_EXEC), bitsWithin(3, anonymous), eq(4, -1)", "bitsWithin(3, anonymous), eq(4, -1)", byPolicy},
	{"mmap executable, 32 bits of descriptor", "sandbox/rules.go", "bitsClear(2, unix.PROT_EXEC), bitsWithin(3, anonymous), eq(4, 0xffffffff)", "bitsWithin(3, anonymous), eq(4, 0xffffffff)", byPolicy},
	{"mmap with any flags", "sandbox/rules.go", "bitsWithin(3, anonymous), eq(4, -1)", "eq(4, -1)", byPolicy},
	{"mmap of any descriptor", "sandbox/rules.go", "bitsWithin(3, anonymous), eq(4, -1)", "bitsWithin(3, anonymous)", byPolicy},
	{"mmap stacks that grow", "sandbox/rules.go", "unix.MAP_NORESERVE | unix.MAP_STACK", "unix.MAP_NORESERVE | unix.MAP_GROWSDOWN | unix.MAP_STACK", byPolicy},
	{"mprotect executable", "sandbox/rules.go", `"runtime, glibc: never executable", bitsClear(2, unix.PROT_EXEC))`, `"runtime, glibc: never executable")`, byPolicy},
	{"tgkill of any process", "sandbox/rules.go", `"runtime: preempts its own threads with SIGURG", eq(0, os.Getpid()))`, `"runtime: preempts its own threads with SIGURG", bitsWithin(0, ^uint64(0*os.Getpid())))`, byPolicy},
	{"clone of processes", "sandbox/rules.go", `"glibc: a thread, nothing else", eq(0, threadFlags))`, `"glibc: a thread, nothing else")`, byPolicy},
	{"clone with one flag less", "sandbox/rules.go", "unix.CLONE_THREAD | unix.CLONE_SYSVSEM", "unix.CLONE_SYSVSEM", byPolicy},
	{"prctl with any operation", "sandbox/rules.go", "eq(0, unix.PR_SET_VMA), eq(1, unix.PR_SET_VMA_ANON_NAME)", "eq(1, unix.PR_SET_VMA_ANON_NAME)", byPolicy},
	{"prctl PR_SET_VMA with any operation", "sandbox/rules.go", "eq(0, unix.PR_SET_VMA), eq(1, unix.PR_SET_VMA_ANON_NAME)", "eq(0, unix.PR_SET_VMA)", byPolicy},
	{"futex with priority inheritance", "sandbox/rules.go", "futexRequeue       = 3", "futexRequeue       = 6", byPolicy},
	{"madvise with another advice", "sandbox/rules.go", "madvGuardRemove  = 103", "madvGuardRemove  = 10", byPolicy},
	{"getsockopt with any option of SOL_PACKET", "sandbox/rules.go", "eq(1, unix.SOL_PACKET), eq(2, unix.PACKET_STATISTICS)", "eq(1, unix.SOL_PACKET)", byPolicy},
	{"getsockopt PACKET_STATISTICS at any level", "sandbox/rules.go", "eq(1, unix.SOL_PACKET), eq(2, unix.PACKET_STATISTICS)", "eq(2, unix.PACKET_STATISTICS)", byPolicy},
	{"the ring at any offset", "sandbox/rules.go", "eq(2, unix.PROT_READ|unix.PROT_WRITE), eq(3, unix.MAP_SHARED), eq(5, 0)", "eq(2, unix.PROT_READ|unix.PROT_WRITE), eq(3, unix.MAP_SHARED)", byPolicy},
	{"the ring with any protection", "sandbox/rules.go", "eq(2, unix.PROT_READ|unix.PROT_WRITE), eq(3, unix.MAP_SHARED), eq(5, 0)", "eq(3, unix.MAP_SHARED), eq(5, 0)", byPolicy},
	{"the ring with any flags", "sandbox/rules.go", "eq(2, unix.PROT_READ|unix.PROT_WRITE), eq(3, unix.MAP_SHARED), eq(5, 0)", "eq(2, unix.PROT_READ|unix.PROT_WRITE), eq(5, 0)", byPolicy},
	{"seccomp with any operation", "sandbox/rules.go", `tsync, eq(0, unix.SECCOMP_SET_MODE_FILTER))`, `tsync)`, byPolicy},
	{"seccomp with a listener", "sandbox/rules.go", "tsync := []int{unix.SECCOMP_FILTER_FLAG_TSYNC,", "tsync := []int{unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, unix.SECCOMP_FILTER_FLAG_TSYNC,", byPolicy},
	{"renameat2 with any flags", "sandbox/rules.go", ", eq(4, unix.RENAME_EXCHANGE)", "", byPolicy},
	{"renameat2 out of the directory", "sandbox/rules.go", "eq(0, g.Directory), eq(2, g.Directory),", "eq(0, g.Directory),", byPolicy},
	{"renameat2 into the directory", "sandbox/rules.go", "eq(0, g.Directory), eq(2, g.Directory),", "eq(2, g.Directory),", byPolicy},
	{"unlinkat with any flags", "sandbox/rules.go", "eq(0, g.Directory), eq(2, 0))", "eq(0, g.Directory))", byPolicy},
	{"unlinkat anywhere", "sandbox/rules.go", "eq(0, g.Directory), eq(2, 0))", "eq(2, 0))", byPolicy},
	{"signals to any process", "sandbox/rules.go", `"ends the parser", eq(0, g.Child))`, `"ends the parser")`, byPolicy},
	{"descriptors with high bits", "sandbox/rules.go", "func eq(i uint, value int) arg              { return arg{i, allBits, uint64(value)} }", "func eq(i uint, value int) arg              { return arg{i, 0xffffffff, uint64(uint32(value))} }", byPolicy},
	{"memberships without --ipv6", "sandbox/rules.go", "if g.Memberships {", "if true {", "./sandbox ^TestRules$"},
	{"any option of a packet socket", "sandbox/rules.go", "eq(1, unix.SOL_PACKET), eq(2, option))...)", "eq(1, unix.SOL_PACKET), bitsClear(2, option&0))...)", byPolicy},
	{"memberships at any level", "sandbox/rules.go", "eq(1, unix.SOL_PACKET), eq(2, option))...)", "eq(2, option))...)", byPolicy},
	{"one descriptor more", "sandbox/rules.go", "\tvar rules []rule\n\tfor s.first < s.end {", "\tvar rules []rule\n\ts.end++\n\tfor s.first < s.end {", "./sandbox ^TestAllowWithin$"},
	{"blocks of descriptors with high bits", "sandbox/rules.go", "{i, -size, s.first}", "{i, -size & 0xffffffff, s.first}", "./sandbox ^TestAllowWithin$"},
	{"a rule for each descriptor", "sandbox/rules.go", "size := uint64(1) << bits.Len64(s.end-s.first) >> 1", "size := min(1, uint64(bits.Len64(s.end)))", "./sandbox ^TestFilterSizes$"},

	// The result of a violation.
	{"violations kill a thread", "sandbox/violation.go", "seccomp.ActKillProcess", "seccomp.ActKillThread", "./sandbox ^(TestCompile|TestExportedFilters)$"},
	{"foreign architectures", "sandbox/seccomp.go", "f.SetBadArchAction(seccomp.ActKillProcess)", "f.SetBadArchAction(seccomp.ActAllow)", "./sandbox ^(TestCompile|TestExportedFilters)$"},
	{"clone3", "sandbox/seccomp.go", "seccomp.ActErrno.SetReturnCode(int16(unix.ENOSYS))", "seccomp.ActErrno.SetReturnCode(int16(unix.EPERM))", byPolicy},
	{"faults are handled by Go", "sandbox/sandbox.go", "\tdieOfFaults()\n", "", byConfined},

	// The parser's layers.
	{"Tighten", "sandbox/sandbox.go", "return load(c.reader) }", "return nil }", "./sandbox ^TestFiltersInTheKernel$"},
	{"dumpable parser", "sandbox/sandbox.go", "\tif err := SetUndumpable(); err != nil {\n\t\treturn nil, err\n\t}\n", "", byInspect},
	{"core dumps", "sandbox/sandbox.go", `limit("RLIMIT_CORE", unix.RLIMIT_CORE, 0)`, `limit("RLIMIT_CORE", unix.RLIMIT_CORE, 1)`, byInspect},
	{"locked memory", "sandbox/sandbox.go", `limit("RLIMIT_MEMLOCK", unix.RLIMIT_MEMLOCK, 0)`, `limit("RLIMIT_MEMLOCK", unix.RLIMIT_MEMLOCK, 1)`, byInspect},
	{"ten descriptors more", "sandbox/sandbox.go", "uint64(len(descriptors)+len(passed))", "uint64(len(descriptors)+len(passed)+10)", "./sandbox ^(TestLayers|TestManySockets)$"},
	{"address space", "sandbox/sandbox.go", `limit("RLIMIT_AS", unix.RLIMIT_AS, size*page+growth)`, `limit("RLIMIT_AS", unix.RLIMIT_AS, 1<<60)`, byLayers},
	{"data", "sandbox/sandbox.go", `limit("RLIMIT_DATA", unix.RLIMIT_DATA, data*page+growth)`, `limit("RLIMIT_DATA", unix.RLIMIT_DATA, 1<<60)`, byLayers},
	{"soft limits only", "sandbox/sandbox.go", "&unix.Rlimit{Cur: value, Max: value}", "&unix.Rlimit{Cur: value, Max: now.Max}", byLayers},
	{"the parser keeps its capabilities", "sandbox/sandbox.go", "\tif err := Drop(); err != nil {\n\t\treturn nil, err\n\t}\n\tdescriptors", "\tdescriptors", byLayers},
	{"the parser without Landlock", "sandbox/sandbox.go", "restrict(&c.Layers, landlock.V11, nil)", "restrict(&c.Layers, landlock.Config{}, nil)", byLayers},
	{"psx's directory is not kept", "sandbox/sandbox.go", "defer unix.Close(tasks)", "_ = unix.Close(tasks)", "./integration ^TestStartWhileMemoryIsFreed$"},
	{"memory becomes executable", "sandbox/sandbox.go", "unix.Prctl(unix.PR_SET_MDWE, unix.PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0)", "error(nil)", byLayers},

	// The monitor's layers.
	{"the monitor without Landlock", "sandbox/sandbox.go", "err = restrict(&layers, config, rules)", "_, _, err = config, rules, error(nil)", "./sandbox ^TestMonitorLayers$"},
	{"the monitor may change names anywhere", "sandbox/sandbox.go", `fmt.Sprintf("/proc/self/fd/%d", g.Directory)`, `"/"`, "./sandbox ^TestMonitorLayers$"},
	{"the monitor's filter", "sandbox/sandbox.go", "return layers, load(rules)", "_ = rules\n\treturn layers, nil", "./sandbox ^TestFiltersInTheKernel$"},

	// Privileges.
	{"capabilities stay permitted", "sandbox/sandbox.go", "\tif err := cap.NewSet().SetProc(); err != nil {\n\t\treturn fmt.Errorf(\"drop capabilities: %w\", err)\n\t}\n", "", byStatus},
	{"no_new_privs", "sandbox/sandbox.go", "cap.Prctlw(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)", "0, error(nil)", byPrivileges},
	{"no_new_privs of the monitor", "sandbox/sandbox.go", "cap.Prctlw(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)", "0, error(nil)", "./integration ^TestFileCapability$"},
	{"bounding set and securebits", "sandbox/sandbox.go", "\tif setpcap {\n", "\tif setpcap && os.Getpid() == 0 {\n", byPrivileges},
	{"an empty bounding set: securebits", "sandbox/sandbox.go", "mode = cap.ModePure1EInit", "mode = cap.ModeHybrid", byPrivileges},
	{"a bounding set that is not empty", "sandbox/sandbox.go", "\t\tcase in:\n\t\t\treturn false", "\t\tcase in:\n\t\t\treturn true", byPrivileges},
	{"the bounding set is emptied late", "internal/app/bounding.c", "prctl(PR_CAPBSET_DROP, c, 0, 0, 0) == 0", "0", byBounding},
	{"the bounding set is emptied without the capability", "internal/app/bounding.c", " || (sets[0].effective & 1U << CAP_NET_RAW) == 0", "", byBounding},
	{"the effective set is not emptied", "sandbox/sandbox.go", "set.ClearFlag(cap.Effective)", "error(nil)", byPrivileges},
	{"the capability stays raised", "sandbox/sandbox.go", "errors.Join(f(), ClearEffective())", "f()", byPrivileges},

	// The comparisons of Inspect.
	{"a file system that is not proc", "sandbox/inspect.go", "mounted.Type != unix.PROC_SUPER_MAGIC", "false", byInspect},
	{"another process", "sandbox/inspect.go", "\t\t{\"Tgid\", strconv.Itoa(pid)},\n", "", byInspect},
	{"another thread", "sandbox/inspect.go", "\t\t{\"Pid\", tid},\n", "", byInspect},
	{"a process that is not ours", "sandbox/inspect.go", "\t\t{\"PPid\", self.fields[\"Tgid\"]},\n", "", byInspect},
	{"a traced process", "sandbox/inspect.go", "\t\t{\"TracerPid\", \"0\"},\n", "", byInspect},
	{"another user", "sandbox/inspect.go", "\t\t{\"Uid\", self.fields[\"Uid\"]}, // real, effective, saved, file system\n", "", byInspect},
	{"another group", "sandbox/inspect.go", "\t\t{\"Gid\", self.fields[\"Gid\"]},\n", "", byInspect},
	{"other groups", "sandbox/inspect.go", "\t\t{\"Groups\", self.fields[\"Groups\"]},\n", "", byInspect},
	{"inheritable capabilities", "sandbox/inspect.go", "\t\t{\"CapInh\", none},\n", "", byInspect},
	{"permitted capabilities", "sandbox/inspect.go", "\t\t{\"CapPrm\", none},\n", "", byInspect},
	{"effective capabilities", "sandbox/inspect.go", "\t\t{\"CapEff\", none},\n", "", byInspect},
	{"ambient capabilities", "sandbox/inspect.go", "\t\t{\"CapAmb\", none},\n", "", byInspect},
	{"Inspect: no_new_privs", "sandbox/inspect.go", "\t\t{\"NoNewPrivs\", \"1\"},\n", "", byInspect},
	{"Inspect: seccomp", "sandbox/inspect.go", "\t\t{\"Seccomp\", \"2\"}, // SECCOMP_MODE_FILTER\n", "", byInspect},
	{"Inspect: bounding set", "sandbox/inspect.go", "\t\t{\"CapBnd\", self.fields[\"CapBnd\"]},\n", "", byInspect},
	{"an inherited filter", "sandbox/inspect.go", "strconv.Itoa(n + 1)", "strconv.Itoa(n)", byInspect},
	{"a main thread that has ended", "sandbox/inspect.go", `strings.ContainsAny(state[:1], "ZX")`, "false", byInspect},
	{"a field that is missing", "sandbox/inspect.go", "!ok || got != f.want", "ok && got != f.want", byInspect},
	{"the main thread alone", "sandbox/inspect.go", "for _, tid := range threads {", "for _, tid := range threads[:1] {", byInspect},
	{"dumpable by the pidfd", "sandbox/inspect.go", "dumpable, known := mask&pidfdCoredumpUser != 0, mask != 0", "dumpable, known := false, mask != 0", byInspect},
	{"dumpable by the owner", "sandbox/inspect.go", "if s.uid != euid || s.gid != egid {", "if true {", "./sandbox ^TestDumpableByOwner$"},
	{"Inspect: core dumps", "sandbox/inspect.go", "\t\t{\"RLIMIT_CORE\", unix.RLIMIT_CORE, 0},\n", "", byInspect},
	{"Inspect: locked memory", "sandbox/inspect.go", "\t\t{\"RLIMIT_MEMLOCK\", unix.RLIMIT_MEMLOCK, 0},\n", "", byInspect},
	{"Inspect: data", "sandbox/inspect.go", "\t\t{\"RLIMIT_DATA\", unix.RLIMIT_DATA, unix.RLIM_INFINITY - 1},\n", "", byInspect},
	{"Inspect: address space", "sandbox/inspect.go", "unix.RLIMIT_AS, unix.RLIM_INFINITY - 1", "unix.RLIMIT_AS, unix.RLIM_INFINITY", byInspect},

	// The conversation.
	{"silence is not counted", "internal/monitor/round.go", "if r.silent += r.wait(heartbeat); r.silent >= silenceLimit {", "if false {", byRound},
	{"silence of 40,000 s", "internal/monitor/round.go", "silenceLimit = 2 * heartbeat", "silenceLimit = 2000 * heartbeat", byRound},
	{"any answer resets the clock", "internal/monitor/round.go", "\tif r.next++; r.next < interfaces {\n", "\tr.silent = 0\n\tif r.next++; r.next < interfaces {\n", byRound},
	{"an answer to another question", "internal/monitor/round.go", "return r.open && !r.unsent && r.next == index", "return r.open && !r.unsent", byRound},
	{"an answer without a question", "internal/monitor/round.go", "return r.open && !r.unsent && r.next == index", "return !r.unsent && r.next == index", byRound},
	{"an answer to what was not sent", "internal/monitor/round.go", "return r.open && !r.unsent && r.next == index", "return r.open && r.next == index", byRound},
	{"a question that was not sent is lost", "internal/monitor/round.go", "r.begin() || r.unsent", "r.begin()", byRound},
	{"two questions at once", "internal/monitor/round.go", "\tif r.open {\n\t\treturn false\n\t}\n", "", byRound},
	{"a full socket counts as an answer", "internal/monitor/counters.go", "m.round.unsent = errors.Is(err, unix.EAGAIN)", "m.round.open = !errors.Is(err, unix.EAGAIN)", byRound},

	// The metrics file.
	{"spare files of the dead stay", "internal/monitor/metrics.go", "\tf.removeDead()\n", "", byFiles},
	{"spare files of the living are removed", "internal/monitor/metrics.go", "if unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) == nil {", "if true {", byFiles},
	{"files are not locked", "internal/monitor/metrics.go", "\t\t_ = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)\n\t\t//", "\t\t//", byFiles},
	{"any file with a dot is removed", "internal/monitor/metrics.go", ` || strings.Trim(numbers, "0123456789.") != ""`, "", byFiles},
	{"a file of the same name is taken", "internal/monitor/metrics.go", "unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL |", "unix.O_WRONLY | unix.O_CREAT |", byFiles},
	{"a pipe is taken for a spare file", "internal/monitor/metrics.go", "unix.O_NOFOLLOW|unix.O_NONBLOCK|", "unix.O_NOFOLLOW|", byFiles},
	{"a symbolic link is taken for a spare file", "internal/monitor/metrics.go", "unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK", "unix.O_RDONLY|unix.O_NONBLOCK", byFiles},

	// The monitor from start to end.
	{"dumpable while it has the capability", "internal/monitor/privileged.go", "\tif err := sandbox.SetUndumpable(); err != nil {\n\t\treturn p, cli.Unconfined(err)\n\t}\n\tif err := sandbox.ClearEffective()", "\tif err := sandbox.ClearEffective()", "./integration ^TestSameUserCannotTakeTheSocketAtStart$"},
	{"dumpable monitor", "sandbox/sandbox.go", "\tif err := SetUndumpable(); err != nil {\n\t\treturn layers, nil, err\n\t}\n", "", "./sandbox ^TestMonitorLayers$"},
	{"all capabilities for one call", "internal/monitor/privileged.go", "\tif err := sandbox.ClearEffective(); err != nil {\n\t\treturn p, cli.Unconfined(err)\n\t}\n", "", "./integration ^TestOneCapabilityForOneCall$"},
	{"the privileges stay", "internal/monitor/privileged.go", "dropErr := sandbox.Drop()", "dropErr := error(nil)", byStatus},
	{"stray descriptors stay", "internal/monitor/privileged.go", "err := privsep.CloseStray(cli.InputFD(o.Input))", "err := error(nil)", "./integration ^TestDescriptors$"},
	{"the parser's word is enough", "internal/monitor/start.go", "m.confinement.inspection, err = sandbox.Inspect(m.child.Pid())", "m.confinement.inspection, err = sandbox.Inspection{}, nil", "./integration ^TestLyingParser$/^(unconfined|hidden|dumpable)$"},
	{"the parser outlives the monitor", "privsep/start.go", "unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)", "error(nil)", "./privsep ^TestChildDiesWithParent$"},
	{"the parser is not killed in the end", "internal/monitor/end.go", "\t\tm.child.Kill()\n\t}\n", "\t}\n", "./internal/monitor ^TestParserIsKilled$"},
	{"any message at any time", "internal/monitor/loop.go", "return unexpected(r.Message)\n}\n\n// follow", "return nil\n}\n\n// follow", byRound},
	{"an input ends twice", "internal/monitor/loop.go", "m.input != nil && !m.inputEnded:", "m.input != nil:", byRound},
	{"interfaces end", "internal/monitor/loop.go", "r.Type == privsep.End && m.input != nil &&", "r.Type == privsep.End &&", byRound},

	// Messages.
	{"messages of another length", "privsep/message.go", "if len(b) != MessageLen {", "if len(b) < MessageLen {", byMessages},
	{"messages of another version", "privsep/message.go", "if b[0] != version {", "if false {", byMessages},
	{"messages of no type", "privsep/message.go", "t == 0 || t >= endType", "t >= endType", byMessages},
	{"messages of unknown types", "privsep/message.go", "t == 0 || t >= endType", "t == 0", byMessages},
	{"reserved bytes", "privsep/message.go", "[4]byte(b[4:8]) != [4]byte{}", "false", byMessages},
	{"a message without a descriptor", "privsep/conn.go", "err != nil || len(fds) != 1", "len(fds) > 1", byMessages},
	{"an empty message is the end", "privsep/conn.go", "len(b) == 0 && c.ended()", "len(b) == 0", byMessages},
	{"descriptors of the parser", "privsep/conn.go", "err == nil && flags&unix.MSG_CTRUNC != 0", "err == nil && flags < 0", byMessages},
}

// Not in the list, because no test can detect them:
//
//   - The second SetUndumpable in internal/monitor/privileged.go has an effect only where
//     fs.suid_dumpable is 1, with which the program refuses to start a moment later.
//   - CheckNoRoot in internal/monitor/privileged.go fails only if Become or Drop has a defect.
//   - The parser inherits no_new_privs, sets it with Drop as the monitor does, and go-landlock sets
//     it again. Each is enough.
//   - O_NOCTTY in internal/monitor/input.go: a terminal is refused, and the process ends.
//   - privsep.Child.Kill calls no kill(2) after wait4(2): that matters only if the number comes
//     again.
//   - The look at the link count in internal/monitor/metrics.go is for a process that removes the
//     file between two system calls of this one.
//   - privsep.EndWithParent looks for a parent that ends between two system calls of its child.
//   - The second look at the peer in privsep.DieWithParent is for a monitor that dies between two
//     system calls of the parser.
//   - CLOSE_RANGE_CLOEXEC in privsep.CloseStray matters only if a descriptor cannot be closed,
//     which is an error, too.
