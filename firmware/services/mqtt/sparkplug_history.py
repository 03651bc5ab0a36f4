"""The history of a Sparkplug node: each record of flash as historical values (Eclipse Sparkplug 3.0.0, 6.4.6), and when
it counts as delivered.

Data of Sparkplug has QoS 0, which nobody acknowledges. So a ping follows each batch of records. A broker takes what
comes by one connection in its order (MQTT 3.1.1, 4.6): when it answers the ping it has taken the batch, and the cursor
moves behind it. A connection that ends before leaves the cursor where it is, and the records come again, with the same
times.
"""

from micropython import const

from firmware.history.records import Batch
from firmware.net import seam

_TYPING = const(0)
if _TYPING:
    from firmware.history.records import FlashRecords
    from firmware.services.mqtt.sparkplug import Sparkplug

_BYTES = const(4096)  # of a batch, before another record is added
_RECORDS_MAX = const(128)  # of a batch: those that say nothing take no room


class SparkplugHistory:
    """delivered: records since boot."""

    def __init__(self, records: "FlashRecords", node: "Sparkplug") -> None:
        self.records = records
        self.delivered = 0
        self._node = node
        self._batch: "Batch | None" = None  # that waits for the answer to its ping
        self._is_placed = False  # the records stand at the last one of the batch before
        self._passed = 0  # records without a time that were counted since the records were opened
        self._opened_end = 0  # number of the record that was taken next when they were opened
        self._looked_end = -1  # the same, when no record was left

    @property
    def in_flight(self) -> int:
        """1 while a batch waits for the answer to its ping."""
        return 0 if self._batch is None else 1

    def begin(self) -> None:
        """A connection has begun: what was not delivered is sent again."""
        self._batch = None
        self._is_placed = False
        self._looked_end = -1

    def confirm(self) -> None:
        """All pings were answered: the broker has the batch."""
        batch = self._batch
        if batch is not None:
            self._batch = None
            self.records.pass_on(batch)
            self.delivered += batch.count

    async def send(self) -> bool:
        """Sends the next batch, unless one is in flight; True when there was one: a ping has to follow. Raises
        MemoryError, ConnectionFailed; then a connection has to begin anew."""
        records = self.records
        if self._batch is not None or records.next_record == self._looked_end:
            return False
        batch = Batch(records.cursor)
        if not self._is_placed:
            self._opened_end = records.next_record
            records.open(batch.begin)
            self._passed = 0
        undated = self._passed
        self._is_placed = False  # until it is done
        size = 0
        while size < _BYTES and batch.count < _RECORDS_MAX:
            if not records.next():
                self._looked_end = self._opened_end
                break
            size += await self._node.publish_record(records)
            batch.count += 1
            batch.end = records.record + 1
            batch.undated = records.passed_undated - undated
            self._passed = records.passed_undated
            await seam.sleep_ms(0)
        else:
            self._is_placed = True
        if not batch.count:
            return False
        self._batch = batch
        return True
