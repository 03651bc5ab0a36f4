"""The chip around the firmware: the REPL after Ctrl-C, resets, the watchdog, and the power."""

from tools.emulator import image

REPL_S = 15  # longer than the watchdog's longest time, 8.4 s


def test_the_repl_lives_after_ctrl_c_and_the_firmware_can_be_started_again(make_chip):
    emulator = make_chip().emulator
    emulator.type("\x03")
    emulator.wait_line("stopped; main.run")
    assert emulator.exec(f"import time; time.sleep({REPL_S}); print('alive')", timeout=60).strip() == "alive"
    assert emulator.resets == 0
    emulator.type("\x02import main; main.run()\r")
    emulator.wait_ready()


def test_a_reset_brings_the_gateway_back_on_the_same_ports(make_chip):
    emulator = make_chip().emulator
    emulator.type("\x03")
    emulator.wait_line("stopped; main.run")
    emulator.type("import machine; machine.reset()\r")
    assert emulator.wait_reset() == "software"
    emulator.wait_ready()


def test_the_watchdog_bites_when_the_loop_hangs(make_chip):
    emulator = make_chip().emulator
    emulator.type("\x03")
    emulator.wait_line("stopped; main.run")
    emulator.type("import machine; w = machine.WDT(timeout=1000)\rwhile True: pass\r\r")
    assert emulator.wait_reset() == "watchdog"
    emulator.wait_ready()


def test_after_a_power_cut_the_files_are_there_and_the_gateway_comes_back(make_chip):
    chip = make_chip()
    before = image.read(chip.emulator.flash)
    chip.emulator.power_cut()
    assert image.read(chip.emulator.flash) == before
    chip.start()
    assert chip.get("/api/status")["config"] == {"source": "file", "errors": []}
