package secret

// State is where a record stands in its lifecycle. Only ACTIVE,
// PENDING_DELETION and DELETED are stored; the others are how a stored state
// shows while its last mutation is under way, or could not be processed.
type State string

// The states.
const (
	Creating        State = "CREATING"         // created, not yet on every live host
	Active          State = "ACTIVE"           // on every live host
	Updating        State = "UPDATING"         // mutated, not yet on every live host
	PendingDeletion State = "PENDING_DELETION" // will be purged; can be restored
	Deleted         State = "DELETED"          // purged; a tombstone keeps ID and order
	Failed          State = "FAILED"           // a host cannot apply the last mutation
)
