//go:build !faultpoints

package chaos_test

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// operation is a put of a value that is unique, or a read, of one secret.
type operation struct {
	secret  string
	put     bool
	client  int
	session bool
	// began and ended are since the start of the history; an operation whose
	// outcome is not known has code set and never ended.
	began, ended time.Duration
	value        string
	// seq is that of the state that was made or read.
	seq uint64
	// needs is what the revision token that a read carried asks for; 0 is none.
	needs uint64
	// latest is set for a read with the newest token that any client had.
	latest bool
	code   secret.Code
	// refused is set for a put of which every answer said that it was not done.
	refused bool
}

func (o operation) known() bool { return o.code == "" }

func (o operation) String() string {
	what := "reads"
	if o.put {
		what = "puts"
	}
	return fmt.Sprintf("client %d %s %s of %s at seq %d, needs %d, from %s to %s, code %q", o.client, what, o.value, o.secret, o.seq, o.needs, o.began, o.ended, o.code)
}

// history is what clients saw. It is safe for concurrent use.
type history struct {
	mu         sync.Mutex
	operations []operation
}

func (h *history) add(o operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.operations = append(h.operations, o)
}

// check looks for breaches of what reads promise. The final states are the
// values of each secret by seq.
func (h *history) check(final map[string]map[uint64]string) []error {
	bySecret := map[string][]operation{}
	for _, o := range h.operations {
		bySecret[o.secret] = append(bySecret[o.secret], o)
	}
	var errs []error
	for name, ops := range bySecret {
		errs = append(errs, checkDurable(ops, final[name])...)
		errs = append(errs, checkReads(ops, final[name])...)
		errs = append(errs, checkSessions(ops)...)
		errs = append(errs, checkRegister(name, ops, final[name])...)
	}
	return errs
}

// checkDurable finds acknowledged puts that are not in the final history where
// they were acknowledged to be, and puts that are there twice (G1).
func checkDurable(ops []operation, final map[uint64]string) (errs []error) {
	times := map[string]int{}
	for _, value := range final {
		times[value]++
	}
	for _, o := range ops {
		switch {
		case !o.put:
		case o.known() && final[o.seq] != o.value:
			errs = append(errs, fmt.Errorf("lost: %s; that state is %q", o, final[o.seq]))
		case o.refused && times[o.value] > 0:
			errs = append(errs, fmt.Errorf("done although it was refused: %s", o))
		case times[o.value] > 1:
			errs = append(errs, fmt.Errorf("done %d times: %s", times[o.value], o))
		}
	}
	return errs
}

// checkReads finds reads of what never was: another value than the state's, a
// state before anyone put it, or one older than the read's token asks for (G2).
func checkReads(ops []operation, final map[uint64]string) (errs []error) {
	put := map[string]time.Duration{}
	for _, o := range ops {
		if o.put {
			put[o.value] = o.began
		}
	}
	for _, o := range ops {
		if o.put || !o.known() {
			continue
		}
		began, known := put[o.value]
		switch {
		case final[o.seq] != o.value:
			errs = append(errs, fmt.Errorf("not of the history: %s; that state is %q", o, final[o.seq]))
		case !known || began > o.ended:
			errs = append(errs, fmt.Errorf("read before it was put: %s", o))
		case o.seq < o.needs:
			errs = append(errs, fmt.Errorf("older than the token: %s", o))
		}
	}
	return errs
}

// checkSessions finds clients that carry their tokens along and yet see the
// secret go back, or miss what they put themselves (G2).
func checkSessions(ops []operation) (errs []error) {
	ops = slices.Clone(ops)
	slices.SortFunc(ops, func(a, b operation) int { return cmp.Compare(a.began, b.began) })
	seen := map[int]operation{}
	for _, o := range ops {
		if !o.session || !o.known() {
			continue
		}
		if o.seq < seen[o.client].seq {
			errs = append(errs, fmt.Errorf("went back: %s; before: %s", o, seen[o.client]))
		}
		seen[o.client] = o
	}
	return errs
}

// register is a secret as porcupine sees it: puts set the value, and a read that
// carries the newest token which any client had when it began is a read of a
// register, because what was acknowledged before it is at most as new as that
// token.
var register = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		if value := input.(string); value != "" {
			return true, value
		}
		return output.(string) == state.(string), state
	},
	Equal: func(a, b any) bool { return a == b },
	DescribeOperation: func(input, output any) string {
		if input.(string) != "" {
			return fmt.Sprint("put ", input)
		}
		return fmt.Sprint("read ", output)
	},
}

// registerTimeout bounds the search for an order of one secret's operations.
const registerTimeout = time.Minute

// checkRegister looks for an order of the operations, in keeping with when they
// began and ended, in which each read sees the last put. A put without an
// answer may have been done at any time after it began; one that is not in the
// final history was not done.
func checkRegister(name string, ops []operation, final map[uint64]string) []error {
	done := map[string]bool{}
	for _, value := range final {
		done[value] = true
	}
	var history []porcupine.Operation
	for _, o := range ops {
		e := porcupine.Operation{ClientId: o.client, Call: int64(o.began), Return: int64(o.ended)}
		switch {
		case o.put && o.known():
			e.Input, e.Output = o.value, ""
		case o.put && done[o.value]:
			e.Input, e.Output, e.Return = o.value, "", math.MaxInt64
		case !o.put && o.known() && o.latest:
			e.Input, e.Output = "", o.value
		default:
			continue
		}
		history = append(history, e)
	}
	switch porcupine.CheckOperationsTimeout(register, history, registerTimeout) {
	case porcupine.Illegal:
		return []error{fmt.Errorf("%s: the %d operations are not those of a register; %s", name, len(history), overtaken(ops))}
	case porcupine.Unknown:
		return []error{fmt.Errorf("%s: no order of the %d operations was found in %s", name, len(history), registerTimeout)}
	}
	return nil
}

// overtaken names an operation on a newer state that had ended before a read of
// an older one began: what most breaches of a register come down to.
func overtaken(ops []operation) string {
	for _, read := range ops {
		for _, newer := range ops {
			if !read.put && read.latest && read.known() && newer.known() && (newer.put || newer.latest) &&
				newer.ended < read.began && newer.seq > read.seq {
				return fmt.Sprintf("after %s, %s", newer, read)
			}
		}
	}
	return "no read is older than what ended before it"
}
