"""Make before break: a second connection takes the place of the first, and the readers do not notice.

The old connection publishes as ever. What the new one delivers is held here, and `complete` publishes what of
it is new, in one turn of the loop. What a reader lives by:

1. Nothing goes back. With update ids: nothing older than what is published (`Ids`); a book's first newer
   event may overlap what there is (`BookSync.rejoin`), and after it the venue's chain holds again: a hole is
   RESYNC as ever. By event time: nothing as old as what is published (`Times`).
2. A trade is published once: whatever the old connection delivered is known by its key (`Trades`), also what
   it delivered shortly before, which stands in the ring. What the new connection is late with is still known
   for `FORGET` after `complete`.
3. Books without ids are built anew beside the published one (`Shadow`), from the new connection's snapshot,
   and swapped in as one update of differences; tops without ids go on after the published one. Both wait
   until the published state is found, without doubt, among those of the new connection (`States`).
4. Nothing is missing in between: `ready` when every stream of the new connection has reached back to what is
   published. Quiet streams are not waited for longer than something can be on its way (`patience`).
5. Until then, and after it, no frame costs more than without a handover: watched instruments leave the plain
   way at the same test as blocked ones.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free

from shm._ring cimport Writer, tr_level
from shm.atomics cimport BOOK_EVENT, TOP_EVENT, TR_GOT, TR_TOP_CELL, tr_at, tr_peek, tr_record, tr_ring_read
from workers.decode.message cimport D_INEXACT, D_NOT_MINE, D_OK, D_OVERFLOW, D_UNKNOWN_SYMBOL
from workers.decode.message cimport F_SNAPSHOT, M_DEPTH, M_TICKER, M_TOP, M_TRADE, Message
from workers.publish cimport Publisher
from workers.shadow cimport Fingerprint, Shadow
from workers.book cimport Book
from workers.window cimport BLOCKED, Slot

from shm import _ring, counters, layout
from workers.decode.normal import DecodeCode
from workers.overlap import Ids, States, Stream, Times, Trades


cdef enum:
    TOP = 0
    BOOK = 1
    TRADES = 2
    AGG_TRADES = 3
    TICKER = 4
    STREAMS = 8         # places an instrument

# By how much one of a venue's servers may be behind another.
LAG = 10_000_000_000    # ns
FORGET = 10_000_000_000

cdef int SELL = layout.Flag.SELL
cdef int STALE = layout.State.STALE
cdef int K_TRADE = layout.Kind.TRADE
cdef int K_TICKER = layout.Kind.TICKER
cdef uint8_t R_GAP = layout.Reason.GAP
cdef int D_MALFORMED = DecodeCode.MALFORMED
cdef uint32_t C_UNKNOWN = counters.FEED.index("unknown")
cdef uint32_t C_MALFORMED = counters.FEED.index("malformed")
cdef uint32_t C_GAPS = counters.FEED.index("gaps")


cdef inline int _stream(Message* m) noexcept:
    if m.kind == M_DEPTH:
        return BOOK
    if m.kind == M_TRADE:
        return AGG_TRADES if m.words[2] else TRADES
    return TICKER if m.kind == M_TICKER else TOP


cdef inline object _trade_key(uint64_t id, uint64_t first, int64_t price, int64_t size, int sell, int64_t ts):
    # An event time can be that of the message, which differs between connections: only for want of an id.
    if id:
        return (id, first)
    return (price, size, sell, ts)


cdef class Holder(FrameSink):
    """The new connection's sink until `complete`."""

    cdef int on_frame(self, const char* data, Py_ssize_t size, int64_t recv_ns) noexcept:
        return self.handover.frame(data, size, recv_ns)

    cdef void on_batch_end(self) noexcept:
        self.handover.publisher.flush()

    def frame(self, bytes data, int64_t recv_ns):
        """One frame as the wire gives it, as `Publisher.frame`."""
        return self.on_frame(<const char*>data, len(data), recv_ns)


cdef class Handover(Watcher):
    """One planned replacement of one connection by another. Made before the new one is dialled.

    Args:
        publisher: of the feed; goes on publishing what the old connection delivers.
        topics: (slot, channel) of the old connection; channels as in `workers.config.CHANNELS`.
        normalise: a cold message in normal form (`workers.decode.normal.Decoded`); needed for `keep`.
        max_messages, max_bytes: bounds of what is held; over them `failed` says so.
        patience: seconds, longer than any message is on its way.
        clock: CLOCK_MONOTONIC ns.

    Raises:
        IndexError: a slot that the publisher does not carry. ValueError: no such channel.
    """

    def __init__(self, Publisher publisher not None, topics, *, normalise=None, Py_ssize_t max_messages=200_000,
                 Py_ssize_t max_bytes=67_108_864, double patience=1.0, clock=_ring.now):
        self.publisher = publisher
        self.normalise = normalise
        self.clock = clock
        self.max_messages = max_messages
        self.max_bytes = max_bytes
        self.patience = <int64_t>(patience * 1e9)
        self.failed = ""
        self.topics = set()
        self.tracks = {}
        self.shadows = {}
        self.watched = set()
        self.kept = []
        self.matches = {}
        self.sink = Holder()
        self.sink.handover = self
        for index, channel in topics:
            publisher._check(index)
            if channel.upper() not in Stream.__members__:
                raise ValueError(f"no channel {channel!r}: {', '.join(Stream.__members__).lower()}")
            self.topics.add(<Py_ssize_t>index * STREAMS + Stream[channel.upper()])
        for place in sorted(self.topics):
            self._begin(place // STREAMS, place % STREAMS)
        self._remember(self.topics)

    def _begin(self, uint32_t index, int stream):
        """Watch one stream of an instrument."""
        cdef Slot* slot = &self.publisher.slots[index]
        if index not in self.watched:
            self.watched.add(index)
            self.publisher.watch(index, self)
        track = None
        if stream == BOOK and slot.has_book and not slot.step:
            self.shadows[index] = Shadow(self.publisher.syncs[index], self.publisher.depth,
                                         self.publisher.max_levels)
            track = States()
        elif stream == TOP and slot.top_state >= STALE and not slot.top_id:
            track = States()
        elif stream == TRADES or stream == AGG_TRADES:
            track = Trades()
        if track is not None:
            self.tracks[index * STREAMS + stream] = track
        if isinstance(track, States):
            state = self._published_state(index, stream)
            if state is not None:
                track.deliver(state, self._published_time(index, stream))

    def _remember(self, places):
        """What the ring has of the last `LAG` of these streams: the new connection may be that late."""
        cdef Writer writer = self.publisher.writer
        cdef tr_record record
        cdef uint64_t seq = writer.ring.next
        cdef int64_t since = self.clock() - <int64_t>LAG
        cdef int kind
        cdef Py_ssize_t at
        while seq > 1:
            seq -= 1
            if tr_ring_read(writer.ring.slots, writer.ring.mask, writer.ring.head, seq, &record) != TR_GOT:
                break
            kind = <int>(record.meta >> 32 & 0xFF)
            if (kind != K_TRADE and kind != K_TICKER) or record.ts_recv < since:
                continue  # (receive times are not in order where a handover was)
            at = <Py_ssize_t><uint32_t>record.meta * STREAMS
            if kind == K_TICKER:
                at += TICKER
                if at in places and record.ts_event:
                    self.tracks.setdefault(at, Times()).deliver(record.ts_event)
                continue
            # The first id of an aggregated trade; else the id, or none.
            at += TRADES if record.words[3] == 0 or record.words[3] == record.words[2] else AGG_TRADES
            if at in places:
                self.noted += 1
                self.tracks[at].deliver(_trade_key(record.words[2], record.words[3], record.words[0],
                                                   record.words[1], <int>(record.meta >> 40) & SELL,
                                                   record.ts_event))

    # -- what is published, before this handover's part --------------------------------------------------------
    cdef uint64_t _published_id(self, uint32_t index, int stream) noexcept:
        """0: nothing that could go back."""
        cdef Slot* slot = &self.publisher.slots[index]
        if stream == TOP:
            return slot.top_id
        return (<Book>self.publisher.books[index]).last_id if slot.synced else 0

    cdef object _published_state(self, uint32_t index, int stream):
        """None: nothing that could go back."""
        cdef Slot* slot = &self.publisher.slots[index]
        if stream == TOP:
            if slot.top_state < STALE:
                return None
            return (slot.top[0], slot.top[1], slot.top[2], slot.top[3])
        if not slot.synced:
            return None
        return Fingerprint.of(slot.window[0], slot.n[0], slot.window[1], slot.n[1])

    cdef int64_t _published_time(self, uint32_t index, int stream) noexcept:
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
            elif stream == TICKER and m.ts_event:
                track = Times()
            else:
                track = States()
            self.tracks[place] = track
        return track

    # -- what the connections deliver --------------------------------------------------------------------------
    cdef int frame(self, const char* data, Py_ssize_t size, int64_t recv) noexcept:
        """A frame of the new connection; as `FrameSink.on_frame`."""
        cdef int code
        cdef Py_ssize_t at = NO_STATE
        cdef Publisher publisher = self.publisher
        if self.over:
            return publisher.on_frame(data, size, recv)
        publisher.pending_messages += 1
        publisher.pending_bytes += size
        if publisher.decoder is None:
            return 0
        code = publisher.decoder.decode(data, size, &self.message)
        if code == D_NOT_MINE:
            return 0
        if code == D_UNKNOWN_SYMBOL:
            publisher.writer.c_count(C_UNKNOWN, 1)
            return 1
        if self.failed:
            return 1
        try:
            if code == D_OK:
                at = self._hold(&self.message, recv)
            if at != NOT_NEEDED:
                self._keep(PyBytes_FromStringAndSize(data, size), size, recv, at)
        except Exception as error:
            self._fail(f"a fault of ours: {error!r}")
        return 1

    def keep(self, message):
        """A cold market-data message (`ParsedMessage`) of the new connection, in order."""
        cdef tr_level* levels
        cdef Py_ssize_t at = NO_STATE
        if self.normalise is None:
            raise ValueError("keep needs `normalise`, which gives a cold message its normal form")
        if self.failed:
            return
        decoded = self.normalise(message)
        if self.over:
            self.publisher.publish_message(decoded, message.timestamp, message.raw_data)
        elif decoded.code == D_MALFORMED:
            self.publisher.writer.c_count(C_MALFORMED, 1)
        elif decoded.code == D_UNKNOWN_SYMBOL:
            self.publisher.writer.c_count(C_UNKNOWN, 1)
        elif decoded.code != D_NOT_MINE:
            if decoded.code == D_OK:
                levels = self.publisher.fill(decoded, &self.message)
                try:
                    at = self._hold(&self.message, message.timestamp)
                finally:
                    free(levels)
            if at != NOT_NEEDED:
                self._keep(message, len(message.raw_data), message.timestamp, at)

    cdef Py_ssize_t _hold(self, Message* m, int64_t recv) except? ERROR:
        """The new connection has delivered `m`: its place among the states, NO_STATE, or NOT_NEEDED."""
        cdef int stream = _stream(m)
        cdef Py_ssize_t place = m.instrument * STREAMS + stream
        cdef Shadow shadow
        if m.instrument >= self.publisher.capacity or not self.publisher.slots[m.instrument].known:
            self.publisher.writer.c_count(C_UNKNOWN, 1)
            return NOT_NEEDED
        if place not in self.topics:  # a symbol that has a new slot since
            self.topics.add(place)
            self._begin(m.instrument, stream)
            self._remember((place,))
        track = self._track(m)
        if isinstance(track, Ids):
            track.hold(0 if m.flags & F_SNAPSHOT else m.first_id if stream == BOOK else m.update_id, recv)
            old = track.repeats(m.update_id, self._published_id(m.instrument, stream))
            return NOT_NEEDED if old else NO_STATE
        if isinstance(track, Trades):
            key = _trade_key(m.update_id, m.first_id, m.words[0], m.words[1], m.flags & SELL, m.ts_event)
            track.hold(key, recv)
            self._note()
            return NOT_NEEDED if track.repeats(key) else NO_STATE
        if isinstance(track, Times):
            track.hold(m.ts_event, recv)
            return NOT_NEEDED if track.repeats(m.ts_event) else NO_STATE
        if stream != BOOK:
            self._note()
            return track.hold(self._state(m), m.ts_event, recv)
        shadow = self.shadows[m.instrument]
        whole = not shadow.fault
        if shadow.apply(m, recv):
            self._note()
            track.hold(shadow.fingerprint(), m.ts_event, recv)
        elif whole:
            self._fail(f"the shadow book of instrument {m.instrument} is void: {shadow.fault}")
        return NOT_NEEDED

    cdef object _state(self, Message* m):
        """What a top or ticker says."""
        if m.kind == M_TOP:
            return (m.words[0], m.words[1], m.words[2], m.words[3])
        return tuple([m.words[i] for i in range(8)])

    cdef bint repeats(self, Message* m, int64_t recv) noexcept:
        """Over: the new connection is late with what the old one has delivered."""
        if not self.over:
            return False
        try:
            if recv > self.forget_at:
                self._leave(m.instrument)
                return False
            track = self.tracks.get(<Py_ssize_t>m.instrument * STREAMS + _stream(m))
            if isinstance(track, Trades):
                return track.repeats(_trade_key(m.update_id, m.first_id, m.words[0], m.words[1],
                                                m.flags & SELL, m.ts_event))
            return isinstance(track, Times) and track.repeats(m.ts_event)
        except Exception as error:
            self._fail(f"a fault of ours: {error!r}")
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
                track.deliver(_trade_key(m.update_id, m.first_id, m.words[0], m.words[1], m.flags & SELL,
                                         m.ts_event))
            elif isinstance(track, Times):
                track.deliver(m.ts_event)
            elif isinstance(track, States):
                state = self._state(m) if stream == TICKER else self._published_state(m.instrument, stream)
                if state is not None:
                    self._note()
                    track.deliver(state, m.ts_event)
        except Exception as error:
            self._fail(f"a fault of ours: {error!r}")

    cdef int _keep(self, object message, Py_ssize_t size, int64_t recv, Py_ssize_t at) except -1:
        self.kept.append((message, recv, at))
        self.kept_bytes += size
        if len(self.kept) > self.max_messages:
            self._fail(f"more than {self.max_messages} messages were held")
        elif self.kept_bytes > self.max_bytes:
            self._fail(f"more than {self.max_bytes} bytes were held")
        return 0

    cdef int _note(self) except -1:
        self.noted += 1
        if self.noted > self.max_messages:
            self._fail(f"more than {self.max_messages} trades and states had to be remembered")
        return 0

    def _fail(self, str reason):
        if not self.failed:
            self.failed = reason
        self._drop()

    # -- what the manager asks ---------------------------------------------------------------------------------
    def subscribed(self):
        """The new connection has all acknowledgements from now on."""
        self.since = self.clock()

    def ready(self):
        """Whether nothing that the old connection delivered since `subscribed` is missing on the new one."""
        cdef int64_t now = self.clock()
        if self.failed or self.over or not self.since:
            return False
        if len(self.tracks) < len(self.topics) and now < self.since + self.patience:
            return False  # streams that have never been seen: something may be on its way
        for place, track in self.tracks.items():
            if not self._covered(place, track, now):
                return False
        return True

    cdef bint _covered(self, Py_ssize_t place, object track, int64_t now) except -1:
        """Rule 4, for one stream."""
        cdef uint32_t index = <uint32_t>(place // STREAMS)
        cdef int stream = place % STREAMS
        cdef Slot* slot = &self.publisher.slots[index]
        cdef uint64_t published
        if not slot.known or slot.aside & BLOCKED:
            return True
        if isinstance(track, Ids):
            published = self._published_id(index, stream)
            reached = not published or track.reached(published)
        elif isinstance(track, States):
            if stream == BOOK and self.shadows[index].fault:
                return False
            state = track.published if stream == TICKER else self._published_state(index, stream)
            reached = state is None or self._match(place, track, state) >= 0
            if stream == BOOK:
                return reached
        else:
            reached = track.reached()
        return reached or track.quiet(self.since, self.patience, now)

    cdef Py_ssize_t _match(self, Py_ssize_t place, object track, object state) except? ERROR:
        cdef int stream = place % STREAMS
        time = 0 if stream == TICKER else self._published_time(<uint32_t>(place // STREAMS), stream)
        return track.match(state, time)

    def complete(self):
        """Publish what the new connection has of news, in one turn of the loop; answers its sink from now on.

        The old connection's listener is detached before, and what it has left in the cold queue handled. Not
        `ready`: what is missing is a gap as any other (books go RESYNC), and nothing goes back all the same.

        Raises:
            RuntimeError: it has failed or is over.
        """
        cdef uint32_t index
        cdef Publisher publisher = self.publisher
        if self.failed or self.over:
            raise RuntimeError(f"this handover cannot be completed: {self.failed or 'it is over'}")
        self._join()
        self.over = True
        self.forget_at = self.clock() + <int64_t>FORGET
        for message, recv, at in self.kept:
            try:
                self._replay(message, recv, at)
            except Exception as error:  # of this message alone; a book notices what is missing
                publisher.errors += 1
                publisher.last_error = error
        for index, shadow in self.shadows.items():
            self._swap(index, shadow)
        late = {place: track for place, track in self.tracks.items() if isinstance(track, (Trades, Times))}
        self.tracks = late
        for index in self.watched - {place // STREAMS for place in late}:
            self._leave(index)
        self.shadows = {}
        self._drop()
        publisher.flush()
        return publisher

    def abandon(self):
        """Forget what is held; the old connection goes on as if nothing had been."""
        if not self.over:
            for index in list(self.watched):
                self._leave(index)
            self.failed = self.failed or "it was abandoned"
            self.tracks = {}
            self.shadows = {}
            self._drop()

    def _join(self):
        """Where the new connection goes on, stream by stream."""
        cdef uint32_t index
        cdef int stream
        cdef Slot* slot
        for place in self.topics:
            index, stream = place // STREAMS, place % STREAMS
            slot = &self.publisher.slots[index]
            if not slot.known:
                continue
            track = self.tracks.get(place)
            if stream == BOOK and slot.has_book and slot.step:
                book = <Book>self.publisher.books[index]
                sync = self.publisher.syncs[index]
                if slot.synced:
                    sync.advance(book.last_id)
                sync.rejoin(book.last_id)
            elif isinstance(track, States):
                state = track.published if stream == TICKER else self._published_state(index, stream)
                self.matches[place] = NO_STATE if state is None else self._match(place, track, state)

    def _replay(self, message, int64_t recv, Py_ssize_t at):
        """One message that was kept; at the exponents that its instrument has now."""
        cdef int code
        cdef tr_level* levels
        if isinstance(message, bytes):
            code = self.publisher.decoder.decode(<const char*><bytes>message, len(message), &self.message)
            if code == D_OK:
                self._again(&self.message, recv, at)
            elif code == D_INEXACT or code == D_OVERFLOW:
                self.publisher._precision(self.message.instrument, code, <const char*><bytes>message,
                                          len(message))
            return
        decoded = self.normalise(message)
        if decoded.code != D_OK:
            self.publisher.publish_message(decoded, recv, message.raw_data)
            return
        levels = self.publisher.fill(decoded, &self.message)
        try:
            self._again(&self.message, recv, at)
        finally:
            free(levels)

    cdef int _again(self, Message* m, int64_t recv, Py_ssize_t at) except -1:
        """Publish unless it is no news: rules 1 and 3; of trades and event times `repeats` will tell."""
        cdef int stream = _stream(m)
        cdef Py_ssize_t place = m.instrument * STREAMS + stream
        track = self.tracks.get(place)
        if isinstance(track, Ids):
            if track.repeats(m.update_id, self._published_id(m.instrument, stream)):
                return 0
        elif isinstance(track, States):
            if at <= <Py_ssize_t>self.matches.get(place, NO_STATE):
                return 0
            if stream == TOP and m.ts_event and m.ts_event < self._published_time(m.instrument, TOP):
                return 0
        self.publisher.take(m, recv)
        return 0

    cdef int _swap(self, uint32_t index, Shadow shadow) except -1:
        """Rule 3: the shadow is the book from now on, or there is none."""
        cdef Publisher publisher = self.publisher
        cdef Slot* slot = &publisher.slots[index]
        if not slot.known or slot.aside & BLOCKED:
            return 0
        if slot.synced and (shadow.fault or self.matches[index * STREAMS + BOOK] < 0):
            publisher.writer.c_count(C_GAPS, 1)
            publisher._void(index, R_GAP)
        elif shadow.fault:
            publisher._request(index)
        else:
            same = slot.synced and shadow.fingerprint() == self._published_state(index, BOOK)
            publisher.swap(index, shadow.book, shadow.ts_event, shadow.ts_recv, same)
        return 0

    def _leave(self, uint32_t index):
        self.watched.discard(index)
        self.publisher.unwatch(index, self)

    def _drop(self):
        self.kept = []
        self.kept_bytes = 0

    def __repr__(self):
        how = self.failed or ("over" if self.over else "subscribed" if self.since else "under way")
        return f"<Handover {len(self.topics)} streams, {len(self.kept)} messages held, {how}>"
