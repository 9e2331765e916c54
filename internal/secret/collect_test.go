package secret_test

import (
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func TestADeletedRecordRestsUntilNothingNeedsIt(t *testing.T) {
	deleted := time.Unix(1000, 0)
	before, after := deleted, deleted.Add(1)
	west := []secret.RegionName{"west"}
	moved := secret.NewOwnership("east", "one")
	moved.Lineage = secret.Lineage{{Epoch: secret.Epoch{Counter: 2, Region: "east"}}}
	for name, c := range map[string]struct {
		grave       secret.Grave
		forgotten   time.Time
		want        secret.Resting
		collectable bool
	}{
		"nothing needs it":                  {secret.Grave{}, after, secret.ForNothing, true},
		"a holder has not confirmed":        {secret.Grave{Holders: []secret.RegionName{"south", "west"}}, after, secret.ForNothing, false},
		"every holder has confirmed":        {secret.Grave{Holders: west}, after, secret.ForNothing, true},
		"a backup made before may return":   {secret.Grave{}, before, secret.ForAge, false},
		"the region has just been restored": {secret.Grave{}, time.Time{}, secret.ForAge, false},
		"its deletion is not cleared":       {secret.Grave{Open: true}, after, secret.ForRegions, false},
		"a region lacks something":          {secret.Grave{Waiting: true}, after, secret.ForRegions, false},
		"something belongs to it":           {secret.Grave{Occupied: true}, after, secret.ForRegions, false},
		"its name may be used again":        {secret.Grave{Named: true}, after, secret.ForGood, false},
		"its home has moved":                {secret.Grave{Ownership: moved}, after, secret.ForGood, false},
	} {
		t.Run(name, func(t *testing.T) {
			c.grave.DeletedAt = deleted
			if got := c.grave.Rest(c.forgotten); got != c.want {
				t.Errorf("it waits for %s, want %s", got, c.want)
			}
			if got := c.grave.Collectable(c.forgotten, west); got != c.collectable {
				t.Errorf("collectable: %t", got)
			}
		})
	}
}

func TestHorizons(t *testing.T) {
	at := func(life secret.Incarnation, revision int64) secret.Moment {
		return secret.Moment{Incarnation: life, Revision: revision}
	}
	for _, c := range []struct {
		horizon, read secret.Moment
		want          bool
	}{
		{secret.Moment{}, at("one", 0), true},
		{at("one", 0), at("one", 0), true},
		{at("one", 5), at("one", 5), true},
		{at("one", 5), at("one", 4), false},
		{at("two", 0), at("one", 9), false},
	} {
		if got := secret.MayBring(c.horizon, c.read); got != c.want {
			t.Errorf("what was read at %v may be brought past %v: %t", c.read, c.horizon, got)
		}
	}
	if h, ok := secret.Horizon(at("one", 5), at("one", 3)); !ok || h != at("one", 5) {
		t.Errorf("a horizon falls to %v", h)
	}
	if _, ok := secret.Horizon(at("one", 5), at("two", 9)); ok {
		t.Error("another life moves a horizon")
	}
	for name, c := range map[string]struct {
		horizons, origins []secret.Moment
		restored, want    bool
	}{
		"began empty":                      {[]secret.Moment{at("one", 5)}, nil, false, true},
		"nothing was forgotten":            {[]secret.Moment{at("one", 0)}, nil, true, true},
		"a backup made after":              {[]secret.Moment{at("one", 5)}, []secret.Moment{at("one", 5)}, true, true},
		"a backup made before":             {[]secret.Moment{at("one", 5)}, []secret.Moment{at("one", 4)}, true, false},
		"a backup of another life":         {[]secret.Moment{at("one", 5)}, []secret.Moment{at("zero", 9)}, true, false},
		"a chain of backups made after":    {[]secret.Moment{at("one", 5), at("two", 7)}, []secret.Moment{at("one", 5), at("two", 8)}, true, true},
		"a chain with one made before":     {[]secret.Moment{at("one", 5), at("two", 7)}, []secret.Moment{at("one", 5), at("two", 6)}, true, false},
		"a chain that leaves one life out": {[]secret.Moment{at("one", 5), at("two", 7)}, []secret.Moment{at("one", 6)}, true, false},
	} {
		if got := secret.MayReturn(c.horizons, c.origins, c.restored); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
