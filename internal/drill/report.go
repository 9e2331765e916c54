package drill

import "time"

// SchemaVersion is that of Report. It rises when the meaning of a field changes, or a
// field goes; fields may be added without.
const SchemaVersion = 1

// Outcome is how a drill, or a step of it, ended.
type Outcome string

// The outcomes.
const (
	Passed      Outcome = "passed"
	Failed      Outcome = "failed"
	Interrupted Outcome = "interrupted"
	// Skipped is of a step that was not come to.
	Skipped Outcome = "skipped"
)

// Report is what a drill did, measured and found. It holds no value of a secret. Times
// are those of the machine that ran the drill, durations are seconds.
type Report struct {
	SchemaVersion int       `json:"schema_version"`
	ID            string    `json:"id"`
	Outcome       Outcome   `json:"outcome"`
	StartedAt     time.Time `json:"started_at"`
	EndedAt       time.Time `json:"ended_at"`
	// Release is that of the program that ran the drill.
	Release string         `json:"release"`
	Regions []RegionReport `json:"regions"`
	// Principal wrote and read.
	Principal Identity    `json:"principal"`
	Vault     VaultReport `json:"vault"`
	Loss      About       `json:"loss"`
	Promises  []Promise   `json:"promises"`
	Measures  Measures    `json:"measures"`
	// RecoveryPoint is what the heir lacked when it took over.
	RecoveryPoint RecoveryPoint    `json:"recovery_point"`
	Steps         []Step           `json:"steps"`
	Reads         []ReadReport     `json:"reads"`
	Conflicts     []ConflictReport `json:"conflicts"`
	Comparisons   []Comparison     `json:"comparisons"`
	// Writes are all that were acknowledged, in the order in which they were.
	Writes []*Write `json:"writes"`
	// Unacknowledged counts writes that were tried and of which no answer said that they
	// were done; they may have been.
	Unacknowledged int `json:"unacknowledged"`
}

// RegionReport is a region that took part.
type RegionReport struct {
	Name string `json:"name"`
	// Role is home, heir or third.
	Role        string `json:"role"`
	Incarnation string `json:"incarnation"`
	Release     string `json:"release,omitempty"`
	// Operator acted in the region; absent if none had to.
	Operator *Identity `json:"operator,omitempty"`
}

// Identity is who did something.
type Identity struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Account string `json:"account"`
}

// VaultReport is the vault that was made for the drill.
type VaultReport struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Secrets int    `json:"secrets"`
	// Removed is set if nothing of it is left in any region.
	Removed bool `json:"removed"`
}

// About says how a region was lost: what of it was real, and what was not.
type About struct {
	Kind      string   `json:"kind"`
	Summary   string   `json:"summary"`
	Exercised []string `json:"exercised"`
	Simulated []string `json:"simulated"`
}

// Promise is one that the drill put to the test.
type Promise struct {
	Promise string `json:"promise"`
	// Tested is unset if the drill did not come to it.
	Tested bool   `json:"tested"`
	Kept   bool   `json:"kept"`
	Detail string `json:"detail"`
}

// Measures are in seconds; what was not come to is 0.
type Measures struct {
	Replicated           float64 `json:"replicated_s"`
	LossToNoticed        float64 `json:"loss_to_noticed_s"`
	NoticedToFirstWrite  float64 `json:"noticed_to_first_write_s"`
	DecisionToFirstWrite float64 `json:"decision_to_first_write_s"`
	LossToFirstWrite     float64 `json:"loss_to_first_write_s"`
	// LossToReturn is for how long the region was lost.
	LossToReturn float64 `json:"loss_to_return_s"`
	// ReturnToInSync is from its return until no region lacked anything.
	ReturnToInSync float64 `json:"return_to_in_sync_s"`
	Failback       float64 `json:"failback_s"`
	// FailbackWritePause is the longest that one write was tried during the failback until
	// it was acknowledged.
	FailbackWritePause float64 `json:"failback_write_pause_s"`
}

// RecoveryPoint counts acknowledged writes of the home region that the heir lacked when
// it took over, and says what became of them.
type RecoveryPoint struct {
	// Seconds is the age, at the loss, of the oldest write from before it that the heir
	// lacked; 0 if it had all.
	Seconds            float64 `json:"seconds"`
	LackedFromBefore   int     `json:"lacked_from_before_loss"`
	AcknowledgedBefore int     `json:"acknowledged_before_loss"`
	LackedFromAfter    int     `json:"lacked_from_after_loss"`
	KeptAsConflict     int     `json:"kept_as_conflict"`
	ArrivedLater       int     `json:"arrived_later"`
	LostSilently       int     `json:"lost_silently"`
}

// Step is a part of the drill.
type Step struct {
	Number    int       `json:"number"`
	Name      string    `json:"name"`
	Title     string    `json:"title"`
	StartedAt time.Time `json:"started_at"`
	EndedAt   time.Time `json:"ended_at"`
	Outcome   Outcome   `json:"outcome"`
	Seen      []string  `json:"seen"`
	Error     string    `json:"error,omitempty"`
}

// ReadReport is what reads through a region, or through a client of all, met from before
// the loss until after the return.
type ReadReport struct {
	Through string `json:"through"`
	Reads   int    `json:"reads"`
	Failed  int    `json:"failed"`
	// WentBack counts answers older than one before.
	WentBack int `json:"went_back"`
	// Wrong counts answers that nobody wrote.
	Wrong        int     `json:"wrong"`
	P99          float64 `json:"p99_s"`
	Max          float64 `json:"max_s"`
	FirstFailure string  `json:"first_failure,omitempty"`
}

// ConflictReport is a conflict that the returned region listed.
type ConflictReport struct {
	ID       string    `json:"id"`
	Region   string    `json:"region"`
	Secret   string    `json:"secret"`
	At       time.Time `json:"at"`
	Versions []string  `json:"versions"`
	// AdoptedAs are the versions that the values became, in the same order.
	AdoptedAs []string `json:"adopted_as"`
}

// Comparison is one of the vault by digest at the end.
type Comparison struct {
	From      string `json:"from"`
	To        string `json:"to"`
	Secrets   uint64 `json:"secrets"`
	Differing int    `json:"differing"`
	Surplus   int    `json:"surplus"`
}

// Phase is when in a drill a write was acknowledged.
type Phase string

// The phases, in their order.
const (
	BeforeLoss    Phase = "before_loss"
	AfterLoss     Phase = "after_loss"
	AfterTakeover Phase = "after_takeover"
	Adopted       Phase = "adopted"
	InFailback    Phase = "in_failback"
	AfterFailback Phase = "after_failback"
)

// Where a write is in the end.
const (
	// EndCurrent and EndHistory: it is a version of the secret.
	EndCurrent = "current"
	EndHistory = "history"
	// EndAdopted: it was a conflict, and is the version AdoptedAs.
	EndAdopted = "adopted"
	// EndConflict: it is kept as a conflict.
	EndConflict = "conflict"
	// EndLost: it is nowhere.
	EndLost    = "lost"
	EndUnknown = "unknown"
)

// Write is one that a region acknowledged.
type Write struct {
	Secret         string    `json:"secret"`
	Version        string    `json:"version"`
	Region         string    `json:"region"`
	Phase          Phase     `json:"phase"`
	AcknowledgedAt time.Time `json:"acknowledged_at"`
	Seconds        float64   `json:"seconds"`
	// LackedByHeir is set if the heir did not have it when it took over.
	LackedByHeir bool   `json:"lacked_by_heir,omitempty"`
	End          string `json:"end"`
	Conflict     string `json:"conflict,omitempty"`
	AdoptedAs    string `json:"adopted_as,omitempty"`

	value, token string
}

// Broken returns the promises that were tested and not kept.
func (r *Report) Broken() (broken []Promise) {
	for _, p := range r.Promises {
		if p.Tested && !p.Kept {
			broken = append(broken, p)
		}
	}
	return broken
}
