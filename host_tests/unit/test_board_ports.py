"""The boards' serial lines, watchdog, memory and reset cause, on fakes of MicroPython's ports (fake_ports.py)."""

import errno
import gc

import pytest

from firmware.bus import transaction
from firmware.bus.bus_stats import BusStats
from firmware.bus.late_replies import LateReplies
from host_tests.unit import fake_ports, fakes
from host_tests.unit.fake_ports import C3, CLASSIC, OURS, PICO_2_W, PICO_W, S3, WROVER, errno_of
from host_tests.unit.fakes import frame, read_frame
from host_tests.unit.the_schema import BUS, SCHEMA

ESP32S = (CLASSIC, WROVER, S3, C3, OURS)


@pytest.fixture
def install(monkeypatch):
    return lambda machine_name: fake_ports.install(monkeypatch, machine_name)


def bus(**values):
    return fakes.defaults(BUS, **values)


def network(**values):
    return fakes.defaults(SCHEMA["network"], **values)


# -- pins


@pytest.mark.parametrize(
    ("machine_name", "uart", "pins"),
    [(PICO_W, 0, (0, 1)), (PICO_W, 1, (4, 5)), (PICO_2_W, 1, (4, 5)), (CLASSIC, 2, (17, 16)), (S3, 2, (17, 16))],
)
def test_a_uart_has_its_own_pins_where_they_are_free(install, machine_name, uart, pins):
    port = install(machine_name)
    line = port.board.Board().open_line(bus(uart=uart))
    assert (port.uart.number, port.uart.pins) == (uart, pins)
    assert line.stream is port.uart


@pytest.mark.parametrize(
    ("machine_name", "uart"), [(CLASSIC, 1), (WROVER, 1), (WROVER, 2), (OURS, 1), (S3, 1), (C3, 1)]
)
def test_no_line_drives_pins_that_nobody_has_chosen_where_they_may_be_the_flashs(install, machine_name, uart):
    port = install(machine_name)
    assert errno_of(port.board.Board().open_line, bus(uart=uart)) == (
        errno.EINVAL, f"[Errno 22] UART {uart} of this board needs tx and rx"
    )  # fmt: skip
    assert port.used == set()


@pytest.mark.parametrize("machine_name", [CLASSIC, WROVER, OURS])
@pytest.mark.parametrize("key", ["tx", "rx", "direction"])
@pytest.mark.parametrize("pin", range(6, 12))
def test_the_flashs_pins_are_refused_by_number(install, machine_name, key, pin):
    port = install(machine_name)
    config = bus(**({"uart": 2, "tx": 4, "rx": 5} | {key: pin}))
    assert errno_of(port.board.Board().open_line, config)[1].startswith(f"[Errno 22] pin {pin} belongs to")
    assert port.used == set()


@pytest.mark.parametrize("pin", [16, 17])
def test_the_psrams_pins_are_refused_where_there_is_one(install, pin):
    config = bus(uart=2, tx=4, rx=pin)
    assert errno_of(install(WROVER).board.Board().open_line, config)[1].startswith(f"[Errno 22] pin {pin} belongs")
    install(CLASSIC).board.Board().open_line(config)


@pytest.mark.parametrize("machine_name", [CLASSIC, OURS])
def test_a_line_leaves_ethernet_its_pins(install, machine_name):
    # UART 2's own rx is the power of the PHY on a WT32-ETH01.
    port = install(machine_name)
    assert port.board.Board().open_link(network(link="ethernet")).connect() is None
    technician = port.board.Board()
    for board in (port.board.Board(), technician):
        assert errno_of(board.open_line, bus(uart=2))[0] == errno.EINVAL
        for pin in (0, 16, 18, 19, 21, 22, 23, 25, 26, 27):
            assert f"pin {pin} belongs" in errno_of(board.open_line, bus(uart=1, tx=17, rx=5, direction=pin))[1]
        board.open_line(bus(uart=1, tx=17, rx=5, direction=33))  # the board's own RS-485 header


def test_a_line_leaves_a_w5500_its_pins(install):
    port = install(C3)
    spi = {"spi_sck": 4, "spi_mosi": 5, "spi_miso": 6, "spi_cs": 7, "spi_int": 10}
    assert port.board.Board().open_link(network(link="ethernet", ethernet="w5500", **spi)).connect() is None
    for pin in spi.values():
        assert f"pin {pin} belongs" in errno_of(port.board.Board().open_line, bus(uart=1, tx=0, rx=pin))[1]


@pytest.mark.parametrize("machine_name", [*ESP32S, PICO_W])
@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"uart": "/dev/ttyUSB0"}, errno.ENODEV),
        ({"uart": 2, "tx": 48, "rx": 5, "direction": 31}, errno.EINVAL),
        ({"uart": 1, "tx": 4, "rx": 31}, errno.EINVAL),
    ],
)
def test_what_this_chip_does_not_have_is_an_oserror(install, machine_name, values, code):
    assert errno_of(install(machine_name).board.Board().open_line, bus(**values))[0] == code


def test_the_ports_own_words_reach_the_log(install):
    assert errno_of(install(PICO_W).board.Board().open_line, bus(uart=1, tx=0))[1] == "[Errno 22] bad TX pin"
    assert "UART(2) does not exist" in errno_of(install(C3).board.Board().open_line, bus(uart=2, tx=4, rx=5))[1]
    assert "UART(2) doesn't exist" in errno_of(install(PICO_W).board.Board().open_line, bus(uart=2, tx=4, rx=5))[1]


@pytest.mark.parametrize("machine_name", ESP32S)
def test_the_consoles_uart_is_refused(install, machine_name):
    port = install(machine_name)
    assert "console" in errno_of(port.board.Board().open_line, bus(uart=0, tx=4, rx=5))[1]
    assert port.used == set()


@pytest.mark.parametrize("machine_name", [WROVER, PICO_W])
def test_the_technicians_master_obeys_the_same_rules(install, machine_name, monkeypatch):
    import sys
    from types import ModuleType

    serial = ModuleType("umodbus.serial")
    serial.Serial = lambda **given: given
    monkeypatch.setitem(sys.modules, "umodbus", ModuleType("umodbus"))
    monkeypatch.setitem(sys.modules, "umodbus.serial", serial)
    board = install(machine_name).board.Board()
    given = board.umodbus_master(bus(uart=1, tx=4, rx=5, direction=2))
    assert [pin.number for pin in given["pins"]] == [4, 5]
    assert errno_of(board.umodbus_master, bus(uart=1, tx=31))[0] == errno.EINVAL


# -- the direction pin


class CoarseWire:
    """A transaction on a board's own Line, on a loop whose waits end up to `tick_ms` late."""

    def __init__(self, monkeypatch, events, port, tick_ms, config):
        self.port = port
        fakes.fake_seam(monkeypatch, port.clock)
        self._sleep_until_tick(monkeypatch, tick_ms)
        line = port.board.Board().open_line(config)
        self.transaction = transaction.Transaction(line, config, BusStats(), LateReplies(), events)

    def _sleep_until_tick(self, monkeypatch, tick_ms):
        from firmware.net import seam

        wait_ms = seam.Waker.wait_ms
        clock = self.port.clock

        async def coarse(waker, ms):
            # FreeRTOS wakes at the first tick that is not before the end; for nothing it does not sleep at all.
            rest_us = -(clock.us + 1000 * ms) % (1000 * tick_ms) if ms > 0 else 0
            return await wait_ms(waker, ms + rest_us / 1000)

        monkeypatch.setattr(seam.Waker, "wait_ms", coarse)

    def direction_late_us(self, request):
        """By how much the pin is released after the last bit of the request."""
        exchange = self.transaction.exchange(bytearray(request), len(request), 20)
        fakes.run_virtual(self.port.clock, exchange)
        [(_, off), (on_us, on), (off_us, off_again)] = self.port.pins[4]
        assert (off, on, off_again) == (0, 1, 0)
        assert on_us < off_us
        return off_us - self.port.uart.done_us


@pytest.mark.parametrize(("machine_name", "tick_ms"), [(CLASSIC, 10), (OURS, 1), (PICO_W, 1)])
@pytest.mark.parametrize("baud", [1200, 9600, 19200, 115200])
@pytest.mark.parametrize("offset_us", range(0, 10_000, 1700))
@pytest.mark.parametrize("length", [8, 256])
def test_the_direction_pin_is_released_before_the_fastest_meter_answers(
    install, monkeypatch, events, machine_name, tick_ms, baud, offset_us, length
):
    port = install(machine_name)
    port.clock.us += offset_us  # the ticks go their own way
    pins = {"uart": 1, "tx": 20, "rx": 21} if port.is_rp2 else {"uart": 2}
    config = bus(baud=baud, direction=4, **pins)
    if port.is_rp2:
        config["tx"], config["rx"] = 8, 9
    request = read_frame(7, 3, 100, 2) if length == 8 else frame(7, 16, bytes(253))
    late_us = CoarseWire(monkeypatch, events, port, tick_ms, config).direction_late_us(request)
    assert 0 <= late_us < 3.5 * 10_000_000 / baud


def test_a_line_without_a_direction_pin_is_not_waited_for(install):
    port = install(CLASSIC)
    line = port.board.Board().open_line(bus(uart=2))
    line.send(bytearray(256), 256)
    before_us = port.clock.us
    line.finish()
    assert port.clock.us == before_us
    assert line.turn_ms == 0


def test_a_uart_that_never_ends_sending_is_given_up(install):
    port = install(CLASSIC)
    line = port.board.Board().open_line(bus(uart=2, baud=9600, direction=4))
    line.send(bytearray(8), 8)
    port.uart.done_us += 1_000_000
    before_us = port.clock.us
    line.finish()
    assert port.clock.us - before_us < 1000 * line.turn_ms + 4 * 1146 + 2100
    assert port.pins[4][-1][1] == 0


# -- watchdog and reset


@pytest.mark.parametrize(("machine_name", "ctrl_clear"), [(PICO_W, 0x4005B000), (PICO_2_W, 0x400DB000)])
def test_the_watchdog_of_the_chip_is_stopped_and_no_other_register(install, machine_name, ctrl_clear):
    port = install(machine_name)
    board = port.board.Board()
    board.watchdog(30)
    assert port.calls == [("watchdog", 8388)]
    board.release()
    assert port.registers == {ctrl_clear: 1 << 30}


def test_a_watchdog_that_was_not_started_is_not_touched(install):
    port = install(PICO_W)
    board = port.board.Board()
    board.watchdog(0)
    board.feed()
    board.release()
    assert (port.calls, port.registers) == ([], {})


def test_the_esp32s_watchdog_gets_a_day(install):
    port = install(CLASSIC)
    board = port.board.Board()
    board.watchdog(8)
    board.release()
    assert port.calls == [("watchdog", 8000), ("watchdog", 86_400_000)]


@pytest.mark.parametrize("machine_name", [PICO_W, PICO_2_W, CLASSIC])
def test_a_restart_is_no_watchdog_reset_and_a_bite_is(install, machine_name):
    port = install(machine_name)
    board = port.board.Board()
    assert board.reset_cause() == ""
    board.reset()
    assert board.reset_cause() == ""
    fake_ports.bite(port)
    assert board.reset_cause() == "a watchdog reset"
    board.reset()
    assert board.reset_cause() == ""


@pytest.mark.parametrize("machine_name", [PICO_W, PICO_2_W, CLASSIC, S3])
def test_the_number_of_starts_outlives_a_reset_and_a_bite_and_no_power_cut(install, machine_name):
    port = install(machine_name)
    assert port.board.Board().starts() == 0
    assert port.board.Board().starts(3) == 3
    port.board.Board().reset()
    assert port.board.Board().starts() == 3
    fake_ports.bite(port)
    board = port.board.Board()
    assert (board.starts(), board.reset_cause()) == (3, "a watchdog reset")
    fake_ports.cut_power(port)
    assert port.board.Board().starts() == 0


def test_what_another_program_left_in_the_memory_is_no_number_of_starts(install):
    port = install(CLASSIC)
    port.rtc_memory = b"another program's \x07"
    assert port.board.Board().starts() == 0
    port = install(PICO_W)
    port.registers[0x4005800C] = 0x12345607
    assert port.board.Board().starts() == 0


# -- button


@pytest.mark.parametrize("machine_name", [PICO_W, PICO_2_W])
def test_the_picos_button_is_bootsel(install, machine_name):
    port = install(machine_name)
    board = port.board.Board()
    assert board.button(None) is False
    port.bootsel = 1
    assert board.button(None) is True


@pytest.mark.parametrize("machine_name", [CLASSIC, S3, OURS])
def test_the_esp32s_button_is_boot(install, machine_name):
    port = install(machine_name)
    board = port.board.Board()
    assert board.button(None) is False
    port.low.add(0)
    assert board.button(None) is True


def test_a_pin_that_something_else_has_is_no_button(install):
    port = install(CLASSIC)
    port.low.add(0)
    board = port.board.Board()
    board.open_link(network(link="ethernet", ethernet="wt32-eth01"))  # its clock comes in at GPIO 0
    assert board.button(None) is False
    for use in (
        lambda board: board.open_line(bus(uart=2, tx=17, rx=0)),
        lambda board: board.open_line(bus(uart=2, direction=0)),
        lambda board: board.led(0),
    ):
        port = install(CLASSIC)
        port.low.add(0)
        board = port.board.Board()
        assert board.button(None) is True
        use(board)
        assert board.button(None) is False
    assert install(C3).board.Board().button(None) is False


@pytest.mark.parametrize(("machine_name", "pin"), [(PICO_W, 21), (CLASSIC, 21), (CLASSIC, 34), (C3, 10), (S3, 21)])
def test_a_board_file_names_another_pin(install, machine_name, pin):
    port = install(machine_name)
    board = port.board.Board()
    port.bootsel = 1
    port.low.add(0)
    assert board.button(pin) is False
    port.low.add(pin)
    assert board.button(pin) is True


# -- identity and LED


@pytest.mark.parametrize(("machine_name", "serial"), [(PICO_W, "e6614c311b7e6f35"), (CLASSIC, "e6614c311b7e")])
def test_a_board_says_its_name_and_its_chips_number(install, machine_name, serial):
    assert install(machine_name).board.Board().identity() == (machine_name, serial)


def test_a_pico_has_a_led_of_its_own_and_takes_another(install):
    port = install(PICO_W)
    for pin, number in ((None, 25), (7, 7)):
        led = port.board.Board().led(pin)
        led(1)
        assert [level for _, level in port.pins[number]] == [0, 1]


def test_a_build_without_a_led_and_a_pin_that_is_not_there_have_none(install):
    port = install(PICO_W)
    port.has_led = False
    board = port.board.Board()
    assert (board.led(None), board.led(30)) == (None, None)


def test_an_esp32_has_the_led_that_is_configured_but_no_pin_of_the_flash_or_ethernet(install):
    port = install(CLASSIC)
    board = port.board.Board()
    assert board.led(None) is None
    board.led(2)(1)
    assert [level for _, level in port.pins[2]] == [0, 1]
    board.open_link(network(link="ethernet")).connect()
    assert [board.led(pin) for pin in (6, 11, 23, 99)] == [None] * 4


# -- memory and time


def test_free_memory_leaves_the_esp_idf_its_own(install, monkeypatch):
    port = install(CLASSIC)
    monkeypatch.setattr(gc, "mem_free", lambda: 60_000, raising=False)
    monkeypatch.setattr(gc, "mem_alloc", lambda: 50_000, raising=False)
    assert port.board.Board().heap() == (20_000, 50_000)
    port.idf_largest = 70_000
    assert port.board.Board().heap() == (0, 50_000)


@pytest.mark.parametrize(("machine_name", "jitter_ms"), [(CLASSIC, 12), (OURS, 3), (PICO_W, 5)])
def test_a_byte_is_expected_as_late_as_the_ports_ticks_make_it(install, machine_name, jitter_ms):
    line = install(machine_name).board.Board().open_line(bus(uart=1, tx=4, rx=5))
    assert line.jitter_ms == jitter_ms
