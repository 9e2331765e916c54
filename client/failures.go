package client

import (
	"slices"
	"strings"
)

// failures are why regions did not answer a request, in the order in which they were
// asked.
type failures []*Error

// isAbsent reports whether an error may only mean that the region does not hold what
// the request is about, or the caller's account.
func isAbsent(e *Error, a about) bool {
	switch e.Code {
	case CodeNotFound, CodeUnauthenticated, CodeUnknownIncarnation:
		return !e.final
	case CodeDenied: // how a region refuses strangers a vault that it does not hold
		return a.foreign()
	}
	return false
}

// lacksVault reports whether an error says so of all of a vault.
func lacksVault(e *Error) bool {
	return e.Code == CodeUnauthenticated || e.Code == CodeDenied || e.Code == CodeNotFound && e.Field != "secret"
}

// putAside is the failure of a region that is not asked because it did not answer a
// short while ago.
func putAside(r *region) *Error {
	return &Error{
		Code: CodeUnreachable, Region: r.name, unsent: true, Message: "region " + r.name + " does not answer, and is asked again when a probe has reached it",
		Hint: "check the region, and the network to it",
	}
}

// of returns what it means that the home region, which others have named, failed.
func (f failures) of(home *region) *Error {
	for _, e := range f {
		if e.Region != home.name {
			continue
		}
		own := *e
		if e.Code == CodeNotHome { // each takes the other one for the home
			own.moving = true
			return &own
		}
		if !strings.Contains(own.Message, home.name) {
			own.Message = "the home region " + home.name + ": " + own.Message
		}
		return &own
	}
	return f.choose(about{})
}

// choose returns the error that tells most. That something does not exist counts only
// if every region says so: one that does not answer may hold it.
func (f failures) choose(a about) *Error {
	telling := slices.MinFunc(f, func(x, y *Error) int { return tells(x, a) - tells(y, a) })
	if i := slices.IndexFunc(f, func(e *Error) bool { return isAbsent(e, a) }); i >= 0 && !isAbsent(telling, a) {
		own := *telling
		own.Message = f[i].Region + " does not have it (" + f[i].Message + "); " + own.Region + ", which may, fails: " + own.Message
		return &own
	}
	return telling
}

// tells ranks errors, the most telling one first.
func tells(e *Error, a about) int {
	absent := map[Code]int{CodeNotFound: 10, CodeUnknownIncarnation: 12, CodeDenied: 13, CodeUnauthenticated: 14}
	switch rank := absent[e.Code]; {
	case isAbsent(e, a) && lacksVault(e) && rank == 10:
		return rank + 1
	case isAbsent(e, a):
		return rank
	case e.Code == CodeNotReached:
		return 0
	case e.Code == CodeUnreachable && e.unsent:
		return 3
	case e.Code == CodeUnreachable:
		return 2
	}
	return 1
}
