package drill

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"time"
)

//go:embed page.html
var pageText string

// WriteJSON writes the report as indented JSON.
func (r *Report) WriteJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

// WritePage writes the report as one HTML page that needs nothing else and can be printed.
func (r *Report) WritePage(w io.Writer) error {
	page, err := template.New("report").Funcs(template.FuncMap{
		"time":    func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000") },
		"seconds": seconds,
		"took":    func(s Step) string { return seconds(s.EndedAt.Sub(s.StartedAt).Seconds()) },
		"lacked":  func() []*Write { return r.lacked() },
		"phases":  func() []phaseCount { return r.phases() },
	}).Parse(pageText)
	if err != nil {
		return err
	}
	return page.Execute(w, r)
}

// seconds shows a duration as people compare it.
func seconds(s float64) string {
	if s < 1 {
		return fmt.Sprintf("%.0f ms", 1000*s)
	}
	return fmt.Sprintf("%.2f s", s)
}

// lacked are the writes that the heir lacked when it took over.
func (r *Report) lacked() (lacked []*Write) {
	for _, w := range r.Writes {
		if w.LackedByHeir {
			lacked = append(lacked, w)
		}
	}
	return lacked
}

// phaseCount says what became of the writes of a phase.
type phaseCount struct {
	Phase                           Phase
	Writes, Versions, Adopted, Lost int
	First, Last                     time.Time
	// Longest is how long the slowest took, in seconds.
	Longest float64
}

func (r *Report) phases() (all []phaseCount) {
	for _, phase := range []Phase{BeforeLoss, AfterLoss, AfterTakeover, Adopted, InFailback, AfterFailback} {
		c := phaseCount{Phase: phase}
		for _, w := range r.Writes {
			if w.Phase != phase {
				continue
			}
			c.Writes++
			switch w.End {
			case EndCurrent, EndHistory:
				c.Versions++
			case EndAdopted:
				c.Adopted++
			case EndLost:
				c.Lost++
			}
			if c.First.IsZero() {
				c.First = w.AcknowledgedAt
			}
			c.Last = w.AcknowledgedAt
			c.Longest = max(c.Longest, w.Seconds)
		}
		if c.Writes > 0 {
			all = append(all, c)
		}
	}
	return all
}
