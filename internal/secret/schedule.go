package secret

import (
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// Schedule says when something is due again and again. The zero value is never.
type Schedule struct {
	// AfterDays is how many days after the last time it is due: 1 to MaxRotationDays;
	// 0 if Expression says when.
	AfterDays int
	// Expression is rate(N hours), rate(N days), or cron(MINUTE HOUR DAY MONTH WEEKDAY
	// YEAR) in UTC, with the fields that AWS has: numbers, names, lists, ranges, steps,
	// L and # ; the year must be *.
	Expression string
	// Window is how long after it is due it may still begin: zero means without limit.
	Window time.Duration
}

// Limits on schedules.
const (
	MaxRotationDays    = 1000
	MaxExpressionBytes = 256
	minRate            = 4 * time.Hour
	maxRate            = 999 * 24 * time.Hour
	maxWindow          = 24 * time.Hour
)

// Check checks a schedule. Errors: CodeInvalid.
func (s Schedule) Check() error {
	switch {
	case s.AfterDays < 0 || s.AfterDays > MaxRotationDays:
		return Invalid("after_days", "is %d; allowed are 1 to %d", s.AfterDays, MaxRotationDays)
	case s.AfterDays > 0 && s.Expression != "":
		return Invalid("expression", "cannot be given together with after_days")
	case s.AfterDays == 0 && s.Expression == "" && s.Window != 0:
		return Invalid("window", "needs a schedule")
	case s.Window < 0 || s.Window > maxWindow || s.Window%time.Hour != 0:
		return Invalid("window", "is %s; allowed are 1 to 24 whole hours", s.Window)
	case s.Expression == "":
		return nil
	}
	_, err := s.next(time.Unix(0, 0))
	return err
}

// Next returns when it is due after a time; zero for never.
func (s Schedule) Next(after time.Time) time.Time {
	at, err := s.next(after)
	if err != nil {
		return time.Time{}
	}
	return at
}

func (s Schedule) next(after time.Time) (time.Time, error) {
	if s.AfterDays > 0 {
		return after.Add(time.Duration(s.AfterDays) * 24 * time.Hour), nil
	}
	if s.Expression == "" {
		return time.Time{}, nil
	}
	if len(s.Expression) > MaxExpressionBytes {
		return time.Time{}, Invalid("expression", "is %d bytes long; the limit is %d", len(s.Expression), MaxExpressionBytes)
	}
	if inner, ok := strings.CutPrefix(s.Expression, "rate("); ok {
		every, err := rateOf(strings.TrimSuffix(inner, ")"))
		return after.Add(every), err
	}
	inner, ok := strings.CutPrefix(s.Expression, "cron(")
	inner, closed := strings.CutSuffix(inner, ")")
	if !ok || !closed {
		return time.Time{}, Invalid("expression", "is neither rate(…) nor cron(…)")
	}
	c, err := cronOf(strings.Fields(inner))
	if err != nil {
		return time.Time{}, err
	}
	at := c.next(after.UTC())
	if at.IsZero() {
		return at, Invalid("expression", "is never due")
	}
	return at, nil
}

func rateOf(text string) (time.Duration, error) {
	number, unit, _ := strings.Cut(strings.TrimSpace(text), " ")
	n, err := strconv.Atoi(number)
	each := map[string]time.Duration{"hour": time.Hour, "hours": time.Hour, "day": 24 * time.Hour, "days": 24 * time.Hour}[unit]
	if err != nil || n < 1 || n > 100_000 || each == 0 {
		return 0, Invalid("expression", "must be like rate(4 hours) or rate(10 days)")
	}
	if every := time.Duration(n) * each; every >= minRate && every <= maxRate {
		return every, nil
	}
	return 0, Invalid("expression", "has a rate of %d %s; allowed are 4 hours to 999 days", n, unit)
}

// cron has the bits of what each field allows.
type cron struct {
	minutes, hours, days, months, weekdays uint64
	// lastDay is set for the last day of the month, lastWeekday has the weekdays of
	// which the last in the month counts, nth those of which the n-th does.
	lastDay     bool
	lastWeekday uint64
	nth         [8]uint64
}

var (
	monthNames   = []string{"", "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}
	weekdayNames = []string{"", "SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}
)

func cronOf(fields []string) (c cron, err error) {
	if len(fields) != 6 || fields[5] != "*" {
		return c, Invalid("expression", "must have six fields, of which the last, the year, is *")
	}
	for i, f := range fields {
		fields[i] = strings.ToUpper(f)
	}
	if fields[2] == "L" {
		c.lastDay, fields[2] = true, "?"
	}
	weekdays := fields[4]
	if day, found := strings.CutSuffix(weekdays, "L"); found {
		c.lastWeekday, weekdays = cronValue(day, 7, weekdayNames), "?"
	} else if day, n, found := strings.Cut(weekdays, "#"); found {
		if k, err := strconv.Atoi(n); err == nil && k >= 1 && k <= 5 {
			c.nth[k] = cronValue(day, 7, weekdayNames)
		}
		weekdays = "?"
		if c.nth == ([8]uint64{}) || bits.OnesCount64(c.nth[1]|c.nth[2]|c.nth[3]|c.nth[4]|c.nth[5]) != 1 {
			return c, badCron(fields[4])
		}
	}
	if c.lastWeekday == 0 && strings.HasSuffix(fields[4], "L") {
		return c, badCron(fields[4])
	}
	for _, f := range []struct {
		text     string
		low, top int
		names    []string
		into     *uint64
	}{
		{fields[0], 0, 59, nil, &c.minutes}, {fields[1], 0, 23, nil, &c.hours}, {fields[2], 1, 31, nil, &c.days},
		{fields[3], 1, 12, monthNames, &c.months}, {weekdays, 1, 7, weekdayNames, &c.weekdays},
	} {
		if *f.into, err = cronField(f.text, f.low, f.top, f.names); err != nil {
			return c, err
		}
	}
	if fields[2] == "?" && weekdays == "?" && fields[4] == "?" && !c.lastDay {
		return c, Invalid("expression", "has ? for both the day and the weekday")
	}
	return c, nil
}

func badCron(field string) error {
	return Invalid("expression", "has the field %q, which is not understood", field)
}

// cronValue returns the bit of a number or name, 0 for neither.
func cronValue(text string, top int, names []string) uint64 {
	for i, name := range names {
		if name != "" && name == text {
			return 1 << i
		}
	}
	if n, err := strconv.Atoi(text); err == nil && n >= 0 && n <= top {
		return 1 << n
	}
	return 0
}

func cronField(text string, low, top int, names []string) (set uint64, err error) {
	for part := range strings.SplitSeq(text, ",") {
		span, step, stepped := strings.Cut(part, "/")
		every := 1
		if stepped {
			if every, err = strconv.Atoi(step); err != nil || every < 1 || every > top {
				return 0, badCron(text)
			}
		}
		from, to := low, top
		if span != "*" && span != "?" {
			first, last, ranged := strings.Cut(span, "-")
			a := cronValue(first, top, names)
			b := a
			if ranged {
				b = cronValue(last, top, names)
			}
			if a == 0 || b < a || bits.TrailingZeros64(a) < low {
				return 0, badCron(text)
			}
			from = bits.TrailingZeros64(a)
			if ranged || !stepped {
				to = bits.TrailingZeros64(b)
			}
		}
		for i := from; i <= to; i += every {
			set |= 1 << i
		}
	}
	return set, nil
}

// maxCronDays bounds the search for the next time: all leap years are in it.
const maxCronDays = 366 * 9

func (c *cron) next(after time.Time) time.Time {
	at := after.Truncate(time.Minute).Add(time.Minute)
	day := time.Date(at.Year(), at.Month(), at.Day(), 0, 0, 0, 0, time.UTC)
	for range maxCronDays {
		if c.onDay(day) {
			for hour := range 24 {
				for minute := range 60 {
					due := day.Add(time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute)
					if c.hours>>hour&1 == 1 && c.minutes>>minute&1 == 1 && !due.Before(at) {
						return due
					}
				}
			}
		}
		day = day.AddDate(0, 0, 1)
	}
	return time.Time{}
}

func (c *cron) onDay(day time.Time) bool {
	weekday := uint64(1) << (int(day.Weekday()) + 1)
	last := day.AddDate(0, 0, 1).Month() != day.Month()
	switch {
	case c.months>>int(day.Month())&1 == 0, c.days>>day.Day()&1 == 0, c.weekdays&weekday == 0, c.lastDay && !last:
		return false
	case c.lastWeekday != 0:
		return c.lastWeekday&weekday != 0 && day.AddDate(0, 0, 7).Month() != day.Month()
	}
	for n, of := range c.nth {
		if of != 0 {
			return of&weekday != 0 && (day.Day()-1)/7+1 == n
		}
	}
	return true
}
