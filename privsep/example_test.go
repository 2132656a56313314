package privsep_test

import (
	"fmt"
	"log"
	"os"
	"time"

	"maas-netmon/privsep"
)

// The two halves of a program. internal/example is a whole program that also confines both.
func Example() {
	if len(os.Args) == 2 && os.Args[1] == "parse" {
		conn, err := privsep.Inherit()
		if err != nil {
			log.Fatal(err)
		}
		if err := privsep.DieWithParent(conn); err != nil {
			log.Fatal(err)
		}
		if err := conn.Send(privsep.Message{Type: privsep.Hello, Values: [privsep.NumValues]uint64{42}}); err != nil {
			log.Fatal(err)
		}
		return
	}
	if err := privsep.CloseStray(-1); err != nil { // first in main
		log.Fatal(err)
	}
	parser, err := privsep.Launch([]string{os.Args[0], "parse"})
	if err != nil {
		log.Fatal(err)
	}
	m, err := parser.Receive(5 * time.Second)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(m.Type, m.Values[0])
}
