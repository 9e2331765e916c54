package secret_test

import (
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func TestSchedules(t *testing.T) {
	at := func(text string) time.Time {
		parsed, err := time.Parse("2006-01-02 15:04", text)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	const after = "2026-05-04 03:02" // a Monday
	for _, c := range []struct{ expression, want string }{
		{"rate(4 hours)", "2026-05-04 07:02"}, {"rate(1 day)", "2026-05-05 03:02"}, {"rate(10 days)", "2026-05-14 03:02"},
		{"cron(0 8 * * ? *)", "2026-05-04 08:00"}, {"cron(0 3 * * ? *)", "2026-05-05 03:00"}, {"cron(2 3 * * ? *)", "2026-05-05 03:02"},
		{"cron(0 /8 * * ? *)", ""}, {"cron(0 0/8 * * ? *)", "2026-05-04 08:00"}, {"cron(0 */4 * * ? *)", "2026-05-04 04:00"},
		{"cron(0 8 1 * ? *)", "2026-06-01 08:00"}, {"cron(0 8 1 1/3 ? *)", "2026-07-01 08:00"}, {"cron(0 8 ? * SUN *)", "2026-05-10 08:00"},
		{"cron(0 8 ? * 2#1 *)", "2026-05-04 08:00"}, {"cron(0 8 ? * MON#3 *)", "2026-05-18 08:00"}, {"cron(0 8 ? * 6L *)", "2026-05-29 08:00"},
		{"cron(0 17 L * ? *)", "2026-05-31 17:00"}, {"cron(30 6,18 ? JAN-MAR MON-FRI *)", "2027-01-01 06:30"}, {"cron(0 0 29 2 ? *)", "2028-02-29 00:00"},
		{"cron(0 0 30 2 ? *)", ""}, {"cron(0 8 ? * ? *)", ""}, {"cron(0 8 * * ? 2027)", ""}, {"cron(60 8 * * ? *)", ""}, {"cron(0 8 * *)", ""},
		{"cron(0 8 ? * MON#6 *)", ""}, {"cron(0 8 ? * xL *)", ""}, {"cron(0 8 0 * ? *)", ""}, {"cron(0 9-8 * * ? *)", ""}, {"cron(0 0/0 * * ? *)", ""},
		{"rate(3 hours)", ""}, {"rate(1000 days)", ""}, {"rate(x days)", ""}, {"rate(4 weeks)", ""}, {"daily", ""}, {"cron(0 8 * * ? *", ""},
	} {
		s := secret.Schedule{Expression: c.expression}
		err := s.Check()
		got := s.Next(at(after))
		switch {
		case c.want == "":
			if err == nil || !got.IsZero() {
				t.Errorf("%s: next is %s, %v; want a refusal", c.expression, got, err)
			}
		case err != nil || !got.Equal(at(c.want)):
			t.Errorf("%s: next is %s, %v; want %s", c.expression, got, err, c.want)
		}
	}
	for _, s := range []secret.Schedule{
		{AfterDays: -1}, {AfterDays: 1001}, {AfterDays: 1, Expression: "rate(4 hours)"}, {Window: time.Hour},
		{AfterDays: 1, Window: 90 * time.Minute}, {AfterDays: 1, Window: 25 * time.Hour},
	} {
		if s.Check() == nil {
			t.Errorf("%+v was accepted", s)
		}
	}
	if got := (secret.Schedule{}).Next(at(after)); !got.IsZero() {
		t.Errorf("no schedule is due at %s", got)
	}
}

func FuzzSchedule(f *testing.F) {
	f.Add("cron(0 8 ? * MON#3 *)")
	f.Add("rate(10 days)")
	f.Add("cron(0 0/8 L JAN,MAR-MAY ? *)")
	f.Fuzz(func(t *testing.T, expression string) {
		s := secret.Schedule{Expression: expression}
		now := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
		if next := s.Next(now); s.Check() == nil && expression != "" && !next.After(now) {
			t.Fatalf("%q is due at %s, not after %s", expression, next, now)
		}
	})
}
