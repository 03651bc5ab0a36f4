"""Whatever comes by BACnet/IP: nothing escapes, nothing grows, and no answer is longer than its client takes."""

import random
import struct
import sys

import pytest

from host_tests.unit.bacnet_bench import CLIENT, Bench, datagram, meter

SEEDS = [
    "0005070c 0c00000010 1955", "0005070c 0c023fffff 194c", "0275070c 0c023fffff 194c", "0005070c 0c00000010 194d 2901",
    "0275070e 0c00000010 1e 0908 1f 0c020004d2 1e 0908 094c 2901 1f", "0004070e 0c00000010 1e 0955 0967 1f",
    "0000070e 0c02000001 1e 0a0173 1f", "0005070e" + 20 * "0c020004d2 1e 0908 1f",
    "0005070f 0c00000010 1955 3e 4443340000 3f", "00050705 0912 1c00000010 2901 393c", "00050705 0912 1c00000010",
    "00050711 0905 1901 2d080023656762646621", "00050714 0901 1d0900416243644566 4768",
    "1008", "1008 0900 1b3fffff", "1007 2c00000010", "1007 3d12006d61696e2e6163746976655f706f776572",
    "1000 c4020004d2 2205a0 9101 2103", "1006 a47e0b1903 b40c0a0f00", "1009 a47e0b1903 b40c0a0f00",
    "40070004", "42070004", "200701", "500701 9101 911f", "600709", "710704", "0c050700040f0c00800001",
]  # fmt: skip
ADDRESSES = [b"", b"\x04", b"\x20\xff\xff\x00\xff", b"\x08\x00\x05\x01\x07", b"\x28\xff\xff\x00\x00\x05\x01\x07\xfe"]
GROWTH_BLOCKS = 500  # what was sent since the last second, and the log


def messages(rng, count):
    """Datagrams: whole ones, ones with a few bytes changed, inserted, removed or cut off, and any bytes at all."""
    whole = [datagram(bytes.fromhex(one), addresses) for one in SEEDS for addresses in ADDRESSES]
    for _ in range(count):
        data = bytearray(rng.choice(whole))
        for _ in range(rng.choice((0, 1, 1, 2, 5))):
            at = rng.randrange(4, len(data) + 1)
            data[at : at + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
        if rng.random() < 0.1:
            del data[rng.randrange(len(data)) :]
        if rng.random() < 0.02:
            data = bytearray(rng.randbytes(rng.randrange(1500)))
        elif len(data) >= 4 and rng.random() < 0.98:
            data[2:4] = struct.pack(">H", len(data))  # so that it gets further than the first check
        yield bytes(data)


def play(bench, seed, count):
    rng = random.Random(seed)
    for number, data in enumerate(messages(rng, count)):
        before = len(bench.stream.sent)
        bench.stream.incoming.append((data, CLIENT))
        bench.service.on_ready(1)
        answers = bench.stream.sent[before:]
        assert len(answers) <= 4, "one answer, or one window of segments"
        for answer, _ in answers:
            assert len(answer) <= 4 + 24 + 1440
            assert struct.unpack_from(">H", answer, 2)[0] == len(answer)
        if number % 50 == 0:
            bench.uptime.now += 1
            bench.service.tick()
            bench.service._requests.communication = 0  # a client has perhaps switched all answers off
            del bench.stream.sent[:]
            del bench.told[:], bench.log.console[:]  # what the bench keeps, and the firmware does not
    assert not [text for text in bench.log.texts() if "not served" in text or "not saved" in text]


def fuzz(monkeypatch, folder, seed, count):
    monkeypatch.chdir(folder)
    bench = Bench(monkeypatch, [meter(k, f"m{k}") for k in range(40)], energy_in_wh=True, allow_writes=True,
                  accept_time=True, password="#egbdf!")  # fmt: skip
    play(bench, seed, 3000)
    before = sys.getallocatedblocks()
    play(bench, seed + 1, count)
    assert sys.getallocatedblocks() < before + GROWTH_BLOCKS


@pytest.mark.parametrize("seed", [1, 1000, 2000])
def test_ten_thousand_datagrams_do_no_harm(monkeypatch, tmp_path, seed):
    fuzz(monkeypatch, tmp_path, seed, 10_000)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_million_datagrams_do_no_harm(monkeypatch, tmp_path):
    fuzz(monkeypatch, tmp_path, 5000, 1_000_000)
