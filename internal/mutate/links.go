package main

// Tests of changes of interfaces.
const (
	byLinkmon   = "./linkmon ^Test(ChangesWhileMessagesAreLost|Order|LossAfterList|NoList|Table|Answer|Complete|ListAfterUnreadAnswer|Decode|Changes)$"
	byLinkState = "./internal/monitor ^Test(LinkState|ManyFlaps|ConditionOf|MatchedName)$"
	byRebinding = "./integration ^Test(ReplacedWithoutMessages|DeletedWithoutMessages|RenamedAwayAndBack|ChangesWhileCompared|NoList)$"
	byLosses    = "./integration ^TestReplacedWhileMessagesAreLost$"
	byMatch     = "./integration ^Test(Match|MatchNameFirst|MatchAndInterface|MatchPoolExhausted|AlternativeName|WrongNames|ManySIGUSR1)$"
)

// linkGuards are mutants of the rules by which sockets follow interfaces.
var linkGuards = []guard{
	{"link: a lost message is ignored", "linkmon/monitor.go", "\t\t\tm.list, m.lost = nil, true\n\t\t\tcontinue", "\t\t\tcontinue", byLinkmon},
	{"link: the list is asked for while the queue is congested", "linkmon/monitor.go", "\t\t\tm.list, m.lost = nil, true\n\t\t\tcontinue", "\t\t\tall, err := m.lister.List()\n\t\t\treturn all, true, err", byLinkmon},
	{"link: a list is older than a message before it", "linkmon/monitor.go", "\t\t\tm.list.correct(links)\n", "", byLinkmon},
	{"link: a list is newer than a message after it", "linkmon/monitor.go", "m.list, m.lost = &all, !all.Complete\n\t\t\tcontinue", "m.lost = !all.Complete\n\t\t\treturn all, true, nil", byLinkmon},
	{"link: a list that lacks a lost message is returned", "linkmon/monitor.go", "\t\t\tm.list, m.lost = nil, true\n\t\t\tcontinue", "\t\t\tm.lost = true\n\t\t\tcontinue", byLinkmon},
	{"link: a list that fails is asked for without end", "linkmon/monitor.go", "\t\t\t\tm.lost = false\n", "", byLinkmon},
	{"link: the program ends without a list", "internal/monitor/loop.go", "case errors.Is(err, linkmon.ErrList):", "case false && errors.Is(err, linkmon.ErrList):", byRebinding},
	{"link: the watchdog is fed without a list", "internal/monitor/loop.go", "\t\tm.links.agreed = false\n", "", byRebinding},
	{"link: an update that is due waits for a message", "internal/monitor/iface.go", "l != nil && l.Due()", "l != nil && false && l.Due()", byLosses},
	{"link: an interrupted list is complete", "linkmon/lister.go", "a.err == nil && !a.interrupted", "a.err == nil", byLinkmon},
	{"link: an unread answer stays", "linkmon/lister.go", "err := l.drain(); err != nil", "err := error(nil); err != nil", byLinkmon},
	{"link: EBUSY is the end", "linkmon/lister.go", "unix.EBUSY, unix.ENOBUFS", "unix.ENOBUFS", byLinkmon},
	{"link: what is not listed stays", "linkmon/linkmon.go", "if !there[index] {", "if !there[index] && false {", byLinkmon},
	{"link: old alternative names stay", "linkmon/linkmon.go", "append(old.Alt[:len(old.Alt):len(old.Alt)], old.Name)", "[]string{old.Name}", byLinkmon},
	{"link: a wireless event takes the state away", "linkmon/linkmon.go", "\t\t\twhole = false\n", "", byLinkmon},
	{"link: idle rings are not looked at while one is busy", "capture/reader.go", "r.some = d > 0 && now.Add(3*d).Sub(r.looked) <= maxPause", "r.some = d > 0", "./capture ^TestIdleSockets$"},
	{"link: every flap is reported", "internal/monitor/linkstate.go", "s.flaps == 0 || s.exhausted", "s.flaps == 0 || false && s.exhausted", byLinkState},
	{"link: flaps are not counted", "internal/monitor/linkstate.go", "\t\ts.flaps++\n", "\t\ts.flaps = 1\n", byLinkState},
	{"link: any type is Ethernet", "internal/monitor/linkstate.go", "case !packetsock.Ethernet(l.Type):", "case !packetsock.Ethernet(l.Type) && false:", byLinkState},
	{"link: not bound again", "internal/monitor/iface.go", "err = f.socket.Bind(index)", "if f.bound != index {\n\t\t\terr = f.socket.Bind(index)\n\t\t}", byRebinding},
	{"link: bindings are never compared", "internal/monitor/iface.go", "\tm.update(list)\n\tm.tellNames()", "\tm.tellNames()", byRebinding},
	{"link: bindings are compared before messages are read", "internal/monitor/loop.go", "\tu, list, err := m.links.Next()\n", "\tu, list, err := m.links.Next()\n\tif m.links.compare {\n\t\tu, err = m.links.List()\n\t\tlist = true\n\t}\n", byRebinding},
	{"link: the watchdog is not fed after a comparison", "internal/monitor/loop.go", "m.links.agreed = m.checkBindings(u); m.links.agreed {", "m.links.agreed = m.checkBindings(u); false {", byRebinding},
	{"link: rebound is not counted", "internal/monitor/iface.go", "\tf.counters.Rebound++\n", "", byRebinding},
	{"link: a renamed interface is heard on", "internal/monitor/iface.go", "f.socket.Mute(f.bound)", "error(nil)", byRebinding},
	{"link: loopback matches", "internal/monitor/find.go", "l.Type != unix.ARPHRD_ETHER", "l.Type != unix.ARPHRD_ETHER && l.Type != unix.ARPHRD_LOOPBACK", byLinkState},
	{"link: an INTERFACE that matches is watched twice", "internal/monitor/pool.go", "case f.bound == l.Index, f.pooled", "case f.pooled", byMatch},
	{"link: a socket is bound before the parser knows the name", "internal/monitor/iface.go", "f.name == \"\" || f.pooled && f.told != f.name", "f.name == \"\"", byMatch},
	{"link: bindings of an interface that went away stay", "internal/parserproc/loop.go", "\t\tp.table.Forget(index)\n", "", byMatch},
	{"link: SIGUSR1 always logs", "internal/monitor/loop.go", "wait <= 0 {", "true || wait <= 0 {", byMatch},
}
