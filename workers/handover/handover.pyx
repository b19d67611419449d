"""Make before break: a second connection takes the place of the first, and the readers do not notice.

The old connection publishes as ever. What the new one delivers is held here, and `complete` publishes what of
it is new, in one turn of the loop. What a reader lives by:

1. Nothing goes back. With update ids: nothing older than what is published (`Ids`); a book's first newer
   event may overlap what there is (`BookSync.resume`), and after it the venue's chain holds again: a hole is
   RESYNC as ever. By event time: nothing as old as what is published (`Times`).
2. A trade is published once: whatever the old connection delivered is known by its key (`Trades`), also what
   it delivered shortly before, which stands in the ring. What the new connection is late with is still known
   for `FORGET` after `complete`.
3. Books without ids are built anew beside the published one (`Shadow`), from the new connection's snapshot,
   and swapped in as one update of differences; tops without ids go on after the published one. Both wait
   until the published state is found, without doubt, among those of the new connection (`States`).
4. Nothing is missing in between: `ready` when every stream of the new connection has reached back to what is
   published. Quiet streams are not waited for longer than something can be on its way (`max_latency`), except
   where the new one delivers nothing but ids below those published: a server that counts anew, of which all
   would be taken for repetitions. It fails when an instrument is dropped meanwhile (a new slot), or a message
   of a book without ids is lost.
5. Until then, and after it, no frame costs more than without a handover: whether an instrument is watched is
   one test. A number that does not fit is judged when its message is published (hotpath.pyx, rule 8); a
   book that neither connection can show is not waited for.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport free

from shm.counters cimport FEED_GAPS, FEED_MALFORMED, FEED_UNKNOWN
from shm.layout cimport REASON_GAP, REASON_PRECISION
from shm._ring cimport tr_level
from workers.books.book cimport Book
from workers.decode.message cimport D_INEXACT, D_NOT_MINE, D_OK, D_OVERFLOW, D_UNKNOWN_SYMBOL, F_UNKNOWN
from workers.books.publish cimport Publisher
from workers.books.python_publisher cimport fill
from workers.handover.shadow cimport Shadow
from workers.books.window cimport Slot
from workers.handover.tracker cimport BOOK, ERROR, NOT_NEEDED, NO_STATE, STREAMS, TICKER, HandoverTracker

from shm import _ring, counters, layout
from workers.decode.normal import DecodeCode
from workers.handover.overlap import Ids, States, Times, Trades


# How long after `complete` the new connection may be late with what the old one has delivered, ns.
FORGET = 10_000_000_000

cdef int D_MALFORMED = DecodeCode.MALFORMED


cdef class Holder(FrameSink):
    """The new connection's sink until `complete`."""

    cdef int on_frame(self, const char* data, Py_ssize_t size, int64_t recv_ns) noexcept:
        return self.handover.frame(data, size, recv_ns)

    cdef void on_batch_end(self) noexcept:
        self.handover.publisher.hot_path.flush()

    def frame(self, bytes data, int64_t recv_ns):
        """One frame as the wire gives it, as `Publisher.frame`."""
        return self.on_frame(<const char*>data, len(data), recv_ns)


cdef class Handover(HandoverTracker):
    """One planned replacement of one connection by another. Made before the new one is dialled.

    Args:
        publisher: of the feed; goes on publishing what the old connection delivers.
        topics: (slot, channel) of the old connection; channels as in `workers.config.venue.CHANNELS`.
        normalise: a cold message's normal forms (`workers.decode.normal.Decoded`); needed for `keep`.
        max_messages, max_bytes: bounds of what is held; beyond them it has `failed`.
        max_latency: seconds, longer than any message is on its way.
        clock: CLOCK_MONOTONIC ns.

    Raises:
        IndexError: a slot that the publisher does not carry. ValueError: no such channel.
    """

    def __init__(self, Publisher publisher not None, topics, *, normalise=None, Py_ssize_t max_messages=200_000,
                 Py_ssize_t max_bytes=67_108_864, double max_latency=1.0, clock=_ring.now):
        self.normalise = normalise
        self.max_bytes = max_bytes
        self.kept = []
        self.sink = Holder()
        self.sink.handover = self
        self.watch()

    # -- what the connections deliver --------------------------------------------------------------------------
    cdef int frame(self, const char* data, Py_ssize_t size, int64_t recv) noexcept:
        """A frame of the new connection; as `FrameSink.on_frame`."""
        cdef int code
        cdef Publisher publisher = self.publisher
        if self.over:
            return publisher.hot_path.on_frame(data, size, recv)
        publisher.hot_path.pending_messages += 1
        publisher.hot_path.pending_bytes += size
        if publisher.hot_path.decoder is None:
            return 0
        code = publisher.hot_path.decoder.decode(data, size, &self.message)
        if code == D_NOT_MINE:
            return 0
        if self.failed:
            publisher.hot_path.decoder.left = 0
            self._drop()
            return 1
        try:
            places = [self._hold(code, recv)]
            while publisher.hot_path.decoder.left:
                places.append(self._hold(publisher.hot_path.decoder.next(&self.message), recv))
            if any([at != NOT_NEEDED for at in places]):
                self._keep(PyBytes_FromStringAndSize(data, size), size, recv, places)
        except Exception as error:
            publisher.hot_path.decoder.left = 0
            self.fail(f"a fault of ours: {error!r}")
        return 1

    def keep(self, message):
        """A cold market-data message (`ParsedMessage`) of the new connection, in order."""
        if self.normalise is None:
            raise ValueError("keep needs `normalise`, which gives a cold message its normal forms")
        if self.failed:
            return
        forms = self.normalise(message)
        if self.over:
            for decoded in forms:
                if not self._useless(decoded.code):
                    self.publisher.messages.publish_message(decoded, message.timestamp, message.raw_data)
            return
        places = [self._hold_form(decoded, message.timestamp) for decoded in forms]
        if any([at != NOT_NEEDED for at in places]):
            self._keep(message, len(message.raw_data), message.timestamp, places)

    cdef Py_ssize_t _hold(self, int code, int64_t recv) except? ERROR:
        """One message of a frame, in `message`: as `hold` answers."""
        if code == D_OK:
            return self.hold(&self.message, recv)
        if code == D_UNKNOWN_SYMBOL:
            self.publisher.writer.c_count(FEED_UNKNOWN, 1)
            return NOT_NEEDED
        return self.hold_unfit(&self.message, recv)

    cdef bint _useless(self, int code) noexcept:
        """Whether a cold message has nothing that could be published: counted, as by the cold path."""
        if code == D_NOT_MINE:
            self.publisher.writer.c_count(FEED_UNKNOWN, 1)
        elif code == D_MALFORMED:
            self.publisher.writer.c_count(FEED_MALFORMED, 1)
        else:
            return False
        return True

    cdef Py_ssize_t _hold_form(self, object decoded, int64_t recv) except? ERROR:
        cdef tr_level* levels
        if self._useless(decoded.code):
            if decoded.code == D_MALFORMED and self.shadows:
                self.fail("a message of the new connection cannot be read, and a book without ids needs each")
            return NOT_NEEDED
        if decoded.flags & F_UNKNOWN:
            self.publisher.writer.c_count(FEED_UNKNOWN, 1)
        levels = fill(decoded, &self.message)
        try:
            return self._hold(decoded.code, recv)
        finally:
            free(levels)

    cdef int _keep(self, object message, Py_ssize_t size, int64_t recv, list places) except -1:
        self.kept.append((message, recv, places))
        self.kept_bytes += size
        if len(self.kept) > self.max_messages:
            self.fail(f"more than {self.max_messages} messages were held")
        elif self.kept_bytes > self.max_bytes:
            self.fail(f"more than {self.max_bytes} bytes were held")
        return 0

    # -- what the manager asks ---------------------------------------------------------------------------------
    def subscribed(self):
        """The new connection has all acknowledgements from now on."""
        self.since = self.clock()

    def ready(self):
        """Whether nothing that the old connection delivered since `subscribed` is missing on the new one."""
        cdef int64_t now = self.clock()
        if self.failed or self.over or not self.since:
            return False
        if len(self.tracks) < len(self.topics) and now < self.since + self.max_latency:
            return False  # streams that have never been seen: something may be on its way
        for place, track in self.tracks.items():
            if not self.covered(place, track, now):
                return False
        return True

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
        for message, recv, places in self.kept:
            try:
                self._replay(message, recv, places)
            except Exception as error:  # of this message alone; a book notices what is missing
                publisher.hot_path.errors += 1
                publisher.hot_path.last_error = error
        for index, shadow in self.shadows.items():
            self._swap(index, shadow)
        late = {place: track for place, track in self.tracks.items() if isinstance(track, (Trades, Times))}
        self.tracks = late
        for index in self.watched - {place // STREAMS for place in late}:
            self.leave(index)
        self.shadows = {}
        self._drop()
        publisher.hot_path.flush()
        return publisher.hot_path

    def abandon(self):
        """Forget what is held; the old connection goes on as if nothing had been."""
        if not self.over:
            for index in list(self.watched):
                self.leave(index)
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
            if stream == BOOK and slot.has_book and slot.id_step:
                if slot.synced and isinstance(track, Ids) and track.behind():
                    self.publisher.writer.c_count(FEED_GAPS, 1)
                    self.publisher.hot_path.invalidate(index, REASON_GAP)  # perhaps a server that counts anew
                book = <Book>self.publisher.hot_path.books[index]
                sync = self.publisher.hot_path.syncs[index]
                if slot.synced:
                    sync.advance(book.last_id)
                sync.resume(book.last_id)
            elif isinstance(track, States):
                state = track.published if stream == TICKER else self.published_state(index, stream)
                self.matches[place] = NO_STATE if state is None else self.match(place, track, state)

    def _replay(self, message, int64_t recv, list places):
        """One message that was kept; at the exponents that its instruments have now."""
        cdef int code
        cdef tr_level* levels
        if isinstance(message, bytes):
            code = self.publisher.hot_path.decoder.decode(<const char*><bytes>message, len(message), &self.message)
            if code == D_NOT_MINE or self.publisher.hot_path.decoder.left != <uint32_t>(len(places) - 1):
                self.publisher.hot_path.decoder.left = 0
                raise RuntimeError("a frame is another than when it was held")  # which part is whose is not known
            for at in places:
                if at == NOT_NEEDED:
                    pass
                elif code == D_OK:
                    self._again(recv, at)
                elif code == D_INEXACT or code == D_OVERFLOW:
                    if self.news(&self.message, at):
                        self.publisher.hot_path.reject_unfit(&self.message, code, <const char*><bytes>message, len(message), recv)
                if self.publisher.hot_path.decoder.left:
                    code = self.publisher.hot_path.decoder.next(&self.message)
            return
        for decoded, at in zip(self.normalise(message), places, strict=True):
            if at == NOT_NEEDED:
                continue
            levels = fill(decoded, &self.message)
            try:
                if decoded.code == D_OK:
                    self._again(recv, at)
                elif self.news(&self.message, at):
                    self.publisher.messages.publish_message(decoded, recv, message.raw_data)
            finally:
                free(levels)

    cdef int _again(self, int64_t recv, Py_ssize_t at) except -1:
        if self.news(&self.message, at):
            self.publisher.hot_path.take(&self.message, recv)
        return 0

    cdef int _swap(self, uint32_t index, Shadow shadow) except -1:
        """Rule 3: the shadow is the book from now on, or there is none."""
        cdef Publisher publisher = self.publisher
        cdef Slot* slot = &publisher.slots[index]
        if not slot.known:
            return 0
        if slot.synced and shadow.unfit:
            publisher.hot_path.invalidate(index, REASON_PRECISION)
        elif slot.synced and (shadow.fault or self.matches[index * STREAMS + BOOK] < 0):
            publisher.writer.c_count(FEED_GAPS, 1)
            publisher.hot_path.invalidate(index, REASON_GAP)
        elif shadow.fault:
            publisher.hot_path.request_snapshot(index)
        else:
            same = slot.synced and shadow.fingerprint() == self.published_state(index, BOOK)
            publisher.hot_path.swap_book(index, shadow.book, shadow.ts_event, shadow.ts_recv, same)
        return 0

    def _drop(self):
        self.kept = []
        self.kept_bytes = 0

    def __repr__(self):
        how = self.failed or ("over" if self.over else "subscribed" if self.since else "under way")
        return f"<Handover {len(self.topics)} streams, {len(self.kept)} messages held, {how}>"
