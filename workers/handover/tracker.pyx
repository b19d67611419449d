"""What two connections have delivered, while one is to take over from the other; see `workers/handover/handover.pyx`.

A tracker observes the instruments of the old connection (`published`), gets what the new one delivers (`hold`)
and keeps a track of every stream (`workers/handover/overlap.py`), which knows what is new and what is covered. A place
is an instrument and a stream of it: index * STREAMS + stream.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from shm.counters cimport FEED_UNKNOWN
from shm.layout cimport FLAG_SELL, KIND_LIQUIDATION, KIND_MARK, KIND_TICKER, KIND_TRADE, STATE_STALE
from shm._ring cimport Writer
from shm.atomics cimport BOOK_EVENT, TOP_EVENT, TR_GOT, TR_TOP_CELL, tr_at, tr_peek, tr_record, tr_ring_read
from workers.books.book cimport Book
from workers.decode.message cimport F_MARK, F_SNAPSHOT, M_DEPTH, M_LIQUIDATION, M_MARK, M_TICKER, M_TOP, M_TRADE
from workers.decode.message cimport Message
from workers.books.publish cimport Publisher
from workers.handover.shadow cimport Fingerprint, Shadow
from workers.books.window cimport Slot

from shm import _ring, counters, layout
from shm.channels import Channel
from workers.handover.overlap import Ids, States, Times, Trades


# By how much one of a venue's servers may be behind another, ns.
LAG = 10_000_000_000
# How long a handover may have held what it published in the end, ns; so far receive times may be out of order.
HELD = 60_000_000_000
# Trades, tickers, marks and liquidations of the ring that are looked at, at most: so many in one turn of the loop
# take some 50 ms.
MEMORY = 50_000

# Stands for the state of a top that does not fit: no published one is equal to it.
UNFIT = ("unfit",)

cdef enum:
    FACTS = F_MARK | F_MARK << 1 | F_MARK << 2 | F_MARK << 3


cdef inline int _stream(Message* m) noexcept:
    if m.kind == M_DEPTH:
        return BOOK
    if m.kind == M_TRADE:
        return AGG_TRADES if m.payload.trade.trades else TRADES
    if m.kind == M_MARK:
        return MARK
    if m.kind == M_LIQUIDATION:
        return LIQUIDATIONS
    return TICKER if m.kind == M_TICKER else TOP


cdef inline int _part(Message* m) noexcept:
    # Which facts a mark has: `Times` takes each combination as a stream of its own.
    return <int>(m.flags & FACTS) if m.kind == M_MARK else 0


cdef inline object _key(Message* m):
    # What distinguishes the messages of a stream without states. Of a mark only the facts that it has.
    cdef int i
    if m.kind == M_MARK:
        facts = tuple([m.payload.values[i] if m.flags & (F_MARK << i) else None for i in range(4)])
        return (facts, m.ts_event)
    if m.kind == M_LIQUIDATION:
        return _trade_key(m.update_id, 0, m.payload.liquidation.price, m.payload.liquidation.size, m.flags & FLAG_SELL,
                          m.ts_event)
    return _trade_key(m.update_id, m.first_id, m.payload.trade.price, m.payload.trade.size, m.flags & FLAG_SELL,
                      m.ts_event)


cdef inline object _trade_key(uint64_t id, uint64_t first, int64_t price, int64_t size, int sell, int64_t ts):
    # An event time can be that of the message, which differs between connections: only for want of an id.
    # None: nothing distinguishes this trade from another one of its price and size.
    if id:
        return (id, first)
    return (price, size, sell, ts) if ts else None


cdef class HandoverTracker(Observer):
    """Says when nothing that the old connection has delivered is missing in the new one. `failed`: why it knows too
    little to go on; "": it can go on.

    Args:
        topics: (slot, channel) of the old connection.
        max_messages: what it remembers at most. max_latency: see `workers/handover/handover.pyx`. clock: ns.
    """

    def __cinit__(self, Publisher publisher not None, topics, *, Py_ssize_t max_messages=200_000,
                  double max_latency=1.0, clock=_ring.now, **_):
        self.publisher = publisher
        self.clock = clock
        self.max_messages = max_messages
        self.max_latency = <int64_t>(max_latency * 1e9)
        self.failed = ""
        self.topics = set()
        self.tracks = {}
        self.shadows = {}
        self.watched = set()
        self.matches = {}
        for index, channel in topics:
            publisher._check(index)
            if channel.upper() not in Channel.__members__:
                raise ValueError(f"no channel {channel!r}: {', '.join(Channel.__members__).lower()}")
            stream = Channel[channel.upper()]
            if stream == TOP and publisher.slots[<uint32_t>index].top_from_book:
                stream = BOOK  # its top is the best of its book, and comes and goes with it
            self.topics.add(<Py_ssize_t>index * STREAMS + stream)

    def watch(self):
        """From now on."""
        for place in sorted(self.topics):
            self._begin(place // STREAMS, place % STREAMS)
        self._remember(self.topics)

    def _begin(self, uint32_t index, int stream):
        """Watch one stream of an instrument."""
        cdef Slot* slot = &self.publisher.slots[index]
        if index not in self.watched:
            self.watched.add(index)
            self.publisher.hot_path.observe(index, self)
        track = None
        if stream == BOOK and slot.has_book and not slot.id_step:
            self.shadows[index] = Shadow(self.publisher.hot_path.syncs[index], self.publisher.hot_path.checksums[index],
                                         self.publisher.windows.depth, self.publisher.hot_path.max_levels)
            track = States()
        elif stream == TOP and slot.top_state >= STATE_STALE and not slot.top_id:
            track = States()
        elif stream in (TRADES, AGG_TRADES, LIQUIDATIONS):
            track = Trades()
        if track is not None:
            self.tracks[index * STREAMS + stream] = track
        if isinstance(track, States):
            state = self.published_state(index, stream)
            if state is not None:
                track.deliver(state, self.published_time(index, stream))

    def _remember(self, places):
        """What the ring has of the last `LAG` of these streams, `MEMORY` at most: the new connection may be that
        late. Newest first."""
        cdef Writer writer = self.publisher.writer
        cdef tr_record record
        cdef uint64_t seq = writer.ring.next
        cdef int64_t since = self.clock() - <int64_t>LAG
        cdef int kind, left = MEMORY
        cdef Py_ssize_t at
        doubtful = set()
        while seq > 1 and left:
            seq -= 1
            if tr_ring_read(writer.ring.slots, writer.ring.mask, writer.ring.head, seq, &record) != TR_GOT:
                break
            kind = <int>(record.meta >> 32 & 0xFF)
            if record.ts_recv < since:
                if record.ts_recv and record.ts_recv < since - <int64_t>HELD:
                    break
                continue  # receive times are not in order where a handover was
            if kind not in (KIND_TRADE, KIND_TICKER, KIND_MARK, KIND_LIQUIDATION):
                continue
            left -= 1
            at = <Py_ssize_t><uint32_t>record.meta * STREAMS
            if kind == KIND_TICKER or kind == KIND_MARK:
                at += TICKER if kind == KIND_TICKER else MARK
                if at in places and record.ts_event:
                    self.tracks.setdefault(at, Times()).deliver(record.ts_event)
                continue
            if kind == KIND_LIQUIDATION:
                at += LIQUIDATIONS
                if at in places:
                    self.noted += 1
                    self.tracks[at].deliver(_trade_key(record.words[2], 0, record.words[0], record.words[1],
                                                       <int>(record.meta >> 40) & FLAG_SELL, record.ts_event))
                continue
            # The first id of an aggregated trade; else the id, or none. Where they are the same, only a trade of
            # this kind can be meant, or the second of two such is the aggregated one.
            if record.words[3] != 0 and record.words[3] != record.words[2]:
                at += AGG_TRADES
            elif record.words[3] == 0 or at + AGG_TRADES not in places:
                at += TRADES
            elif at + TRADES not in places or (at, record.words[2]) in doubtful:
                at += AGG_TRADES
            else:
                doubtful.add((at, record.words[2]))
                at += TRADES
            if at in places:
                self.noted += 1
                self.tracks[at].deliver(_trade_key(record.words[2], record.words[3], record.words[0],
                                                   record.words[1], <int>(record.meta >> 40) & FLAG_SELL,
                                                   record.ts_event))

    # -- what is published --------------------------------------------------------------------------------------
    cdef uint64_t published_id(self, uint32_t index, int stream) noexcept:
        """0: nothing that could go back."""
        cdef Slot* slot = &self.publisher.slots[index]
        if stream == TOP:
            return slot.top_id
        if not slot.synced:
            return 0
        return (<Book>self.publisher.hot_path.books[index]).last_id - self._event_at_id_pending(index)

    cdef bint _event_at_id_pending(self, uint32_t index) noexcept:
        """Whether an event that ends at the published id is none that repeats it (`BookSync.event_at_id_pending`)."""
        sync = self.publisher.hot_path.syncs[index]
        return sync.event_at_id_pending and sync.last_id == (<Book>self.publisher.hot_path.books[index]).last_id

    cdef object published_state(self, uint32_t index, int stream):
        """None: nothing that could go back."""
        cdef Slot* slot = &self.publisher.slots[index]
        if stream == TOP:
            if slot.top_state < STATE_STALE:
                return None
            return (slot.top[0], slot.top[1], slot.top[2], slot.top[3])
        if not slot.synced:
            return None
        return Fingerprint.of(slot.window[0], slot.levels[0], slot.window[1], slot.levels[1])

    cdef int64_t published_time(self, uint32_t index, int stream) noexcept:
        cdef Writer writer = self.publisher.writer
        if stream == TOP:
            return <int64_t>tr_peek(tr_at(writer.tops, <size_t>index * TR_TOP_CELL) + TOP_EVENT)
        return <int64_t>tr_peek(tr_at(writer.books, index * writer.book_stride) + BOOK_EVENT)

    cdef object _track(self, Message* m):
        """The track of a message, made when its stream is first seen; None: no stream of this connection."""
        cdef int stream = _stream(m)
        cdef Py_ssize_t place = m.instrument * STREAMS + stream
        track = self.tracks.get(place)
        if stream == TOP and m.update_id and isinstance(track, States):
            track = None  # its id had been forgotten
        if track is None and place in self.topics:
            if stream == TOP and m.update_id:
                track = Ids(0)
            elif stream == BOOK:
                track = Ids(1)
            elif stream in (TICKER, MARK) and m.ts_event:
                track = Times()
            elif stream == MARK:
                track = Trades()
            else:
                track = States()
            self.tracks[place] = track
        return track

    # -- what the connections deliver --------------------------------------------------------------------------
    cdef Py_ssize_t hold(self, Message* m, int64_t recv) except? ERROR:
        """The new connection has delivered `m`: its place among the states, NO_STATE, or NOT_NEEDED."""
        cdef int stream = _stream(m)
        cdef Py_ssize_t place = m.instrument * STREAMS + stream
        cdef Shadow shadow
        if m.instrument >= self.publisher.capacity or not self.publisher.slots[m.instrument].known:
            self.publisher.writer.c_count(FEED_UNKNOWN, 1)
            return NOT_NEEDED
        if stream == TOP and self.publisher.slots[m.instrument].top_from_book:
            return NOT_NEEDED  # no top of it is published
        if place not in self.topics:  # a symbol that has a new slot since
            self.topics.add(place)
            self._begin(m.instrument, stream)
            self._remember((place,))
        track = self._track(m)
        if isinstance(track, Ids):
            published = self.published_id(m.instrument, stream)
            first = 0 if m.flags & F_SNAPSHOT else m.first_id if stream == BOOK else m.update_id
            track.hold(first, m.update_id, published, recv)
            return NOT_NEEDED if track.repeats(m.update_id, published) else NO_STATE
        if isinstance(track, Trades):
            key = _key(m)
            track.hold(key, recv)
            self._note()
            return NOT_NEEDED if track.repeats(key) else NO_STATE
        if isinstance(track, Times):
            track.hold(m.ts_event, recv)
            return NOT_NEEDED if track.repeats(m.ts_event, _part(m)) else NO_STATE
        if stream != BOOK:
            self._note()
            return track.hold(self._state(m), m.ts_event, recv)
        shadow = self.shadows[m.instrument]
        whole = not shadow.fault
        if shadow.apply(m, recv):
            self._note()
            track.hold(shadow.fingerprint(), m.ts_event, recv)
        elif whole:
            self.fail(f"the shadow book of instrument {m.instrument} is invalid: {shadow.fault}")
        return NOT_NEEDED

    cdef Py_ssize_t hold_unfit(self, Message* m, int64_t recv) except? ERROR:
        """The same of a message of which a number does not fit: of a top or a book its place counts."""
        cdef Py_ssize_t place = m.instrument * STREAMS + _stream(m)
        cdef Shadow shadow
        if m.instrument >= self.publisher.capacity or not self.publisher.slots[m.instrument].known:
            self.publisher.writer.c_count(FEED_UNKNOWN, 1)
            return NOT_NEEDED
        if m.kind != M_TOP and m.kind != M_DEPTH:
            return NO_STATE
        if m.kind == M_TOP and self.publisher.slots[m.instrument].top_from_book:
            return NOT_NEEDED
        if place not in self.topics:
            return NO_STATE
        track = self._track(m)
        if isinstance(track, Ids):
            return self.hold(m, recv)
        if m.kind == M_TOP:
            self._note()
            return track.hold(UNFIT, m.ts_event, recv)
        shadow = self.shadows[m.instrument]
        shadow.fault = "a number does not fit"
        shadow.unfit = True
        return NOT_NEEDED

    cdef object _state(self, Message* m):
        """The content of a top or ticker."""
        if m.kind == M_TOP:
            return (m.payload.top.bid, m.payload.top.bid_size, m.payload.top.ask, m.payload.top.ask_size)
        return tuple([m.payload.values[i] for i in range(8)])

    cdef bint repeats(self, Message* m, int64_t recv) noexcept:
        """Over: the new connection is late with what the old one has delivered."""
        if not self.over:
            return False
        try:
            if recv > self.forget_at:
                self.leave(m.instrument)
                return False
            track = self.tracks.get(<Py_ssize_t>m.instrument * STREAMS + _stream(m))
            if isinstance(track, Trades):
                return track.repeats(_key(m))
            return isinstance(track, Times) and track.repeats(m.ts_event, _part(m))
        except Exception as error:
            self.fail(f"a fault of ours: {error!r}")
            return False

    cdef void published(self, Message* m, int64_t recv) noexcept:
        """The old connection has delivered `m`."""
        cdef int stream = _stream(m)
        if self.over or self.failed:
            return
        try:
            track = self._track(m)
            if track is None:
                return
            if self.since:
                track.delivered_at = recv
            if isinstance(track, Trades):
                self._note()
                track.deliver(_key(m))
            elif isinstance(track, Times):
                track.deliver(m.ts_event, _part(m))
            elif isinstance(track, States):
                state = self._state(m) if stream == TICKER else self.published_state(m.instrument, stream)
                if state is not None:
                    self._note()
                    track.deliver(state, m.ts_event)
        except Exception as error:
            self.fail(f"a fault of ours: {error!r}")

    cdef int _note(self) except -1:
        self.noted += 1
        if self.noted > self.max_messages:
            self.fail(f"more than {self.max_messages} trades and states had to be remembered")
        return 0

    # -- what follows from it ----------------------------------------------------------------------------------
    cdef bint covered(self, Py_ssize_t place, object track, int64_t now) except -1:
        """Rule 4, for one stream."""
        cdef uint32_t index = <uint32_t>(place // STREAMS)
        cdef int stream = place % STREAMS
        cdef Slot* slot = &self.publisher.slots[index]
        cdef uint64_t published
        if not slot.known:
            return True
        if isinstance(track, Ids):
            published = self.published_id(index, stream)
            # The id of a top that is filled in is its book's, which runs ahead while the best stands still; that no
            # server counts anew is seen by the book's own track.
            if published and track.behind() and not (stream == TOP and slot.top_filled):
                return False
            reached = not published or track.reached(published)
        elif isinstance(track, States):
            if stream == BOOK and self.shadows[index].fault:
                return self.shadows[index].unfit and not slot.synced
            state = track.published if stream == TICKER else self.published_state(index, stream)
            reached = state is None or self.match(place, track, state) >= 0
            if stream == BOOK:
                return reached
        else:
            reached = track.reached()
        return reached or track.quiet(self.since, self.max_latency, now)

    cdef Py_ssize_t match(self, Py_ssize_t place, object track, object state) except? ERROR:
        cdef int stream = place % STREAMS
        time = 0 if stream == TICKER else self.published_time(<uint32_t>(place // STREAMS), stream)
        return track.match(state, time)

    cdef bint news(self, Message* m, Py_ssize_t at) except -1:
        """Whether a message that was held goes on from what is published; of trades and of what has event times
        `repeats` will answer."""
        cdef int stream = _stream(m)
        cdef Py_ssize_t place = m.instrument * STREAMS + stream
        track = self.tracks.get(place)
        if isinstance(track, Ids):
            return not track.repeats(m.update_id, self.published_id(m.instrument, stream))
        if isinstance(track, States):
            if at <= <Py_ssize_t>self.matches.get(place, NO_STATE):
                return False
            # Not found among the new connection's, or none of its states is: event times are left.
            return stream != TOP or not m.ts_event or m.ts_event >= self.published_time(m.instrument, TOP)
        return True

    cdef void fail(self, str reason):
        """Once it is over there is nothing to fail any more."""
        if not self.over:
            self.failed = self.failed or reason

    def leave(self, uint32_t index):
        """Watch this instrument no more."""
        self.watched.discard(index)
        self.publisher.hot_path.unobserve(index, self)
