package linkmon_test

import (
	"context"
	"fmt"
	"log"

	"maas-netmon/linkmon"
)

// Wait until an interface exists, and until it is gone.
func ExampleMonitor_WaitAttach() {
	m, err := linkmon.Open()
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	ctx := context.Background()
	for {
		link, err := m.WaitAttach(ctx, "eth0")
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("attached:", link.Index, link.State)
		if _, err := m.WaitDetach(ctx, link); err != nil {
			log.Fatal(err)
		}
		fmt.Println("detached:", link.Index)
	}
}
