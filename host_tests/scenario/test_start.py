"""What ends in a restart in virtual time: a button that is held, a bus whose task hangs. And what does not."""

import asyncio
import json
import sys
from types import SimpleNamespace

import pytest

from firmware import app as app_module
from firmware import erase
from firmware.config import store
from firmware.device import ServiceEntry
from firmware.events import Events
from tools.simulator.board import SimReset
from tools.simulator.world import World, run


def files(folder):
    return sorted(path.name for path in (folder / "data").iterdir() if path.is_file())


def test_the_button_held_for_ten_seconds_removes_all_and_restarts_and_for_less_does_nothing(tmp_path):
    async def scenario(world):
        await world.sleep(30)
        world.board.held = True
        await world.sleep(8)
        world.board.held = False
        await world.sleep(5)
        assert "config.json" in files(tmp_path)
        world.board.held = True
        resets = []
        world.board.reset = lambda: resets.append(files(tmp_path))
        await world.sleep(13)
        assert resets == [[]]
        assert world.board.button_pin == 0

    World(tmp_path, 1, config={"board": "esp32-devkit"}).run(scenario)


@pytest.mark.parametrize("has_flash", [True, False])
def test_after_a_factory_reset_what_was_removed_is_erased_before_the_link_opens(tmp_path, monkeypatch, has_flash):
    seconds = []

    def steps():
        for _ in range(40):
            assert not [line for line in world.events() if line[1] == "link"]
            seconds.append(world.app.clock.uptime_s())
            yield

    monkeypatch.setattr(erase, "steps", steps)
    if has_flash:  # a development machine's file system is larger than any
        monkeypatch.setattr(erase.os, "statvfs", lambda path: (4096, 4096, 212, 100))
    (tmp_path / erase.MARK).write_bytes(b"")
    world = World(tmp_path, 1)

    async def scenario(world):
        await world.sleep(30)
        assert not (tmp_path / erase.MARK).exists()
        assert len(seconds) == 40 * has_flash
        assert [line for line in world.events() if line[1] == "link"]
        assert any(line[2] == "what was removed is erased" for line in world.events()) is has_flash

    world.run(scenario)


def test_a_bus_that_has_no_turn_for_two_minutes_restarts_the_device_and_is_named(tmp_path, monkeypatch):
    async def scenario(world):
        await world.sleep(30)
        world.app.buses[0]._waker.wait_ms = lambda ms: asyncio.sleep(1e6)
        await world.sleep(150)

    with pytest.raises(SimReset):
        World(tmp_path, 1).run(scenario)
    monkeypatch.chdir(tmp_path)
    assert json.loads(store.load("data/crash"))["reason"] == "bus 0: no turn for 120 s"


def test_a_gateway_without_meters_idles_for_a_day_and_is_not_restarted():
    async def scenario(world):
        await world.sleep(24 * 3600)

    run(scenario, meters=())


def test_an_update_from_before_the_image_was_flashed_goes_out_of_use_after_a_minute(tmp_path, monkeypatch):
    (tmp_path / "tree" / "a").mkdir(parents=True)
    use = tmp_path / "tree" / "use"
    use.write_text("a a 0")
    (tmp_path / "tree" / "a" / "image").write_text("another image")
    monkeypatch.setitem(sys.modules, "image_id", SimpleNamespace(ID=b"this image "))

    async def scenario(world):
        await world.sleep(50)
        assert use.read_text() == "a a 0"  # whoever flashes the image from before has it again
        await world.sleep(20)
        assert use.read_text() == "- - 0"
        assert any("a new image was flashed" in line[2] for line in world.events())

    World(tmp_path, 1).run(scenario)


def test_an_update_that_is_taken_back_says_which_service_does_not_run_after_the_restart_too(tmp_path, monkeypatch):
    (tmp_path / "tree").mkdir()
    use = tmp_path / "tree" / "use"
    use.write_text("- a 1")

    def no_finder(app):
        raise OSError(98)

    good = app_module.BUILT
    monkeypatch.setattr(
        app_module, "BUILT", tuple((name, no_finder if name == "finder" else make, heap) for name, make, heap in good)
    )

    async def trial(world):
        resets = []
        world.board.reset = lambda: resets.append(1)
        await world.sleep(70)
        assert "the update has failed: going back: finder failed" in [line[2] for line in world.events()]
        assert (use.read_text(), resets) == ("- - 0", [1])

    World(tmp_path, 1).run(trial)
    monkeypatch.setattr(app_module, "BUILT", good)

    async def after(world):
        await world.sleep(10)
        assert "the last update was taken back: finder failed" in [line[2] for line in world.events()]

    World(tmp_path, 1).run(after)


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (
            [("posting", "task died: ValueError()"), ("bus 0", "no answer")],
            "mqtt no_memory, posting: task died: ValueError()",
        ),
        ([("tick", "failed: ValueError()")], "mqtt no_memory, tick: failed: ValueError()"),
        ([], "mqtt no_memory, a task has died"),
    ],
)
def test_an_update_that_is_taken_back_says_how_a_task_died(lines, why):
    services = [ServiceEntry("http", "running", 80), ServiceEntry("mqtt", "no_memory", 1883)]
    events = Events(lambda: 0)
    app = SimpleNamespace(
        device=SimpleNamespace(services=services), supervisor=SimpleNamespace(restarts=1), events=events
    )
    for source, text in lines:
        events.add(source, text)
    assert app_module.App._what_is_wrong(app) == why
    app.supervisor.restarts = 0
    assert app_module.App._what_is_wrong(app) == "mqtt no_memory"
