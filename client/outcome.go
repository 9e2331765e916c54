package client

// mayBeDone reports whether the request that failed may have been carried out.
func (e *Error) mayBeDone() bool {
	switch e.Code {
	case CodeOutcomeUnknown:
		return true
	case CodeUnauthenticated, CodeDenied, CodeNotFound, CodeThrottled: // whoever says so
		return false
	}
	return !e.unsent && !e.told
}

// leavesOpen reports whether the caller reads from the code that a mutation may have
// been carried out.
func leavesOpen(c Code) bool {
	return c == CodeOutcomeUnknown || c == CodeUnreachable || c == CodeCanceled
}

// settles reports whether a refusal also tells of earlier attempts that they were not
// carried out: the home gives it only after it has looked for the request token.
func (e *Error) settles() bool {
	switch e.Code {
	case CodeStale, CodeExists, CodeWrongState, CodeTokenReused, CodeLimit, CodeDetached:
		return e.told
	}
	return false
}

// outcome returns what the failure of a call means to the caller. That the last attempt
// of a mutation did nothing says nothing of one before that may have been carried out:
// its home may have moved or its vault have left the region since.
func (r *round[A]) outcome(e *Error) *Error {
	if r.mode == harmless || r.undecided == nil || leavesOpen(e.Code) || e.settles() {
		return e
	}
	message := "it may have been done: " + r.undecided.Message
	if e.Message != r.undecided.Message {
		message += "; then: " + e.Message
	}
	return &Error{
		Code: CodeOutcomeUnknown, Message: message, Hint: "read to find out what was done",
		RequestID: e.RequestID, RetryAfter: e.RetryAfter, Home: e.Home, Region: e.Region, Err: e,
	}
}
