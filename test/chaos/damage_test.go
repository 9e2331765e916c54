//go:build !faultpoints

package chaos_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const pageSize = 4096

// damages are what may happen to the file of a local store.
var damages = []struct {
	name string
	do   func(r *rand.Rand, file *os.File, size int64) error
	// running is set if it can happen below a running process.
	running bool
}{
	{"flipped bytes", func(r *rand.Rand, file *os.File, size int64) error {
		for range 100 {
			if err := flip(file, r.Int64N(size)); err != nil {
				return err
			}
		}
		return nil
	}, true},
	{"zeroed pages", func(r *rand.Rand, file *os.File, size int64) error {
		for range 5 {
			if _, err := file.WriteAt(make([]byte, pageSize), r.Int64N(size/pageSize)*pageSize); err != nil {
				return err
			}
		}
		return nil
	}, true},
	{"one flipped byte in each page", func(r *rand.Rand, file *os.File, size int64) error {
		for at := int64(0); at < size; at += pageSize {
			if err := flip(file, at+r.Int64N(pageSize)); err != nil {
				return err
			}
		}
		return nil
	}, true},
	{"swapped pages", func(r *rand.Rand, file *os.File, size int64) error {
		a, b := make([]byte, pageSize), make([]byte, pageSize)
		at, other := r.Int64N(size/pageSize)*pageSize, r.Int64N(size/pageSize)*pageSize
		for _, step := range []func() (int, error){
			func() (int, error) { return file.ReadAt(a, at) }, func() (int, error) { return file.ReadAt(b, other) },
			func() (int, error) { return file.WriteAt(b, at) }, func() (int, error) { return file.WriteAt(a, other) },
		} {
			if _, err := step(); err != nil {
				return err
			}
		}
		return nil
	}, true},
	{"truncation", func(r *rand.Rand, file *os.File, size int64) error { return file.Truncate(r.Int64N(size)) }, false},
	{"an empty file", func(_ *rand.Rand, file *os.File, _ int64) error { return file.Truncate(0) }, false},
	{"garbage for a header", func(_ *rand.Rand, file *os.File, _ int64) error {
		_, err := file.WriteAt([]byte(strings.Repeat("garbage!", 4*pageSize/8)), 0)
		return err
	}, false},
}

func flip(file *os.File, at int64) error {
	b := make([]byte, 1)
	if _, err := file.ReadAt(b, at); err != nil {
		return err
	}
	b[0] ^= 0x5a
	_, err := file.WriteAt(b, at)
	return err
}

func (p *process) damage(r *rand.Rand, do func(r *rand.Rand, file *os.File, size int64) error) {
	t := p.cell.t
	t.Helper()
	file, err := os.OpenFile(p.file("local.db"), os.O_RDWR, 0)
	must(t, err)
	info, err := file.Stat()
	must(t, err)
	must(t, do(r, file, info.Size()))
	must(t, file.Close())
}

// TestDamagedLocalStore damages the local store of a host, stopped or running,
// with the store at hand and without. The host never answers with a wrong value
// or an older one, and heals by itself. A short run takes one way for each damage.
func TestDamagedLocalStore(t *testing.T) {
	t.Parallel()
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("repeat with: go test ./test/chaos -run TestDamagedLocalStore -chaos.seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	c := begin(t, shape{controls: 1, hosts: 1})
	h, want := c.hosts[0], map[string]string{}
	for i := range 16 {
		name := fmt.Sprintf("secret/%02d", i)
		want[name] = fmt.Sprint("value of ", name, strings.Repeat(".", r.IntN(4000)))
		must(t, h.create(t.Context(), name, want[name]))
	}
	for _, d := range damages {
		ways := []string{"stopped", "without the store"}
		if d.running {
			ways = append(ways, "running")
		}
		if *durationFlag < time.Minute {
			ways = []string{pick(r, ways)}
		}
		for _, how := range ways {
			c.settled()
			t.Logf("%s, %s", d.name, how)
			switch how {
			case "running":
				h.damage(r, d.do)
			default:
				h.kill()
				h.damage(r, d.do)
				if how == "without the store" {
					c.controls[0].kill()
				}
				h.start()
			}
			h.alive()
			h.neverWrong(want)
			if how == "without the store" {
				c.controls[0].start()
			}
			h.heals(want)
		}
	}
}

// alive waits until the process answers at all.
func (p *process) alive() {
	p.cell.t.Helper()
	p.cell.eventually(p.id+" answers", func(ctx context.Context) error {
		_, err := p.admin(ctx, "/healthz")
		return err
	})
}

// neverWrong reads everything: each answer is the value, or says that it cannot
// be had now.
func (p *process) neverWrong(want map[string]string) {
	p.cell.t.Helper()
	for name := range want {
		p.notWrong(p.cell.t.Context(), name, want[name])
	}
}

// notWrong reads one value; an error must be one that says to ask again.
func (p *process) notWrong(ctx context.Context, name, value string) (*lifeboatv1.GetSecretValueResponse, error) {
	p.cell.t.Helper()
	answer, err := p.get(ctx, name, "")
	switch codeOf(err) {
	case "", secret.CodeUnavailable, secret.CodeCorrupt, outOfTime:
	default:
		p.cell.t.Errorf("%s answers %v for %s", p.id, err, name)
	}
	if err == nil && string(answer.GetValue()) != value {
		p.cell.t.Errorf("%s answers %q for %s", p.id, answer.GetValue(), name)
	}
	return answer, err
}

// heals waits until the process answers everything from its own local store.
func (p *process) heals(want map[string]string) {
	p.cell.t.Helper()
	p.cell.eventually("the local store is whole", func(ctx context.Context) error {
		c := p.client(p.cell.admin)
		list, _, err := invoke(ctx, c.secrets.ListSecrets, c, &lifeboatv1.ListSecretsRequest{Vault: vaultName, PageSize: 500})
		if err != nil {
			return err
		}
		if len(list.GetSecrets()) != len(want) || list.GetFreshness().GetFromStore() {
			return fmt.Errorf("a list has %d of %d secrets, %v", len(list.GetSecrets()), len(want), list.GetFreshness())
		}
		for name, value := range want {
			answer, err := p.notWrong(ctx, name, value)
			if answer.GetFreshness().GetFromStore() {
				err = fmt.Errorf("%s is answered from the store", name)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}
