"""Virtual time: microseconds as an integer, and a heap of calls that are due at some of them.

In:  at(when_us, call, *args). Out: the calls, in the order of their time, and of their coming where that is equal.
Calls may schedule more. Time moves when the loop lets it (loop.py), or when a part computes for a while (spend_us).
"""

import heapq


class Timeline:
    def __init__(self, start_us=0):
        self.now_us = start_us
        self.start_us = start_us
        self._heap = []
        self._count = 0

    @property
    def now_s(self):
        """Seconds since the start."""
        return (self.now_us - self.start_us) / 1e6

    def at(self, when_us, call, *args):
        """Has call(*args) run at `when_us`, or at once when that has passed. What it gives can be cancelled."""
        self._count = count = self._count + 1
        entry = [when_us, count, call, args]
        heapq.heappush(self._heap, entry)
        return entry

    def after(self, us, call, *args):
        return self.at(self.now_us + us, call, *args)

    @staticmethod
    def cancel(entry):
        entry[2] = None
        entry[3] = None

    def next_us(self):
        """When something is due next, or None."""
        heap = self._heap
        while heap and heap[0][2] is None:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def run_due(self):
        """Runs what is due by now."""
        heap = self._heap
        now = self.now_us
        while heap and heap[0][0] <= now:
            _, _, call, args = heapq.heappop(heap)
            if call is not None:
                call(*args)

    def spend_us(self, us):
        """A part computes or waits busily for so long: nothing else happens meanwhile."""
        self.now_us += us
