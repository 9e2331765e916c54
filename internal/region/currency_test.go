package region

import (
	"testing"
	"time"

	peerv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func TestCurrency(t *testing.T) {
	c := &currency{}
	if _, known := c.age("east"); known || len(c.ages()) != 0 {
		t.Error("something is known at first")
	}
	now := time.Now()
	c.note("east", now.Add(-time.Minute))
	c.take(now, &peerv1.ReportProgressResponse{PeerAgeSeconds: map[string]float64{"east": 3600, "south": 10}})
	for peer, want := range map[secret.RegionName]time.Duration{"east": time.Minute, "south": 10 * time.Second} {
		if age, known := c.age(peer); !known || age < want || age > want+10*time.Second {
			t.Errorf("age of %s is %s", peer, age)
		}
		if age := c.ages()[string(peer)]; age < want.Seconds() || age > want.Seconds()+10 {
			t.Errorf("age of %s is told as %f", peer, age)
		}
	}
	c.note("east", now)
	if age, _ := c.age("east"); age > 10*time.Second {
		t.Errorf("age is %s", age)
	}
	c.forget()
	if _, known := c.age("east"); known {
		t.Error("it is known to another life")
	}
}
