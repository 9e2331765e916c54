package client

import (
	"context"
	"slices"
)

// round is a request that goes through the regions, once for each attempt of its
// call. Nothing here waits but for answers.
type round[A any] struct {
	client *Client
	about  about
	mode   repeat
	// try makes the request at an endpoint. It is safe for concurrent use.
	try func(context.Context, *endpoint) (*A, *Error)
	// undecided is the last failure of a request that may have been carried out.
	undecided *Error
}

// mutate goes to the home region, as far as it is known, and on to others only while
// nothing can have been done, or if it may be done again: who is not the home says so
// and names it.
func (r *round[A]) mutate(ctx context.Context, to where) (*A, *Error) {
	open := r.client.in[:1]
	if to == toHome {
		open = r.client.order(r.about, r.client.homes.of(r.about))
	}
	force := !slices.ContainsFunc(open, func(at *region) bool { return len(at.available()) > 0 })
	var failed failures
	var home *region // as one of them has named it
	for len(open) > 0 {
		at := open[0]
		open = open[1:]
		answer, failure := r.at(ctx, at, force)
		if failure == nil {
			if to == toHome && r.client.homes.of(r.about) != at.name {
				r.client.learn(r.about, at.name)
			}
			return answer, nil
		}
		failed = append(failed, failure)
		switch named := r.client.named(failure); {
		case named == at && failure.Code == CodeNotHome:
			return nil, misnamed(failure)
		case named == at: // which knows for sure
			return nil, failure
		case named != nil && !slices.Contains(open, named): // it was asked already
			r.client.learn(r.about, named.name)
			return nil, failed.of(named)
		case named != nil:
			r.client.learn(r.about, named.name)
			home, open = named, first(open, named)
		case !r.goesOn(failure):
			return nil, r.unnamed(failure)
		}
	}
	if home != nil {
		return nil, failed.of(home)
	}
	return nil, failed.choose(r.about)
}

// at makes the request in one region: at the next endpoint only if the one before
// has provably not got it, or may get it twice.
func (r *round[A]) at(ctx context.Context, at *region, force bool) (answer *A, failure *Error) {
	endpoints := at.available()
	if force {
		endpoints = at.endpoints
	}
	if len(endpoints) == 0 {
		return nil, putAside(at)
	}
	for _, e := range endpoints {
		if answer, failure = r.try(ctx, e); failure != nil && failure.mayBeDone() {
			r.undecided = failure
		}
		if failure == nil || isAbsent(failure, r.about) || !r.goesOn(failure) {
			break
		}
	}
	return answer, failure
}

// goesOn reports whether the request may be made elsewhere, and that can help.
func (r *round[A]) goesOn(e *Error) bool {
	if e.final {
		return false
	}
	switch e.Code {
	case CodeUnreachable:
		return e.unsent || r.mode != once
	case CodeUnavailable, CodeOutcomeUnknown:
		return r.mode != once
	}
	return isAbsent(e, r.about)
}

// unnamed says what to do about a home that the client does not know.
func (r *round[A]) unnamed(e *Error) *Error {
	if e.Code == CodeNotHome && e.Home != "" && len(r.client.in[0].name) > 0 {
		e.Hint = "region " + e.Home + " is not among those that this client uses: add it to them"
	}
	return e
}

// misnamed is what becomes of a refusal by a region that names itself as the home: it
// is not the one for which the configuration takes it.
func misnamed(e *Error) *Error {
	e.Hint = "check the configuration: another region answers at an address of " + e.Region
	return e
}

// order returns the regions in the order in which to ask: the home, then by
// preference, those last that did not hold it a short while ago.
func (c *Client) order(a about, home string) []*region {
	if len(c.in) == 1 {
		return c.in
	}
	order := slices.Clone(c.in)
	slices.SortStableFunc(order, func(x, y *region) int { return c.rank(a, home, x) - c.rank(a, home, y) })
	return order
}

func (c *Client) rank(a about, home string, r *region) int {
	switch {
	case r.name == home:
		return 0
	case c.absences.known(a.vault, r.name):
		return 2
	}
	return 1
}

// named returns the region that an error names as the home, nil if it names none that
// the client uses.
func (c *Client) named(e *Error) *region {
	if e.Home == "" || e.Code != CodeNotHome && e.Code != CodeNotFound {
		return nil
	}
	for _, r := range c.in {
		if r.name == e.Home {
			return r
		}
	}
	return nil
}

// learn takes note of a home region.
func (c *Client) learn(a about, home string) {
	if home != "" && len(c.regions) > 1 {
		c.homes.learn(a, home)
	}
}

// first returns the regions with one of them moved to the front.
func first(open []*region, to *region) []*region {
	rest := slices.DeleteFunc(slices.Clone(open), func(other *region) bool { return other == to })
	return slices.Insert(rest, 0, to)
}
