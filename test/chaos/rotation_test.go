//go:build faultpoints

package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
)

// TestKillDuringRotation kills the control process after every step of a rotation
// of a data key. Nothing but restarts finishes it, and nothing is sealed again
// twice.
func TestKillDuringRotation(t *testing.T) {
	const n = 60
	c := begin(t, shape{controls: 1, hosts: 1})
	control := c.controls[0]
	for i := range n {
		_, _, err := control.put(t.Context(), fmt.Sprint("s-", i), fmt.Sprint("value ", i))
		must(t, err)
	}
	control.kill()
	control.environment = []string{"LIFEBOAT_FAULTPOINTS=keys.reseal=crash:"}
	control.start()
	c.ready()
	admin := control.client(c.admin)
	_, _, err := invoke(t.Context(), admin.keys.RotateDataKey, admin, &lifeboatv1.RotateDataKeyRequest{Vault: vaultName})
	if err != nil { // it may have crashed before it answered
		t.Logf("the rotation was begun: %v", err)
	}
	crashes := map[string]int{}
	var rotation *lifeboatv1.DataKeyRotation
	c.eventually("the rotation ends", func(ctx context.Context) error {
		c.superviseControl(crashes)
		answer, _, err := invoke(ctx, admin.keys.GetDataKeys, admin, &lifeboatv1.GetDataKeysRequest{Vault: vaultName})
		if rotation = answer.GetRotation(); err == nil && rotation.GetRetiredAt() == nil {
			err = errors.New("not retired")
		}
		return err
	})
	if rotation.GetResealed() != n || rotation.GetLookedAt() != 2*n || rotation.GetFailed() != 0 {
		t.Errorf("after %d crashes the rotation says %v", crashes[control.id], rotation)
	}
	if crashes[control.id] != 2 { // one after the secrets, one after the versions
		t.Errorf("%d crashes", crashes[control.id])
	}
	c.ready()
	c.settled()
	for i := range n {
		for _, p := range c.processes() {
			p.shows(fmt.Sprint("s-", i), fmt.Sprint("value ", i), "")
		}
	}
}

func (c *cell) superviseControl(crashes map[string]int) {
	control := c.controls[0]
	select {
	case <-control.exited:
		crashes[control.id]++
		control.start()
	default:
	}
}
