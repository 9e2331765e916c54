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

// MayBeDone reports whether a mutation may have been carried out although its call
// failed with err: CodeOutcomeUnknown, CodeUnreachable and CodeCanceled leave that open.
// Repeat it with the same request token, or read what is there. After any other failure
// nothing was done; err may not be nil.
func MayBeDone(err error) bool {
	switch CodeOf(err) {
	case CodeOutcomeUnknown, CodeUnreachable, CodeCanceled:
		return true
	}
	return false
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
	if r.mode == harmless || r.undecided == nil || MayBeDone(e) || e.settles() {
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
