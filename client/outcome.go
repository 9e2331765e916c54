package client

// mayBeDone reports whether the request that failed may have been carried out.
func (e *Error) mayBeDone() bool {
	switch e.Code {
	case CodeOutcomeUnknown:
		return true
	case CodeUnreachable, CodeCanceled:
		return !e.unsent
	case CodeUnavailable: // by whatever stands in front of the region
		return !e.unsent && !e.told
	}
	return false
}

// leavesOpen reports whether the caller reads from the code that a mutation may have
// been carried out.
func leavesOpen(c Code) bool {
	return c == CodeOutcomeUnknown || c == CodeUnreachable || c == CodeCanceled
}

// settles reports whether a refusal also tells of earlier attempts that they were not
// carried out: the home gives it only after it has looked for the request token, or
// would have given it to each of them.
func settles(c Code) bool {
	switch c {
	case CodeInvalid, CodeStale, CodeExists, CodeWrongState, CodeTokenReused, CodeLimit, CodeDetached:
		return true
	}
	return false
}

// outcome returns what the failure of a call means to the caller. That the last attempt
// of a mutation did nothing says nothing of one before that may have been carried out:
// its home may have moved or its vault have left the region since.
func (r *round[A]) outcome(e *Error) *Error {
	if r.mode == harmless || r.undecided == nil || leavesOpen(e.Code) || settles(e.Code) {
		return e
	}
	message := "it may have been done: " + r.undecided.Message
	if e.Message != r.undecided.Message {
		message += "; then: " + e.Message
	}
	return &Error{
		Code: CodeOutcomeUnknown, Message: message, Hint: "repeat the request with the same request token, or read to find out",
		RequestID: e.RequestID, RetryAfter: e.RetryAfter, Home: e.Home, Region: e.Region, Err: e,
	}
}
