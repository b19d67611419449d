"""Failover among the base URLs of one service: pure, the time is an argument.

Rules, each with a test of its number:

1. The first URL is the primary; the others are used in order, when the one in use has failed.
2. One failed attempt is enough, and the next attempt goes elsewhere without delay. What fails late, on a URL
   that is not in use any more, moves nothing.
3. URLs that are known to be bad are passed over; when all are bad they are tried in rotation, for ever.
4. The URLs not in use are checked every `check_every` seconds, and at once when they went out of use. What
   the result of a check of a URL that came into use meanwhile is dropped.
5. The primary is used again once its checks have passed for `stable_for` seconds, without one that failed.
6. At most `max_flaps` returns to the primary in any `per` seconds; after that the alternate stays in use.

Without health checks nothing ever proves the primary, so an alternate stays in use until it fails.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

_PRIMARY = 0


class _Endpoint:
    __slots__ = ("bad", "due", "passed_since", "url")

    def __init__(self, url: str) -> None:
        self.url = url
        self.bad = False
        self.due = float("-inf")  # when its next check is due
        self.passed_since: float | None = None  # the first check of the row that has passed until now


class Endpoints:
    """Which base URL to use.

    Args:
        urls: the primary, then the alternates in the order of preference.
        stable_for, per, check_every: seconds (rules 5, 6, 4).
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        stable_for: float = 60.0,
        max_flaps: int = 2,
        per: float = 3600.0,
        check_every: float = 60.0,
    ) -> None:
        if not urls or len(set(urls)) != len(urls):
            raise ValueError(f"needs one base URL or more, each once, not {list(urls)}")
        if stable_for < 0 or max_flaps < 0 or per <= 0 or check_every <= 0:
            raise ValueError(
                f"needs stable_for >= 0, max_flaps >= 0, per > 0 and check_every > 0, not {stable_for}, "
                f"{max_flaps}, {per} and {check_every}"
            )
        self.switches = 0
        self._endpoints = [_Endpoint(url) for url in urls]
        self._by_url = {each.url: each for each in self._endpoints}
        self._active = _PRIMARY
        self._stable_for = stable_for
        self._max_flaps = max_flaps
        self._per = per
        self._check_every = check_every
        self._returns: deque[float] = deque(maxlen=max_flaps)

    def current(self, now: float) -> str:
        """The base URL of the next attempt."""
        return self._endpoints[self._active].url

    def failed(self, url: str, now: float) -> bool:
        """An attempt on `url` failed so that another URL may help. True: the next one goes elsewhere."""
        if url == self._endpoints[self._active].url:
            self._leave(now)
        return url != self._endpoints[self._active].url

    def succeeded(self, url: str, now: float) -> None:
        """An attempt on `url` was answered. Of a URL out of use only a check is proof."""
        active = self._endpoints[self._active]
        if url == active.url:
            active.bad = False

    def due(self, now: float) -> list[str]:
        """The URLs whose health check is due (rule 4); each is given out once, report it with `checked`."""
        urls = []
        for index, each in enumerate(self._endpoints):
            if index != self._active and now >= each.due:
                each.due = now + self._check_every
                urls.append(each.url)
        return urls

    def checked(self, url: str, healthy: bool, now: float) -> None:
        """The health check of `url` is over."""
        each = self._by_url[url]
        if each is self._endpoints[self._active]:
            return  # it began before the URL came into use: by now the requests themselves say how it does
        if not healthy:
            each.passed_since = None
            each.bad = True
            return
        each.bad = False
        if each.passed_since is None:
            each.passed_since = now
        if each is self._endpoints[_PRIMARY] and self._active != _PRIMARY and self._may_return(now):
            self._returns.append(now)
            self._use(_PRIMARY, now)

    def _may_return(self, now: float) -> bool:
        """Rules 5 and 6."""
        since = self._endpoints[_PRIMARY].passed_since
        if since is None or now < since + self._stable_for or self._max_flaps == 0:
            return False
        return len(self._returns) < self._max_flaps or self._returns[0] + self._per <= now

    def _leave(self, now: float) -> None:
        """Rules 2 and 3."""
        self._endpoints[self._active].bad = True
        count = len(self._endpoints)
        following = [(self._active + step) % count for step in range(1, count)]
        good = (index for index in following if not self._endpoints[index].bad)
        self._use(next(good, (self._active + 1) % count), now)

    def _use(self, index: int, now: float) -> None:
        if index == self._active:
            return
        left = self._endpoints[self._active]
        left.passed_since = None
        left.due = now
        self._active = index
        self.switches += 1

    def __repr__(self) -> str:
        bad = [each.url for each in self._endpoints if each.bad]
        return f"Endpoints({self._endpoints[self._active].url!r} in use, bad={bad}, switches={self.switches})"
