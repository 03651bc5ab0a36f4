"""tools/steps.py and tools/sources.py: how the steps of a build run and fail, where sources come from. Nothing is
fetched."""

import fcntl
import os
import threading
import time

import pytest

from tools import debian, micropython, sources, steps


def quiet(text):
    pass


def test_a_step_that_fails_says_which_and_ends_with_its_output(tmp_path):
    with pytest.raises(steps.BuildError, match=r"(?s)boiling failed with exit code 3:\n.*too hot"):
        steps.run("boiling", ["sh", "-c", "echo too hot; exit 3"], tmp_path)


def test_a_long_command_gives_its_lines_and_keeps_them_in_a_log(tmp_path):
    said = []
    steps.make(["printf", "%s\\n", "one", "two"], tmp_path, "1", said.append)
    assert said == ["one\n", "two\n"]
    assert (tmp_path / "make.log").read_text(encoding="utf-8") == "one\ntwo\n"


def test_a_long_command_that_fails_names_its_log_and_shows_the_end_of_it(tmp_path):
    with pytest.raises(steps.BuildError, match=r"(?s)make\.log:\nx\.c:1: error"):
        steps.make(["sh", "-c", "echo 'x.c:1: error'; exit 2"], tmp_path, "1", quiet)


def test_a_step_sees_no_repository_around_it_and_a_fixed_date(tmp_path):
    command = ["sh", "-c", "echo $SOURCE_DATE_EPOCH $GIT_CEILING_DIRECTORIES $PYTHONHASHSEED > seen"]
    steps.run("looking", command, tmp_path, "77")
    assert (tmp_path / "seen").read_text(encoding="utf-8").split() == ["77", str(tmp_path.resolve().parent), "0"]


def test_a_second_process_waits_and_says_so(tmp_path):
    said = []
    path = tmp_path / "cache" / "build.lock"
    with steps.locked(path, "boiler", quiet), open(path, encoding="utf-8") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    begun = threading.Event()

    def hold():
        with steps.locked(path, "boiler", quiet):
            begun.set()
            while not said:
                time.sleep(0.01)

    thread = threading.Thread(target=hold)
    thread.start()
    begun.wait()
    with steps.locked(path, "boiler", said.append):
        thread.join()
    assert said == ["boiler: another process is at it; waiting for it ..."]


def test_only_the_last_used_folders_are_kept(tmp_path):
    for age, name in enumerate(["a-new", "a-older", "a-oldest", "b"]):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (100 - age, 100 - age))
    steps.remove_old(tmp_path, "a-*", 2)
    assert {path.name for path in tmp_path.iterdir()} == {"a-new", "a-older", "b"}


# Sources


MIRRORS = [debian.Archive(f"http://{name}.example/debian", ("bookworm",), "/k.gpg") for name in ("one", "two")]


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """Debian's archive: archive(text) makes every call of `apt-get source` fail with it."""
    monkeypatch.setattr(debian, "debian_mirrors", lambda codename: MIRRORS)
    asked = []
    monkeypatch.setattr(
        micropython, "configure_apt", lambda work, mirror, suites, sources: asked.append((mirror.uri, suites, sources))
    )

    def fail(text):
        def apt_get(work, command, *arguments):
            if command == "source":
                raise micropython.NoMicroPython(text)

        monkeypatch.setattr(micropython, "apt_get", apt_get)
        return asked

    return fail


def test_sources_that_are_there_are_not_fetched(tmp_path, archive):
    asked = archive("no")
    target = tmp_path / sources.RELEASES["1.25"].name
    target.mkdir()
    assert sources.ensure("1.25", quiet, tmp_path) == target
    assert asked == []


def test_every_mirror_is_tried_and_named_in_the_failure(tmp_path, archive):
    asked = archive("the mirror is asleep")
    with pytest.raises(steps.BuildError, match="(?s)Debian's archive.*tried: the mirror is asleep.*tried: the mirror"):
        sources.ensure("1.25", quiet, tmp_path)
    assert asked == [(mirror.uri, ["trixie"], True) for mirror in MIRRORS]
    assert [path.name for path in tmp_path.iterdir()] == ["fetch.lock"]


@pytest.mark.parametrize(
    "text",
    [
        "E: Can not find version '1.26.1+ds-1' of package 'micropython'",
        "E: Version '1.26.1+ds-1' for 'micropython' was not found",
    ],
)
def test_that_unstable_has_moved_on_is_said_so(tmp_path, archive, text):
    asked = archive(text)
    with pytest.raises(steps.BuildError, match=r"unstable release has no micropython 1\.26\.1\+ds-1 any more"):
        sources.ensure("1.26", quiet, tmp_path)
    assert asked[0][1] == ["sid", "trixie"]


def test_sources_that_no_release_has_any_more_are_removed(tmp_path, archive):
    archive("no")
    for name in ("micropython-old", sources.RELEASES["1.26"].name, "firmware-x"):
        (tmp_path / name).mkdir()
    with pytest.raises(steps.BuildError):
        sources.ensure("1.25", quiet, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {sources.RELEASES["1.26"].name, "firmware-x", "fetch.lock"}
