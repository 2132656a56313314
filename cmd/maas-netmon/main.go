//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Maas-netmon watches the ARP traffic of network interfaces and prints a JSON line when a binding
// of an IPv4 address to a MAC is new, has moved, or is seen again. With --ipv6 it also watches
// Neighbor Discovery.
//
// It consists of two processes. The monitor (internal/monitor) opens the packet sockets with
// CAP_NET_RAW, gives up every privilege, starts the parser, and checks that it is confined before
// it passes the sockets to it. The parser (internal/parserproc) never had a privilege and is the
// only process that reads frames. Package internal/app chooses between the two.
//
// The two settings at the top keep the Go runtime from reading cgroup files at run time, which a
// confined process cannot do.
package main

import (
	"os"

	"maas-netmon/internal/app"
)

func main() { os.Exit(app.Main(os.Args[1:], app.Hooks{})) }
