/* Take-over and the LIVE check (I12) in a memory weaker than TSO: the writer's stores leave its buffer out of order
 * where no release store forbids it. The first writer has written its cell LIVE and died within the heartbeat
 * limit; the supervisor may have stored DOWN, or not yet; the second takes over and writes the cell again. */
#define DOWN 0
#define RESYNC 1
#define LIVE 3
byte epoch = 1, state = LIVE, beat = 1, cell_epoch = 1;
bit late_epoch, late_state, late_beat, late_cell; /* stores of the second writer still in its buffer */
bit lapsed; /* the first writer's prices are known to be dead: DOWN is stored, or the new epoch, or the limit is past */

active proctype Memory()
{
end:	do
	:: atomic { late_epoch -> epoch = 2; lapsed = 1; late_epoch = 0 } /* T1 */
#ifdef M_T2_RELAXED
	:: atomic { late_state -> state = RESYNC; late_state = 0 }
#else
	:: atomic { late_state && !late_epoch -> state = RESYNC; late_state = 0 } /* T2, release */
#endif
#ifdef M_T5_RELAXED
	:: atomic { late_beat -> beat = 2; late_beat = 0 }
#else
	:: atomic { late_beat && !late_epoch && !late_state -> beat = 2; late_beat = 0 } /* T5, release */
#endif
	:: atomic { late_cell && !late_epoch && !late_state && !late_beat -> cell_epoch = 2; late_cell = 0 } /* C4 */
	od
}

active proctype Writers()
{
	if
	:: atomic { state = DOWN; lapsed = 1 } /* the supervisor */
	:: skip /* the restart was quicker, or the supervisor is dead too */
	fi;
	if
	:: atomic { beat = 0; lapsed = 1 } /* the limit passes */
	:: skip
	fi;
#ifdef M_STATE_FIRST
	late_state = 1; !late_state;
#endif
	late_epoch = 1;
#ifndef M_STATE_FIRST
	late_state = 1;
#endif
	late_beat = 1;
	late_cell = 1
}

active proctype Reader()
{
	byte e, s, b, c;
	bit known;
	byte rounds;

	do
	:: rounds == 3 -> break
	:: else ->
		known = lapsed;
		c = cell_epoch; /* D1 .. D4, LIVE in both */
		b = beat; /* L1 */
#ifdef M_L3_EARLY
		e = epoch;
#endif
		s = state; /* L2 */
#ifndef M_L3_EARLY
		e = epoch; /* L3 */
#endif
		assert(!(b != 0 && s != DOWN && e == c && known && c == 1)); /* I12 */
		atomic { rounds++; e = 0; s = 0; b = 0; c = 0; known = 0 }
	od
}
