"""What an endpoint no longer needs: it stays for the linger time, and runners answer what they hold before they end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from modelyard.targets.base import EndpointSpec
from modelyard.targets.places import RunnerPlace


class Lingering:
    """Runners that no table names, and whatever else is to be done once the linger time is over, or at once when the endpoint ends.

    `lock` is the endpoint's. `in_flight` says how many requests a version has in hand.
    """

    def __init__(self, name: str, lock: threading.RLock, ending: threading.Event, in_flight: Callable[[str], int]) -> None:
        self._name, self._lock, self._ending, self._in_flight = name, lock, ending, in_flight
        self._threads: list[threading.Thread] = []
        self._places: list[RunnerPlace] = []

    def later(self, spec: EndpointSpec, work: Callable[[], None]) -> None:
        """Do it after the linger time."""

        def wait() -> None:
            self._ending.wait(spec.linger)
            work()

        thread = threading.Thread(target=wait, name=f"retire {self._name}", daemon=True)
        thread.start()
        self.mind(thread)

    def mind(self, thread: threading.Thread) -> None:
        """Wait for it, too, when the endpoint ends."""
        self._threads = [t for t in self._threads if t.is_alive()] + [thread]

    def retire(self, places: list[RunnerPlace], spec: EndpointSpec) -> None:
        """End these runners in a while, unless they are called back."""
        if places:
            self._places += places
            self.later(spec, lambda: self._end(places, spec))

    def call_back(self, version: str, most: int) -> list[RunnerPlace]:
        """Up to so many of the version's runners that live yet."""
        with self._lock:
            found = [one for one in self._places if one.variant.version == version and one.alive][: max(0, most)]
            self._places = [one for one in self._places if one not in found]
            return found

    def _end(self, places: list[RunnerPlace], spec: EndpointSpec) -> None:
        """End runners that linger still, once what they hold is answered. (The front lets a runner answer before it hangs up.)"""
        with self._lock:
            places = [one for one in places if one in self._places]
            self._places = [one for one in self._places if one not in places]
        until, versions = time.monotonic() + spec.limits.timeout_s, {p.variant.version for p in places}
        while time.monotonic() < until and not self._ending.is_set() and any(self._in_flight(v) for v in versions):
            time.sleep(0.05)
        for one in places:
            one.stop()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()
