/*
 * The home of one record in three regions: mutations, planned moves, takeovers of the
 * first home (SOUTH) by the others, its return, and a shipment that is late or lost.
 * Callers and operators act a bounded number of times; everything else goes on by
 * itself, in any order. Checked are that no copy goes back (G3), that no acknowledged
 * write is lost (G7), that an order is that of one state, that a region which knows it
 * was taken over acknowledges nothing that becomes a conflict, and that in every run
 * all regions agree in the end (G6).
 *
 * An heir may move the record before it has asked, or been told, what another survivor
 * holds; that it asks if a comparison shows something newer is checked by the search.
 *
 * Each of these defines leaves a rule out: NO_EPOCH, NO_LINEAGE, BY_NUMBER, GOES_ON,
 * ENDS_EARLY, MOVES_ON, NAMES_TARGET, HANDS_OVER_SILENTLY.
 */
#ifndef WRITES
#define WRITES 2
#endif
#ifndef TAKEOVERS
#define TAKEOVERS 1
#endif
#ifndef MOVES
#define MOVES 1
#endif
#ifndef LATE
#define LATE 1
#endif

#define N       3
#define SOUTH   1 /* sorts between the others, so that each of them wins against one */
#define SLOT    3 /* the late shipment, beside the copies of the regions */
#define FORKS   4
#define others(r)  (7 & ~(1 << (r)))

/* An epoch is counter * 4 + the region that began it. */
#define EPOCH(counter, region) ((counter) * 4 + (region))

/* What regions hold: lineages say which epoch was left, and at which seq. */
byte epoch[4], home[4], seq[4], writes[4], forks[4];
byte left[16], began[16];

byte kept[N];       /* writes in conflicts */
byte waiting[N];    /* regions that are to be told what is held */
bool fenced[N];     /* SOUTH is on the fence: its record moves here */
bool took[N];       /* SOUTH was taken over and has not caught up */
byte superseded;    /* regions that took SOUTH over, as it knows */
bool told;          /* SOUTH ever knew that */

byte acknowledged;  /* writes */
byte warned;        /* writes of SOUTH after it was told */
byte number[WRITES + 1];
byte made, taken, moved, delayed;
byte lateFrom = N, lateTo;

hidden byte i, w, has, past;

#ifdef NO_EPOCH
#define older(s, t) (seq[s] < seq[t])
#define same(s, t)  (seq[s] == seq[t])
#else
#define older(s, t) (epoch[s] < epoch[t] || epoch[s] == epoch[t] && seq[s] < seq[t])
#define same(s, t)  (epoch[s] == epoch[t] && seq[s] == seq[t])
#endif

#ifdef NAMES_TARGET
#define MOVED(r, to) EPOCH(epoch[r] / 4 + 1, to)
#define handedBy(s, r) (left[(s) * FORKS + forks[s] - 1] % 4 == (r))
#else
#define MOVED(r, to) EPOCH(epoch[r] / 4 + 1, r)
#define handedBy(s, r) (epoch[s] % 4 == (r))
#endif
#define TAKEN(t, r) EPOCH(epoch[t] / 4 + 2, r)

#ifdef HANDS_OVER_SILENTLY
#define maySend(s, r) (home[s] == (r))
#else
#define maySend(s, r) (home[s] == (r) || \
	forks[s] > 0 && seq[s] == began[(s) * FORKS + forks[s] - 1] + 1 && handedBy(s, r))
#endif

#ifdef GOES_ON
#define mayWrite(r) true
#else
#define mayWrite(r) !(r == SOUTH && superseded != 0)
#endif

#ifdef MOVES_ON
#define mayMove(r, to) true
#else
#define mayMove(r, to) (!took[r] || to == SOUTH)
#endif

#ifdef ENDS_EARLY
#define hasHeard(r) true
#else
#define hasHeard(r) ((waiting[r] & (1 << SOUTH)) == 0)
#endif

#define agreed (same(0, 1) && same(1, 2) && writes[0] == writes[1] && writes[1] == writes[2] && \
	home[0] == home[1] && home[1] == home[2] && waiting[0] + waiting[1] + waiting[2] == 0 && \
	!took[0] && !took[2] && !fenced[0] && !fenced[2] && superseded == 0)

inline check() {
	assert((acknowledged & ~(writes[0] | writes[1] | writes[2] | kept[0] | kept[1] | kept[2])) == 0);
}

inline copy(f, g) {
	epoch[g] = epoch[f]; home[g] = home[f]; seq[g] = seq[f]; writes[g] = writes[f]; forks[g] = forks[f];
	i = 0;
	do
	:: i < FORKS -> left[g * FORKS + i] = left[f * FORKS + i]; began[g * FORKS + i] = began[f * FORKS + i]; i++
	:: else -> break
	od
}

/* commit is a mutation of a region's own: from then on it is to be told. */
inline commit(c) {
	seq[c]++;
	if
	:: home[c] == c -> waiting[c] = others(c)
	:: else -> waiting[c] = 1 << home[c]
	fi
}

inline begin(b, e, h) {
	left[b * FORKS + forks[b]] = epoch[b]; began[b * FORKS + forks[b]] = seq[b]; forks[b]++;
	epoch[b] = e; home[b] = h;
	commit(b)
}

/* contains sets has if the history that one state is the end of goes through what another one holds. */
inline contains(x, y) {
	has = (epoch[x] == epoch[y] && seq[y] <= seq[x]);
	i = 0;
	do
	:: i < forks[x] -> has = has || (left[x * FORKS + i] == epoch[y] && seq[y] <= began[x * FORKS + i]); i++
	:: else -> break
	od
#ifdef NO_LINEAGE
	has = 1
#endif
}

/* keep puts the versions of what is held that a state does not have into a conflict. */
inline keep(u, v) {
	past = writes[v] & ~writes[u];
#ifdef BY_NUMBER
	i = 0; has = 0;
	do
	:: i < WRITES -> has = has + ((writes[u] >> i) & 1); i++
	:: else -> break
	od;
	i = 0;
	do
	:: i < WRITES && number[i] <= has -> past = past & ~(1 << i); i++
	:: i < WRITES && number[i] > has -> i++
	:: else -> break
	od;
#endif
	assert(TAKEOVERS > 1 || (past & warned) == 0);
	kept[v] = kept[v] | past
}

/* receive is what t does with a state that s holds, or that is late. */
inline receive(s, t, survivor) {
	if
	:: !survivor && t != SOUTH && fenced[t] && home[t] == SOUTH && epoch[s] < TAKEN(t, t) -> skip
	:: else ->
		if
		:: same(s, t) -> assert(home[s] == home[t] && writes[s] == writes[t])
		:: !same(s, t) && older(s, t) -> skip
		:: else ->
			assert(epoch[s] > epoch[t] || epoch[s] == epoch[t] && seq[s] > seq[t]);
			contains(s, t);
			if
			:: has -> skip
			:: else -> keep(s, t)
			fi;
			copy(s, t);
			if
			:: home[t] == t -> waiting[t] = others(t)
			:: else -> waiting[t] = 0
			fi
		fi
	fi;
	check()
}

proctype region(byte r) {
	byte to;
end:	do
	:: atomic { made < WRITES && home[r] == r && mayWrite(r) ->
		writes[r] = writes[r] | (1 << made); acknowledged = acknowledged | (1 << made);
		if
		:: r == SOUTH && told -> warned = warned | (1 << made)
		:: else -> skip
		fi;
		i = 0; number[made] = 0;
		do
		:: i < WRITES -> number[made] = number[made] + ((writes[r] >> i) & 1); i++
		:: else -> break
		od;
		made++; commit(r); check() }

	/* A planned move. */
	:: atomic { moved < MOVES && home[r] == r ->
		if
		:: r != 0 && mayMove(r, 0) -> to = 0
		:: r != 1 && mayMove(r, 1) -> to = 1
		:: r != 2 && mayMove(r, 2) -> to = 2
		fi;
		moved++; begin(r, MOVED(r, to), to); to = 0 }

	/* A takeover: the fence, what survivors hold, the record, the end. */
	:: atomic { r != SOUTH && taken < TAKEOVERS && !took[r] -> taken++; fenced[r] = true; took[r] = true }
	:: atomic { r != SOUTH && fenced[r] && home[r] == SOUTH && home[2 - r] == SOUTH && older(r, 2 - r) -> receive((2 - r), r, true) }
	:: atomic { r != SOUTH && fenced[r] && home[r] == SOUTH -> begin(r, TAKEN(r, r), r) }
	:: atomic { r != SOUTH && fenced[r] && home[r] != SOUTH -> fenced[r] = false }
	:: atomic { r != SOUTH && took[r] && !fenced[r] && hasHeard(r) -> took[r] = false }
	:: atomic { r == SOUTH && superseded != took[0] + 4 * took[2] ->
		superseded = took[0] + 4 * took[2]; told = told || superseded != 0 }

	/* What waits is sent and answered, or sent late. */
	:: atomic { waiting[r] != 0 ->
		if
		:: waiting[r] & 1 -> to = 0
		:: waiting[r] & 2 -> to = 1
		:: waiting[r] & 4 -> to = 2
		fi;
		if
		:: !maySend(r, r) -> waiting[r] = waiting[r] & ~(1 << to)
		:: else ->
			if
			:: waiting[r] = waiting[r] & ~(1 << to); receive(r, to, false)
			:: delayed < LATE && lateFrom == N -> delayed++; copy(r, SLOT); lateFrom = r; lateTo = to
			fi
		fi; to = 0 }
	:: atomic { lateFrom == r ->
		if
		:: maySend(SLOT, r) -> to = lateTo; receive(SLOT, to, false)
		:: true -> skip
		fi; lateFrom = N; lateTo = 0; to = 0;
		epoch[SLOT] = 0; home[SLOT] = 0; seq[SLOT] = 0; writes[SLOT] = 0; forks[SLOT] = 0;
		i = 0;
		do
		:: i < FORKS -> left[SLOT * FORKS + i] = 0; began[SLOT * FORKS + i] = 0; i++
		:: else -> break
		od }
	od
}

init {
	atomic {
		w = 0;
		do
		:: w < N -> epoch[w] = EPOCH(1, SOUTH); home[w] = SOUTH; seq[w] = 1; w++
		:: else -> break
		od;
		run region(0); run region(1); run region(2)
	}
}

ltl converges { <>[] agreed }
