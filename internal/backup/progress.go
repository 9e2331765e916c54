package backup

// Progress says how far long work is.
type Progress struct {
	Step    Step  `json:"step"`
	Records int64 `json:"records"`
	// Of is how many there will be, about; 0 if that is not known.
	Of int64 `json:"of,omitempty"`
}

// Step is a part of the work.
type Step string

// The steps of a backup and of a restore.
const (
	Writing   Step = "writing"
	Verifying Step = "verifying"
	Clearing  Step = "clearing what an interrupted restore left"
	Restoring Step = "restoring"
)
