// Package rotation has the values of secrets replaced when their schedules say so:
// it asks rotators, one step after the other, and notes in the secret's record what
// came of each, so that another process goes on where one stopped.
//
// A rotator is an HTTP endpoint that does what it is asked for with an access of its
// own to the API. It may be asked for a step again.
package rotation
