"""Sparkplug against Google's protobuf with any values: it reads what the codec writes, and the codec finds the request
of births in what it writes."""

import struct

import sparkplug
from hypothesis import given, settings
from hypothesis import strategies as st
from pysparkplug._protobuf import Payload

# The same examples every time: what fails here fails everywhere.
_settings = settings(derandomize=True, max_examples=200, deadline=None, database=None)
TIMES = st.integers(0, 2**48)
NAMES = st.text(max_size=200).filter(bool)
REBIRTH = sparkplug.REBIRTH.decode()


@_settings
@given(
    TIMES, TIMES, st.integers(0, 2**20), NAMES, st.integers(-(2**63), 2**63 - 1), st.floats(width=32, allow_nan=False),
    st.sampled_from([None, sparkplug.BAD, sparkplug.STALE]), st.text(max_size=8), st.integers(0, 255),
)  # fmt: skip
def test_protobuf_reads_what_was_written(sent, at, alias, name, whole, single, quality, unit, seq):
    time = sparkplug.timestamp(at)
    properties = sparkplug.properties(unit.encode(), quality)
    first = sparkplug.metric(alias, time, sparkplug.INT64, sparkplug.integer(whole), properties, name.encode())
    second = sparkplug.metric(alias, time, sparkplug.FLOAT, sparkplug.single(single))
    third = sparkplug.metric(alias, time, sparkplug.FLOAT, sparkplug.NULL, properties)
    payload = Payload.FromString(sparkplug.begin(sent) + first + second + third + sparkplug.end(seq))
    assert (payload.timestamp, payload.seq) == (sent, seq)
    born, data, null = payload.metrics
    assert (born.name, born.datatype) == (name, sparkplug.INT64)
    assert born.long_value == whole % 2**64
    assert struct.pack("<f", data.float_value) == struct.pack("<f", single)
    assert (null.is_null, null.WhichOneof("value")) == (True, None)
    for metric in payload.metrics:
        assert (metric.alias, metric.timestamp) == (alias, at)
    wanted = (["engUnit"] if unit else []) + ([] if quality is None else ["Quality"])
    assert list(born.properties.keys) == wanted
    assert [value.string_value or value.int_value for value in born.properties.values] == [
        {"engUnit": unit, "Quality": quality}[key] for key in wanted
    ]
    others = len(time) + len(properties)
    size = sparkplug.metric_size(alias, others + len(sparkplug.integer(whole)), len(name.encode()))
    assert size == len(first)


VALUES = st.one_of(
    st.tuples(st.just("boolean_value"), st.booleans()), st.tuples(st.just("int_value"), st.integers(0, 2**32 - 1)),
    st.tuples(st.just("double_value"), st.floats()), st.tuples(st.just("string_value"), st.text(max_size=20)),
)  # fmt: skip


@_settings
@given(TIMES, st.lists(st.tuples(st.one_of(st.just(REBIRTH), NAMES), TIMES, VALUES), max_size=4), st.integers(0, 400))
def test_the_request_of_births_is_found_in_what_protobuf_writes(sent, metrics, cut):
    payload = Payload()
    payload.timestamp = sent
    for name, at, (kind, value) in metrics:
        metric = payload.metrics.add()
        metric.name, metric.timestamp, metric.datatype = name, at, 11
        setattr(metric, kind, value)
    wanted = any(name == REBIRTH and value == ("boolean_value", True) for name, _, value in metrics)
    data = payload.SerializeToString()
    assert sparkplug.asks_rebirth(data) == wanted
    sparkplug.asks_rebirth(data[:cut])  # whatever it finds: it ends


@_settings
@given(st.binary(max_size=300))
def test_any_bytes_are_taken(data):
    assert sparkplug.asks_rebirth(data) in (True, False)
