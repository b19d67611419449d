/* The doorbell: no wake-up is lost, in a memory where a store may be seen after a later load (x86 too).
 *
 * Each side has one buffered store a location; a seq_cst fence, a read-modify-write and a system call wait for the
 * own buffer to be empty. `armed` begins up, left by a waiter that died. W5a.., A1.. as in shm/atomics.h. */
#define COMMITS 3
byte head, armed = 1;
byte late_head; /* the writer's buffered head; 0: none */
bit late_armed; /* a waiter's buffered `armed = 1` */
bit asleep, finished;

active proctype Memory()
{
end:	do
	:: atomic { late_head -> head = late_head; late_head = 0 }
	:: atomic { late_armed -> armed = 1; late_armed = 0 }
	od
}

active proctype Writer()
{
	byte n;
	bit waiting, up;

	do
	:: n == COMMITS -> break
	:: else ->
		waiting = 0;
#ifndef M_LATE_DISARM
		up = armed;
		if
		:: up -> atomic { late_head == 0 -> waiting = armed; armed = 0 } /* W5a, an exchange */
		:: else
		fi;
#endif
		n++;
		atomic { late_head == 0 -> late_head = n } /* W5 */
#ifndef M_NO_W6
		late_head == 0; /* W6: the fence */
#endif
		up = armed;
		if
		:: waiting || up ->
#ifdef M_LATE_DISARM
			atomic { late_head == 0 -> armed = 0 }
#endif
			atomic { late_head == 0 -> asleep = 0 } /* W7: a system call */
		:: else
		fi
	od;
	late_head == 0;
	finished = 1
}

active proctype Waiter()
{
	byte seen, h;

	do
	:: seen == COMMITS -> break
	:: else ->
		h = head;
		if
		:: h != seen -> seen = h
		:: else ->
			atomic { !late_armed -> late_armed = 1 } /* A1 */
#ifndef M_NO_A2
			!late_armed; /* A2: the fence */
#endif
			h = head; /* A3 */
			if
			:: h != seen -> seen = h
			:: else ->
				/* A4: the kernel compares and queues as one step */
				if
				:: atomic { !late_armed && head == seen -> asleep = 1 };
					do
					:: !asleep -> break
					:: asleep && finished ->
						assert(head == seen); /* asleep, the head moved, and nobody will come */
						goto out
					od
				:: !late_armed && head != seen
				fi
			fi
		fi;
		h = 0
	od;
out:	skip
}
