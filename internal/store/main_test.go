package store_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain checks for goroutines left over. Those of connections between etcd
// members end only by the read timeout of etcd's peer listener, 5 s after the
// members; goleak itself waits for less than a second at a time.
func TestMain(m *testing.M) {
	code := m.Run()
	err := goleak.Find()
	for tries := 0; err != nil && tries < 15; tries++ {
		err = goleak.Find()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}
