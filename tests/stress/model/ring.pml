/* The ring and a cell under crashes and a memory weaker than TSO.
 *
 * The writer's stores go into a buffer and reach memory out of order where nothing forbids it: two stores to
 * one location keep their order, a release store waits for all before it, nothing passes a release fence.
 * That is what C11 and arm64 (multi-copy atomic) allow. The reader's relaxed loads may go in any order between
 * their acquire load and their acquire fence. A dead writer's buffer drains: a kill falls between two
 * instructions, and the lock that its successor takes is a barrier.
 *
 * W1.., R1.., C1.., D1.., T1.. are the labels of shm/atomics.h. M_<NAME> is the model's own mutant.
 *   -DRING: a raw cursor, I1 I2 I3 I5.   -DJOIN: a late joiner on one instrument whose record n says n: I1 (cell),
 *   I5, I11 (no change missing, none twice), I12 (no dead epoch).
 * -DN= slots, -DM= records, -DCRASHES= */
#ifndef N
#define N 4
#endif
#ifndef M
#define M 6
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#define HALF (N / 2)

/* -- memory ----------------------------------------------------------------------------------------------- */
#define SEQ(n) (3 * ((n) % N))
#define WORD_A(n) (3 * ((n) % N) + 1)
#define WORD_B(n) (3 * ((n) % N) + 2)
#define HEAD (3 * N)
#define CELL (3 * N + 1)
#define CELL_VALUE (3 * N + 2)
#define CELL_RING_SEQ (3 * N + 3)
#define CELL_EPOCH (3 * N + 4)
#define EPOCH (3 * N + 5)
byte mem[3 * N + 6];

#define PLAIN 0
#define RELEASE 1
#define FENCE 2
#define K 4
byte b_loc[K], b_val[K], b_kind[K], b_n;

#define LEAVES(i) (b_n > i && b_kind[i] == PLAIN)
#define FREE(i, j) (b_kind[j] != FENCE && b_loc[j] != b_loc[i])

inline drain(i)
{
	d_step {
		if
		:: b_kind[i] != FENCE -> mem[b_loc[i]] = b_val[i]
		:: else
		fi;
		j = i;
		do
		:: j + 1 < b_n -> b_loc[j] = b_loc[j + 1]; b_val[j] = b_val[j + 1]; b_kind[j] = b_kind[j + 1]; j++
		:: else -> break
		od;
		b_n--; b_loc[b_n] = 0; b_val[b_n] = 0; b_kind[b_n] = 0; j = 0
	}
}

active proctype Buffer()
{
	byte j;
end:	do
	:: b_n > 0 -> drain(0)
	:: LEAVES(1) && FREE(1, 0) -> drain(1)
	:: LEAVES(2) && FREE(2, 0) && FREE(2, 1) -> drain(2)
	:: LEAVES(3) && FREE(3, 0) && FREE(3, 1) && FREE(3, 2) -> drain(3)
	od
}

/* -- writer ----------------------------------------------------------------------------------------------- */
#define CONTENT(n, e) ((e) * 16 + (n))
byte crashes, begun, accepted[M + 1];
bit finished;

/* Before each store it may die. */
#define STORE(l, v, k) \
	if \
	:: atomic { crashes < CRASHES -> crashes++; goto dead } \
	:: atomic { b_n < K -> b_loc[b_n] = l; b_val[b_n] = v; b_kind[b_n] = k; b_n++ } \
	fi

active proctype Writer()
{
	byte next, records, epoch, cell, begin;

start:	atomic { b_n == 0 -> epoch = mem[EPOCH] + 1; cell = mem[CELL] }
	STORE(EPOCH, epoch, RELEASE); /* T1 */
	d_step { /* T3; the buffer holds nothing of the ring */
		next = mem[HEAD] + 1;
#ifdef M_SHORT_SCAN
		if
		:: mem[SEQ(next)] == next -> next++
		:: else
		fi
#else
		do
		:: mem[SEQ(next)] == next -> next++
		:: else -> break
		od
#endif
	}
	STORE(HEAD, next - 1, RELEASE); /* T4 */
#ifdef JOIN
	/* The new writer says that the content is being rebuilt: a change of one word, the others stay. */
	if
#ifdef M_REPAIR
	:: true ->
#else
	:: !(cell & 1) ->
#endif
		begin = (cell + 1) | 1;
		STORE(CELL, begin, PLAIN);
		STORE(0, 0, FENCE);
		STORE(CELL, begin + 1, RELEASE);
		cell = begin + 1
#ifndef M_REPAIR
	:: else
#endif
	fi;
#endif
	do
	:: next > M -> break
	:: next <= M ->
		/* one update: any number of records up to half of the ring */
		records = 0;
		do
		:: records < HALF && next <= M ->
			atomic { begun = (begun > next -> begun : next) }
#ifndef M_NO_PRE_INVALIDATE
			STORE(SEQ(next), 0, PLAIN); /* W1 */
#ifndef M_NO_W2
			STORE(0, 0, FENCE); /* W2 */
#endif
#endif
			STORE(WORD_A(next), CONTENT(next, epoch), PLAIN); /* W3 */
			STORE(WORD_B(next), CONTENT(next, epoch), PLAIN); /* W3 */
			assert(accepted[next] == 0 || accepted[next] == CONTENT(next, epoch)); /* I2, I5: used once */
#ifdef M_W4_RELAXED
			STORE(SEQ(next), next, PLAIN);
#else
			STORE(SEQ(next), next, RELEASE); /* W4 */
#endif
			next++;
			records++
		:: records > 0 -> break
		od;
#ifdef M_HEAD_FIRST
		STORE(HEAD, next - 1, RELEASE);
#endif
#ifdef JOIN
#ifdef M_CELL_BEGIN
		begin = cell + 1;
#else
		begin = (cell + 1) | 1;
#endif
		STORE(CELL, begin, PLAIN); /* C1 */
#ifndef M_NO_C2
		STORE(0, 0, FENCE); /* C2 */
#endif
		STORE(CELL_VALUE, next - 1, PLAIN); /* C3 */
		STORE(CELL_RING_SEQ, next - 1, PLAIN); /* C3 */
		STORE(CELL_EPOCH, epoch, PLAIN); /* C3 */
#ifdef M_C4_RELAXED
		STORE(CELL, begin + 1, PLAIN);
#else
		STORE(CELL, begin + 1, RELEASE); /* C4 */
#endif
		cell = begin + 1;
#endif
#ifdef M_W5_RELAXED
		STORE(HEAD, next - 1, PLAIN);
#else
		STORE(HEAD, next - 1, RELEASE); /* W5 */
#endif
	od;
	atomic { b_n == 0 -> finished = 1; goto done }
dead:	goto start;
done:	skip
}

/* -- reading one record: the answer is in `answer` ---------------------------------------------------------- */
#define EMPTY 0
#define GOT 1
#define LAPPED 2

inline copy()
{
#ifdef M_NO_R3 /* without the fence the re-check may be done before the copy */
	if
	:: seq = mem[SEQ(n)]; a = mem[WORD_A(n)]; b = mem[WORD_B(n)]
	:: a = mem[WORD_A(n)]; b = mem[WORD_B(n)]; seq = mem[SEQ(n)]
	fi
#else
	if /* R2, in any order */
	:: a = mem[WORD_A(n)]; b = mem[WORD_B(n)]
	:: b = mem[WORD_B(n)]; a = mem[WORD_A(n)]
	fi;
#ifndef M_NO_RECHECK
	seq = mem[SEQ(n)] /* R3, R4 */
#endif
#endif
}

inline read_record()
{
	answer = EMPTY;
#ifdef M_R1_RELAXED /* without acquire the copy may be done before the sequence is seen */
	a = mem[WORD_A(n)]; b = mem[WORD_B(n)];
#endif
	seq = mem[SEQ(n)]; /* R1 */
	if
	:: seq == 0 ->
#ifdef M_ZERO_IS_LAPPED
		answer = LAPPED
#else
		h = mem[HEAD]; /* R5 */
		if
		:: h < n
		:: h >= n ->
#ifdef M_NO_SECOND_LOOK
			answer = LAPPED
#else
			seq = mem[SEQ(n)]; /* R6 */
			if
			:: seq == 0 -> answer = LAPPED
			:: else
			fi
#endif
		fi
#endif
	:: else
	fi;
	if
	:: answer == EMPTY && seq == n ->
#ifdef M_R1_RELAXED
		seq = mem[SEQ(n)];
#else
		copy();
#endif
		answer = (seq == n -> GOT : LAPPED)
	:: answer == EMPTY && seq > n -> answer = LAPPED
	:: else
	fi;
	seq = 0; h = 0
}

#ifdef RING
active proctype Reader()
{
	byte n = 1, seq, a, b, h, answer, got, lost, last, before;

	do
	:: finished && n > mem[HEAD] -> break
	:: else ->
		before = mem[HEAD];
		read_record();
		if
		:: answer == GOT ->
			assert(a == b && a % 16 == n); /* I1 */
			assert(n > last); /* I2 */
			atomic { last = n; accepted[n] = a; got++; n++ }
		:: answer == LAPPED ->
			assert(begun >= n + N); /* no loss is reported that did not happen */
			h = mem[HEAD]; /* R7 */
			atomic {
				h = (h > HALF -> h - HALF : 0);
				h = (h > n -> h : n + 1);
				lost = lost + h - n; n = h; h = 0
			}
		:: else -> assert(before < n) /* empty although published */
		fi;
		atomic { a = 0; b = 0; answer = 0; before = 0 }
	od;
	assert(got + lost == mem[HEAD] && n == mem[HEAD] + 1) /* I3 */
}
#endif

#ifdef JOIN
active proctype Joiner()
{
	byte n, seq, a, b, h, answer, value, ring_seq, epoch, known;

	known = mem[EPOCH];
	n = mem[HEAD] + 1; /* H */
	seq = mem[CELL]; /* D1 */
	if
	:: seq & 1 || seq == 0 -> goto out
	:: else
	fi;
#ifdef M_NO_D3
	h = mem[CELL];
#endif
	if /* D2, in any order */
	:: value = mem[CELL_VALUE]; ring_seq = mem[CELL_RING_SEQ]; epoch = mem[CELL_EPOCH]
	:: epoch = mem[CELL_EPOCH]; ring_seq = mem[CELL_RING_SEQ]; value = mem[CELL_VALUE]
	fi;
#ifndef M_NO_D3
	h = mem[CELL]; /* D3, D4 */
#endif
	if
	:: h != seq -> goto out
	:: else
	fi;
	assert(value == ring_seq); /* I1: torn cell */
#ifndef M_NO_EPOCH_CHECK
	if
	:: mem[EPOCH] != epoch -> goto out /* L3 */
	:: else
	fi;
#endif
	assert(epoch >= known); /* I12: LIVE from a dead epoch */
	seq = 0; h = 0;
	do
	:: read_record();
		if
		:: answer == GOT ->
			assert(a == b && a % 16 == n);
			if
			:: a / 16 > epoch -> break /* a new writer: the window is dropped */
			:: else
			fi;
			if
#ifndef M_NO_RING_SEQ
			:: n <= ring_seq
#endif
#ifdef M_NO_RING_SEQ
			:: true ->
#else
			:: n > ring_seq ->
#endif
				assert(n == value + 1); /* I11: none missing, none twice */
				value = n
			fi;
			n++
		:: answer == LAPPED -> break
		:: else ->
			if
			:: finished && n > mem[HEAD] ->
				/* nothing is left: the fold is what the cell says, unless a new writer came */
				assert(mem[EPOCH] != epoch || value == mem[CELL_VALUE]);
				break
			:: else
			fi
		fi;
		a = 0; b = 0; answer = 0
	od;
out:	skip
}
#endif
