package service

import (
	"context"
	"testing"
)

// Without a tracer a step costs nothing that the garbage collector sees.
func TestStepsCostNothingUnlessTraced(t *testing.T) {
	s, ctx := &Service{}, context.Background()
	if n := testing.AllocsPerRun(100, func() {
		_, end := s.step(ctx, "read")
		end(nil)
	}); n != 0 {
		t.Errorf("a step that is not recorded allocates %g times", n)
	}
}
