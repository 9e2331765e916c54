//go:build !faultpoints

package chaos_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

const (
	// maxPuts per register leaves all versions in place: none is pruned.
	maxPuts     = 90
	maxVersions = 100
	// attemptTimeout bounds one request, attempts how often a put is repeated
	// with its request token before its outcome stays unknown.
	attemptTimeout = 3 * time.Second
	attempts       = 6
)

// load is clients of a cell, and what they saw.
type load struct {
	cell   *cell
	canary string
	// prefix is that of the names of all secrets.
	prefix string
	began  time.Time
	random func(client uint64) *rand.Rand

	registers []string
	stable    []string
	history   history

	mu sync.Mutex
	// latest is the newest revision token that any client has of a register.
	latest map[string]token
	puts   map[string]int
	// churned are secrets that were created for once, by name.
	churned map[string]*churn
	// acknowledged are the IDs of the requests that a mutation was acknowledged to.
	acknowledged []string
	walks        int
	answers      map[secret.Code]int
	wrong        []error
}

type token struct {
	text string
	seq  uint64
}

// churn is a secret that is created, and perhaps purged. The outcomes are codes;
// purged is set if that was asked for.
type churn struct {
	value           string
	created, purged secret.Code
	purge           bool
}

func seqOf(revisionToken string) token {
	parsed, err := service.ParseRevisionToken(revisionToken)
	if err != nil {
		panic(err) // nothing but what the region gave is parsed
	}
	return token{text: revisionToken, seq: parsed.Order.Seq}
}

// newLoad makes the secrets that the clients use.
func newLoad(c *cell, seed uint64, prefix string) *load {
	l := &load{
		cell: c, canary: "cnry" + ulid.Make().String(), prefix: prefix, began: time.Now(),
		random: func(client uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, client)) },
		latest: map[string]token{}, puts: map[string]int{}, churned: map[string]*churn{}, answers: map[secret.Code]int{},
	}
	for i := range 6 {
		l.registers = append(l.registers, fmt.Sprint(prefix, "register/", i))
		l.create(l.registers[i])
	}
	for i := range 20 {
		l.stable = append(l.stable, fmt.Sprintf("%sstable/%02d", prefix, i))
		l.create(l.stable[i])
	}
	l.stable = slices.Sorted(slices.Values(append(l.stable, l.registers...)))
	c.settled()
	return l
}

// create makes one of the secrets that exist throughout.
func (l *load) create(name string) {
	c := l.cell.controls[0].client(l.cell.admin)
	o := operation{secret: name, put: true, value: l.value(), began: l.now()}
	made, id, err := invoke(l.cell.t.Context(), c.secrets.CreateSecret, c, &lifeboatv1.CreateSecretRequest{
		Vault: vaultName, Name: name, Value: []byte(o.value), Description: "description " + l.canary,
		Metadata: map[string]string{"note": "metadata " + l.canary}, Retention: &lifeboatv1.Retention{MaxVersions: maxVersions},
	})
	must(l.cell.t, err)
	state := seqOf(made.GetRevisionToken())
	o.ended, o.seq = l.now(), state.seq
	l.latest[name] = state
	l.acknowledged = append(l.acknowledged, id)
	l.history.add(o)
}

func (l *load) now() time.Duration { return time.Since(l.began) }

// value is unique and contains the canary.
func (l *load) value() string { return l.canary + "-" + ulid.Make().String() }

// run lets all clients work until ctx ends.
func (l *load) run(ctx context.Context) {
	var clients sync.WaitGroup
	client := 0
	begin := func(n int, pace time.Duration, work func(ctx context.Context, client int, r *rand.Rand)) {
		for range n {
			client++
			id, r := client, l.random(uint64(client))
			clients.Go(func() {
				tick := time.NewTicker(pace)
				defer tick.Stop()
				for ctx.Err() == nil {
					work(ctx, id, r)
					select {
					case <-ctx.Done():
					case <-tick.C:
					}
				}
			})
		}
	}
	sessions := sync.Map{} // client and register → token
	begin(4, 20*time.Millisecond, func(ctx context.Context, client int, r *rand.Rand) { l.put(client, r, &sessions) })
	begin(4, 10*time.Millisecond, func(ctx context.Context, client int, r *rand.Rand) {
		l.readInSession(ctx, client, l.process(r), pick(r, l.registers), &sessions)
	})
	begin(4, 10*time.Millisecond, func(ctx context.Context, client int, r *rand.Rand) { l.readLatest(ctx, client, r) })
	begin(2, 10*time.Millisecond, func(ctx context.Context, client int, r *rand.Rand) { l.readAny(ctx, client, r) })
	begin(2, 30*time.Millisecond, func(ctx context.Context, client int, r *rand.Rand) { l.createAndPurge(r) })
	begin(2, 30*time.Millisecond, func(ctx context.Context, client int, r *rand.Rand) { l.walk(ctx, r) })
	clients.Wait()
}

func pick[T any](r *rand.Rand, of []T) T { return of[r.IntN(len(of))] }

func (l *load) process(r *rand.Rand) *process { return pick(r, l.cell.processes()) }

// answered counts an answer. Codes that the faults do not explain are wrong.
func (l *load) answered(what string, p *process, err error, explained ...secret.Code) secret.Code {
	code := codeOf(err)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answers[secret.Code(what)+" "+code]++
	if code != "" && code != noAnswer && code != outOfTime && !slices.Contains(explained, code) {
		l.wrong = append(l.wrong, fmt.Errorf("%s at %s answers %q: %w", what, p.id, code, err))
	}
	return code
}

// observe remembers the newest token and an acknowledged request.
func (l *load) observe(register, revisionToken string) token {
	state := seqOf(revisionToken)
	l.mu.Lock()
	defer l.mu.Unlock()
	if state.seq > l.latest[register].seq {
		l.latest[register] = state
	}
	return state
}

func (l *load) acknowledge(request string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acknowledged = append(l.acknowledged, request)
}

type sessionKey struct {
	client   int
	register string
}

// put adds a version to a register, repeating the request with the same request
// token at other processes while its outcome is unknown. Then it reads it.
func (l *load) put(client int, r *rand.Rand, sessions *sync.Map) {
	name := pick(r, l.registers)
	l.mu.Lock()
	l.puts[name]++
	enough := l.puts[name] > maxPuts
	l.mu.Unlock()
	if enough {
		return
	}
	o := operation{secret: name, put: true, session: true, client: client, value: l.value(), began: l.now()}
	request := &lifeboatv1.PutSecretVersionRequest{Vault: vaultName, Secret: name, Value: []byte(o.value), RequestToken: ulid.Make().String()}
	if r.IntN(4) == 0 {
		request.Wait = lifeboatv1.Wait_WAIT_CLEARED
	}
	o.refused = true
	for range attempts {
		p := l.process(r)
		answer, id, err := l.putOnce(p, request)
		o.code = l.answered("put", p, err, secret.CodeUnavailable, secret.CodeOutcomeUnknown)
		o.refused = o.refused && o.code == secret.CodeUnavailable
		if err != nil {
			wait(l.cell.t.Context(), r, 20*time.Millisecond, 400*time.Millisecond)
			continue
		}
		state := l.observe(name, answer.GetRevisionToken())
		// A replay answers with the state of now, which may be a later one.
		o.seq, o.ended = answer.GetVersion().GetNumber(), l.now()
		if o.seq > state.seq {
			l.answered("put of a state after the answer's", p, fmt.Errorf("%s", o))
		}
		l.acknowledge(id)
		sessions.Store(sessionKey{client, name}, state)
		break
	}
	l.history.add(o)
	if o.known() {
		ctx, cancel := context.WithTimeout(l.cell.t.Context(), attemptTimeout)
		defer cancel()
		l.readInSession(ctx, client, l.process(r), name, sessions)
	}
}

func (l *load) putOnce(p *process, request *lifeboatv1.PutSecretVersionRequest) (*lifeboatv1.PutSecretVersionResponse, string, error) {
	ctx, cancel := context.WithTimeout(l.cell.t.Context(), attemptTimeout)
	defer cancel()
	c := p.client(l.cell.admin)
	return invoke(ctx, c.secrets.PutSecretVersion, c, request)
}

// readInSession reads with the client's own token, wherever it got it.
func (l *load) readInSession(ctx context.Context, client int, p *process, register string, sessions *sync.Map) {
	var mine token
	if t, ok := sessions.Load(sessionKey{client, register}); ok {
		mine = t.(token)
	}
	state, ok := l.read(ctx, p, operation{secret: register, client: client, session: true, began: l.now()}, mine)
	if ok {
		sessions.Store(sessionKey{client, register}, state)
	}
}

// readLatest reads with the newest token that any client has.
func (l *load) readLatest(ctx context.Context, client int, r *rand.Rand) {
	// It begins before the token is looked up: what ends in between may be newer.
	o := operation{secret: pick(r, l.registers), client: client, latest: true, began: l.now()}
	l.mu.Lock()
	newest := l.latest[o.secret]
	l.mu.Unlock()
	l.read(ctx, l.process(r), o, newest)
}

// readAny reads without a token.
func (l *load) readAny(ctx context.Context, client int, r *rand.Rand) {
	l.read(ctx, l.process(r), operation{secret: pick(r, l.registers), client: client, began: l.now()}, token{})
}

func (l *load) read(ctx context.Context, p *process, o operation, needs token) (token, bool) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	c := p.client(l.cell.admin)
	o.needs = needs.seq
	answer, _, err := invoke(ctx, c.secrets.GetSecretValue, c, &lifeboatv1.GetSecretValueRequest{
		Vault: vaultName, Secret: o.secret, RevisionToken: needs.text,
	})
	if needs.text == "" {
		o.code = l.answered("read", p, err)
	} else {
		o.code = l.answered("read with a token", p, err, secret.CodeNotReached)
	}
	var state token
	if err == nil {
		state = l.observe(o.secret, answer.GetRevisionToken())
		o.seq, o.value = state.seq, string(answer.GetValue())
	}
	o.ended = l.now() // from here on a read with the newest token must not be older
	l.history.add(o)
	return state, err == nil
}

// createAndPurge creates a secret and purges about half of them.
func (l *load) createAndPurge(r *rand.Rand) {
	ctx, cancel := context.WithTimeout(l.cell.t.Context(), attemptTimeout)
	defer cancel()
	made := &churn{value: l.value()}
	name := l.prefix + "churn/" + ulid.Make().String()
	p := l.process(r)
	c := p.client(l.cell.admin)
	_, id, err := invoke(ctx, c.secrets.CreateSecret, c, &lifeboatv1.CreateSecretRequest{Vault: vaultName, Name: name, Value: []byte(made.value)})
	made.created = l.answered("create", p, err, secret.CodeUnavailable, secret.CodeOutcomeUnknown)
	if err == nil {
		l.acknowledge(id)
	}
	if made.purge = r.IntN(2) == 0; made.purge {
		p = l.process(r)
		c = p.client(l.cell.admin)
		_, id, err = invoke(ctx, c.secrets.DeleteSecret, c, &lifeboatv1.DeleteSecretRequest{Vault: vaultName, Secret: name, Immediate: true})
		explained := []secret.Code{secret.CodeUnavailable, secret.CodeOutcomeUnknown}
		if made.created != "" {
			explained = append(explained, secret.CodeNotFound)
		}
		if made.purged = l.answered("purge", p, err, explained...); err == nil {
			l.acknowledge(id)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.churned[name] = made
}

// walk lists all secrets at one process, page by page: those that exist
// throughout must be there once each, in the order of their names.
func (l *load) walk(ctx context.Context, r *rand.Rand) {
	p := l.process(r)
	c := p.client(l.cell.admin)
	var found []string
	for page := ""; ; {
		attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
		answer, _, err := invoke(attempt, c.secrets.ListSecrets, c, &lifeboatv1.ListSecretsRequest{
			Vault: vaultName, NamePrefix: l.prefix, PageSize: 7, PageToken: page,
		})
		cancel()
		if l.answered("list", p, err) != "" {
			return
		}
		for _, s := range answer.GetSecrets() {
			found = append(found, s.GetName())
		}
		if page = answer.GetNextPageToken(); page == "" {
			break
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.walks++
	if !slices.IsSorted(found) || len(slices.Compact(slices.Clone(found))) != len(found) {
		l.wrong = append(l.wrong, fmt.Errorf("a list at %s is not in order: %q", p.id, found))
	}
	for _, name := range l.stable {
		if !slices.Contains(found, name) {
			l.wrong = append(l.wrong, fmt.Errorf("a list at %s lacks %s: %q", p.id, name, found))
		}
	}
}
