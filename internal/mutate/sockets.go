package main

// Tests of packet sockets and of their use by the parser.
const (
	bySocket     = "./capture/packetsock ^Test"
	byRing       = "./capture ^Test(Reader|ReaderIPv6|RingFull|Sources|WhatWakes|ManySockets|NoAllocation)$"
	byPacer      = "./capture ^Test(Pacer|RingSlots)$"
	byLyingStart = "./internal/parserproc ^TestLyingMonitor$"
	byOutput     = "./internal/parserproc ^Test(Flush|WholeLines|FlushNeverBlocks|FlushBroken|FlushNoRoom)$"
	byLimit      = "./internal/parserproc ^Test(LineLimit|LineLimitAfterQuiet|NoLineLimit)$"
	byStall      = "./integration ^(TestReaderOfAFileStalls|TestFileWaitsForRoom)$"
)

// socketGuards are in the order of a frame's path: the filter, the socket, the ring, the pauses,
// and the parser's checks of messages from the monitor.
var socketGuards = []guard{
	{"filter: tag 0x88a8 in the frame", "capture/packetsock/filter.go", "Val: unix.ETH_P_8021AD, SkipTrue: 1},\n\t\tbpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_QINQ1, SkipFalse: 8}", "Val: unix.ETH_P_8021Q, SkipTrue: 1},\n\t\tbpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_QINQ1, SkipFalse: 8}", bySocket},
	{"filter: tag 0x9100 in the frame", "capture/packetsock/filter.go", "Val: unix.ETH_P_QINQ1, SkipFalse: 8}", "Val: unix.ETH_P_8021Q, SkipFalse: 8}", bySocket},
	{"filter: anything behind two tags", "capture/packetsock/filter.go", "Val: unix.ETH_P_ARP, SkipFalse: 1}", "Val: unix.ETH_P_ARP, SkipFalse: 0}", bySocket},
	{"filter: every frame", "capture/packetsock/filter.go", "\t\tbpf.RetConstant{Val: 0}", "\t\tbpf.RetConstant{Val: 1}", bySocket},
	{"filter: a byte less", "capture/packetsock/filter.go", "\t\tbpf.RetConstant{Val: capture.Snaplen}", "\t\tbpf.RetConstant{Val: capture.Snaplen - 1}", bySocket},
	{"filter: IPv6 after one tag, at the place without", "capture/packetsock/filter.go", "Dst: bpf.RegX, Val: capture.VLANTagLen}", "Dst: bpf.RegX, Val: 0}", bySocket},
	{"filter: IPv6 after two tags, at the place after one", "capture/packetsock/filter.go", "Val: 2 * capture.VLANTagLen}", "Val: capture.VLANTagLen}", bySocket},
	{"filter: IPv6 after any tag", "capture/packetsock/filter.go", "Val: unix.ETH_P_QINQ1, SkipFalse: 30}", "Val: unix.ETH_P_QINQ1, SkipFalse: 0}", bySocket},
	{"filter: IPv6 after a tag and any other", "capture/packetsock/filter.go", "Val: unix.ETH_P_QINQ1, SkipFalse: 23}", "Val: unix.ETH_P_QINQ1, SkipFalse: 0}", bySocket},
	{"filter: any protocol after two tags is IPv6", "capture/packetsock/filter.go", "Val: unix.ETH_P_IPV6, SkipFalse: 19}", "Val: unix.ETH_P_IPV6, SkipFalse: 0}", bySocket},
	{"filter: any next header", "capture/packetsock/filter.go", "Val: unix.IPPROTO_DSTOPTS, SkipFalse: 13}", "Val: unix.IPPROTO_DSTOPTS, SkipFalse: 0}", bySocket},
	{"filter: hop-by-hop options hide a packet", "capture/packetsock/filter.go", "\tbpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_HOPOPTS, SkipTrue: 3},", "\tbpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_ROUTING, SkipTrue: 3},", bySocket},
	{"filter: a routing header hides a packet", "capture/packetsock/filter.go", "\tbpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_ROUTING, SkipTrue: 2},", "\tbpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_HOPOPTS, SkipTrue: 2},", bySocket},
	{"filter: a fragment header hides a packet", "capture/packetsock/filter.go", "\tbpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_FRAGMENT, SkipTrue: 1},", "\tbpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_HOPOPTS, SkipTrue: 1},", bySocket},
	{"filter: destination options hide a packet", "capture/packetsock/filter.go", "Val: unix.IPPROTO_DSTOPTS, SkipFalse: 13}", "Val: unix.IPPROTO_HOPOPTS, SkipFalse: 13}", bySocket},
	{"filter: extension headers with any hop limit", "capture/packetsock/filter.go", "Val: hopLimit, SkipFalse: 11}", "Val: hopLimit, SkipFalse: 0}", bySocket},
	{"filter: any header after an extension header", "capture/packetsock/filter.go", "Val: unix.IPPROTO_DSTOPTS, SkipTrue: 3, SkipFalse: 5}", "Val: unix.IPPROTO_DSTOPTS, SkipTrue: 3, SkipFalse: 3}", bySocket},
	{"filter: two extension headers hide a packet", "capture/packetsock/filter.go", "Val: unix.IPPROTO_DSTOPTS, SkipTrue: 3, SkipFalse: 5}", "Val: unix.IPPROTO_DSTOPTS, SkipTrue: 5, SkipFalse: 5}", bySocket},
	{"filter: the type before those of Neighbor Discovery", "capture/packetsock/filter.go", "firstNDType = 133", "firstNDType = 132", bySocket},
	{"filter: the type after those of Neighbor Discovery", "capture/packetsock/filter.go", "lastNDType  = 136", "lastNDType  = 137", bySocket},
	{"filter: only the start of an IPv6 packet", "capture/packetsock/filter.go", "Val: capture.SnaplenIPv6}", "Val: capture.Snaplen}", bySocket},
	{"filter: not locked", "capture/packetsock/packetsock.go", "unix.SO_LOCK_FILTER, 1)", "unix.SO_LOCK_FILTER, 0)", bySocket},
	{"socket: frames before the bind", "capture/packetsock/packetsock.go", "packet.Listen(ifi, packet.Raw, 0,", "packet.Listen(ifi, packet.Raw, unix.ETH_P_ALL,", bySocket},
	{"socket: any interface is Ethernet", "capture/packetsock/packetsock.go", " && !Ethernet(ll.Hatype)", " && false", bySocket},
	{"socket: muted, it goes on", "capture/packetsock/packetsock.go", "unix.ETH_P_802_EX1)", "unix.ETH_P_ALL)", bySocket},
	{"socket: muted is bound", "capture/packetsock/packetsock.go", " || ll.Protocol != htons(unix.ETH_P_ALL)", "", bySocket},
	{"socket: all groups without IPv6", "capture/packetsock/packetsock.go", "err != nil || !s.ipv6 {", "err != nil {", bySocket},
	{"socket: not all groups", "capture/packetsock/packetsock.go", "\treturn s.join(ifindex)\n", "\treturn nil\n", bySocket},
	{"socket: every frame of the network", "capture/packetsock/packetsock.go", "unix.PACKET_MR_ALLMULTI,", "unix.PACKET_MR_PROMISC,", bySocket},
	{"socket: memberships are equal", "capture/packetsock/packetsock.go", "\told := *s\n\ts.identity ^= 1\n", "\told := *s\n", bySocket},
	{"socket: memberships add up", "capture/packetsock/packetsock.go", "\treturn old.leave()\n", "\t_ = old\n\treturn nil\n", bySocket},
	{"socket: muted, all groups are received", "capture/packetsock/packetsock.go", "cmp.Or(s.bind(ifindex, unix.ETH_P_802_EX1), s.leave())", "s.bind(ifindex, unix.ETH_P_802_EX1)", bySocket},
	{"socket: unbound is bound", "capture/packetsock/packetsock.go", "ll.Ifindex < 0 || ", "", bySocket},

	{"ring: slots are kept", "capture/reader.go", "\tatomic.StoreUint32(&g.header().Status, unix.TP_STATUS_KERNEL)\n", "", byRing},
	{"ring: it has no end", "capture/reader.go", "\t\tg.head = 0\n", "\t\tg.head -= g.slotLen\n", byRing},
	{"ring: the stripped tag is lost", "capture/reader.go", "status&unix.TP_STATUS_VLAN_VALID != 0", "false", byRing},
	{"ring: padding is part of the packet", "capture/reader.go", "min(int(h.Snaplen), g.snaplen)", "g.snaplen + 2", byRing},
	{"ring: IPv6 packets are cut", "capture/reader.go", "\t\tsnaplen = SnaplenIPv6\n", "\t\tsnaplen = SnaplenIPv6 - 1\n", byRing},
	{"ring: a pending checksum is unknown", "capture/reader.go", "status&unix.TP_STATUS_CSUMNOTREADY != 0", "false", byRing},
	{"ring: time is lost", "capture/reader.go", "\tf.Seconds = int64(h.Sec)\n", "", byRing},
	{"ring: every frame is of the first socket", "capture/reader.go", "\t\t\tf.Source = r.current\n", "\t\t\tf.Source = 0\n", byRing},
	{"ring: statistics restart", "capture/reader.go", "g.stats.Dropped += uint64(s.Drops)", "g.stats.Dropped = uint64(s.Drops)", byRing},
	{"ring: any number of sockets", "capture/reader.go", "if len(sockets) > MaxSockets {", "if false {", byRing},
	{"ring: control does not wake", "capture/reader.go", "{{Fd: int32(control), Events: unix.POLLIN}, {Fd: int32(output)}}", "{{Fd: int32(control)}, {Fd: int32(output)}}", byRing},
	{"ring: the output always wakes", "capture/reader.go", "\tr.polls[pollOutput].Events = 0\n\tif writable {\n", "\tif true {\n", byRing},
	{"ring: a file is mapped", "capture/reader.go", "if _, err := r.Stats(i); err != nil {", "if _, err := r.Stats(i); false {", byLyingStart},
	{"ring: smaller than a block", "capture/capture.go", "max(slots/perBlock, 1)", "(slots / perBlock)", byPacer},
	{"ring: as large for many", "capture/capture.go", "min(manyRings/n/max(sockets, 1), most)", "most + 0*sockets", byPacer},
	{"ring: with IPv6, as many slots as without", "capture/capture.go", "\t\tmost = maxSlotsIPv6\n", "\t\tmost = maxSlots\n", byPacer},
	{"ring: blocks are not whole pages", "capture/capture.go", "return max(minRing, page)", "return minRing + 0*page", byPacer},
	{"pause: longer than the smallest ring lasts", "capture/pace.go", "min(p.slots*3/8, minFill)", "minFill", byPacer},
	{"pause: it grows at once", "capture/pace.go", "min(2*p.last, fill, maxPause)", "min(fill, maxPause)", byPacer},
	{"pause: without bound", "capture/pace.go", "min(2*p.last, fill, maxPause)", "min(2*p.last, fill)", byPacer},
	{"pause: whatever the rate", "capture/pace.go", "min(2*p.last, fill, maxPause)", "min(2*p.last, max(fill, maxPause))", byPacer},
	{"pause: a little longer than the cheap one", "capture/pace.go", "p.last < 2*cheapPause", "false", byPacer},
	{"pause: the quiet is forgotten", "capture/pace.go", "\t\tp.last = 0\n", "", byPacer},

	{"parser: sockets in any order", "internal/parserproc/run.go", " || int(m.Index) != len(sockets)", "", byLyingStart},
	{"parser: a socket by any message", "internal/parserproc/run.go", "m.Type != privsep.Socket || ", "", byLyingStart},
	{"parser: any message is the start", "internal/parserproc/run.go", "err == nil && m.Type != privsep.Start", "false", byLyingStart},
	{"parser: a ping for any interface", "internal/parserproc/loop.go", "m.Type == privsep.Ping && int(m.Index) < len(p.names):", "m.Type == privsep.Ping && int(m.Index) < len(p.names)+1:", byLyingStart},
	{"parser: the end of the monitor is an error", "internal/parserproc/loop.go", "case errors.Is(err, io.EOF):\n\t\tp.stop()\n\t\treturn nil", "case errors.Is(err, io.EOF):\n\t\treturn err", byLyingStart},
	{"parser: a second line for the end of the monitor", "internal/parserproc/run.go", "if errors.Is(err, io.EOF) || errors.Is(err, unix.EPIPE) {", "if errors.Is(err, unix.EPIPE) {", byLyingStart},
	{"parser: unexpected messages are ignored", "internal/parserproc/loop.go", "return fmt.Errorf(\"%w: unexpected %v\", privsep.ErrMessage, m.Type)", "return nil", byLyingStart},

	{"output: standard output is not asked", "internal/parserproc/output.go", "\t\t\tif !writable {\n", "\t\t\tif false && !writable {\n", byOutput},
	{"output: lines are cut", "internal/parserproc/output.go", "bytes.LastIndexByte(b[:most], '\\n'); i >= 0", "bytes.LastIndexByte(b[:most], '\\n'); false", byOutput},
	{"output: what was written is written again", "internal/parserproc/output.go", "o.buf[written:]...)", "o.buf[0:]...)", byOutput},
	{"output: a full socket is an error", "internal/parserproc/output.go", "case err == unix.EAGAIN:", "case false:", byOutput},
	{"limit: lines are not counted", "internal/parserproc/limit.go", "\t\tl.sum += n\n", "", byLimit},
	{"limit: a line more", "internal/parserproc/limit.go", "l.sum+n <= l.most", "l.sum+n <= l.most+1", byLimit},
	{"limit: less than a second", "internal/parserproc/limit.go", "window  = int(time.Second/slotLen) + 1", "window  = int(time.Second/slotLen) - 1", byLimit},
	{"limit: old lines always count", "internal/parserproc/limit.go", "\t\tl.sum -= *n\n", "", byLimit},
	{"limit: none is none at all", "internal/parserproc/limit.go", "l.most == 0 || ", "", byLimit},
	{"parser: the lines of a file do not wait for room", "internal/parserproc/loop.go", "p.file && !p.stopping && !p.hasRoom()", "false", byStall},
	{"parser: it waits without end for its reader", "internal/parserproc/loop.go", "\t\t\tif left <= 0 {\n", "\t\t\tif false {\n", byStall},
	{"parser: lost lines are no error", "internal/parserproc/loop.go", "\tif p.out.full {\n\t\treturn errStalled\n", "\tif false {\n\t\treturn errStalled\n", byStall},
}
