package client

import (
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// about is what a request is about, as far as that decides which region it goes to.
type about struct {
	// vault and secret are as the request names them; the account, or the region, stands
	// for the vault in requests that are about none.
	vault, secret string
}

// aboutOf reads it off a request.
func aboutOf(in proto.Message) about {
	m := in.ProtoReflect()
	fields := m.Descriptor().Fields()
	text := func(name protoreflect.Name) string {
		f := fields.ByName(name)
		if f == nil || f.Kind() != protoreflect.StringKind || f.IsList() {
			return ""
		}
		return m.Get(f).String()
	}
	a := about{vault: text("vault"), secret: text("secret")}
	if a.vault == "" {
		switch vault, _, ok := strings.Cut(a.secret, "."); {
		case ok: // the ID of a secret
			a.vault = vault
		case fields.ByName("account") == nil && text("region") != "":
			a.vault = "region " + text("region")
		default:
			a.vault = "account " + text("account")
		}
	}
	return a
}

// foreign reports whether it may be of another account than the caller's.
func (a about) foreign() bool { return strings.Contains(a.vault, "/") }

// maxRemembered bounds what a client remembers of where things are. What is
// forgotten costs a request when it is needed again.
const maxRemembered = 4096

// homes remembers the home regions that were learned, of vaults and of single
// secrets whose home was named. Safe for concurrent use.
type homes struct {
	mu    sync.Mutex
	known map[about]string
}

// of returns the home of what a request is about, empty if it is not known.
func (h *homes) of(a about) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if home, ok := h.known[a]; ok {
		return home
	}
	return h.known[about{vault: a.vault}]
}

// learn takes note of a home. That of a secret is expected of others in its vault
// too, since they mostly move together.
func (h *homes) learn(a about, home string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.known == nil || len(h.known) >= maxRemembered {
		h.known = map[about]string{}
	}
	h.known[about{vault: a.vault}] = home
	h.known[a] = home
}

// absentFor is how long a region that did not hold a vault is not asked for it, but
// as the last one, give or take half.
const absentFor = 10 * time.Second

// absences remembers which regions do not hold what. Safe for concurrent use.
type absences struct {
	mu    sync.Mutex
	until map[absence]time.Time
}

type absence struct{ vault, region string }

func (a *absences) note(vault, region string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.until == nil || len(a.until) >= maxRemembered {
		a.until = map[absence]time.Time{}
	}
	a.until[absence{vault, region}] = time.Now().Add(absentFor/2 + rand.N(absentFor)) //nolint:gosec // need not be hard to guess
}

func (a *absences) known(vault, region string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	until, ok := a.until[absence{vault, region}]
	if ok && time.Now().After(until) {
		delete(a.until, absence{vault, region})
		return false
	}
	return ok
}
