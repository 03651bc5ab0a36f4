"""tools/micropython.py and what it reads of the machine through tools/debian.py."""

import pytest

from tools import debian, micropython

DEB822 = """\
# a comment
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
 contrib
Signed-By: /usr/share/keyrings/other.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main

Enabled: no
Types: deb
URIs: http://disabled.example/debian
Suites: bookworm
Components: main

Types: deb-src
URIs: http://source.example/debian
Suites: bookworm
Components: main
"""

ONE_LINE = """\
# deb http://commented.example/debian bookworm main
deb [arch=amd64 signed-by=/etc/apt/keyrings/x.gpg] https://old.example/debian bookworm main contrib # why
deb-src http://source.example/debian bookworm main
deb http://vendor.example/apt bookworm stable
deb cdrom:[Debian]/ bookworm main
deb http://security.example/debian-security bookworm-security main
"""


@pytest.fixture
def apt(tmp_path):
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(ONE_LINE, encoding="utf-8")
    (tmp_path / "sources.list.d" / "debian.sources").write_text(DEB822, encoding="utf-8")
    (tmp_path / "sources.list.d" / "old.list.save").write_text("deb http://saved.example/ bookworm main\n")
    return tmp_path


def test_mirrors_are_read_from_both_forms_of_sources(apt):
    assert debian.debian_mirrors("bookworm", apt) == [
        debian.Archive("https://old.example/debian", ("bookworm",), "/etc/apt/keyrings/x.gpg"),
        debian.Archive(
            "http://mirror.example/debian", ("bookworm", "bookworm-updates"), "/usr/share/keyrings/other.gpg"
        ),
    ]


def test_a_key_inside_the_stanza_means_the_installed_keyring(apt):
    (apt / "sources.list").unlink()
    key = "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc"
    text = DEB822.replace("/usr/share/keyrings/other.gpg", key)
    (apt / "sources.list.d" / "debian.sources").write_text(text, encoding="utf-8")

    assert [archive.keyring for archive in debian.debian_mirrors("bookworm", apt)] == [None]


def test_a_machine_without_apt_has_no_mirrors(tmp_path):
    assert debian.debian_mirrors("bookworm", tmp_path) == []


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ('ID=debian\nVERSION_ID="12"\n', 12),
        ("ID=debian\nVERSION_CODENAME=forky\n", 99),  # testing and sid carry no number
        ("ID=ubuntu\nID_LIKE=debian\nVERSION_ID=24.04\n", None),
        ("", None),
    ],
)
def test_the_debian_release_is_read_from_os_release(tmp_path, text, version):
    path = tmp_path / "os-release"
    path.write_text(text, encoding="utf-8")

    assert debian.version(debian.os_release(path)) == version


def test_a_command_that_is_there_installs_nothing():
    def progress(text):
        raise AssertionError(text)

    assert debian.ensure_packages({"sh": "no-such-package"}, progress)["sh"].endswith("/sh")


def test_missing_packages_are_named_where_they_cannot_be_installed(monkeypatch):
    monkeypatch.setattr(debian, "is_debian", lambda: False)

    with pytest.raises(debian.MissingPackages, match="no-such-command missing.*apt-get install some-package"):
        debian.ensure_packages({"no-such-command": "some-package"})


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_the_variable_names_the_interpreter(tmp_path, monkeypatch):
    monkeypatch.setenv("MICROPYTHON", str(script(tmp_path / "upy", "echo 1 26 64")))

    assert micropython.ensure() == tmp_path / "upy"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("echo 1 24 32", "MicroPython 1.24; 1.25 or later"),
        ("echo Python 3.11", "does not answer as MicroPython"),
        ("echo 1 26 64; exit 3", "does not answer as MicroPython"),
    ],
)
def test_an_interpreter_that_is_too_old_or_another_is_refused(tmp_path, monkeypatch, text, complaint):
    monkeypatch.setenv("MICROPYTHON", str(script(tmp_path / "upy", text)))

    with pytest.raises(micropython.NoMicroPython, match=complaint):
        micropython.ensure()


def test_a_variable_that_names_nothing_is_an_error_and_not_passed_over(monkeypatch, capsys):
    monkeypatch.setenv("MICROPYTHON", "/no/such/micropython")

    assert micropython.main([]) == 1
    assert "MICROPYTHON=/no/such/micropython" in capsys.readouterr().err


def test_the_path_is_the_last_resort(tmp_path, monkeypatch):
    monkeypatch.delenv("MICROPYTHON", raising=False)
    monkeypatch.setattr(micropython, "debian_mirrors", list)
    script(tmp_path / "micropython", "echo 1 25 64")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    assert micropython.ensure(cache=tmp_path / "cache") == tmp_path / "micropython"


def test_without_any_interpreter_the_message_says_what_was_tried(tmp_path, monkeypatch):
    def unpack(mirror, target, progress):
        raise micropython.NoMicroPython("the mirror is asleep")

    monkeypatch.delenv("MICROPYTHON", raising=False)
    mirror = debian.Archive("http://x.example", ("x",), None)
    monkeypatch.setattr(micropython, "debian_mirrors", lambda: [mirror])
    monkeypatch.setattr(micropython, "_unpack", unpack)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(micropython.NoMicroPython, match=r"(?s)1\.25 or later.*the mirror is asleep"):
        micropython.ensure(progress=lambda text: None, cache=tmp_path / "cache")


def test_the_wrapper_runs_its_own_interpreter_wherever_it_lies(tmp_path):
    root = tmp_path / "moved here"
    library = root / "root/usr/lib/i386-linux-gnu"
    library.mkdir(parents=True)
    script(library / "ld-linux.so.2", 'printf "%s\\n" "$@"')
    wrapper = root / "micropython"
    wrapper.write_text(micropython._WRAPPER, encoding="utf-8")
    wrapper.chmod(0o755)
    link = tmp_path / "link"
    link.symlink_to(wrapper)

    expected = f"--library-path\n{library}:{root}/root/usr/lib\n{root}/root/usr/bin/micropython\n-c\n1 + 1\n"
    for way in (wrapper, link):
        assert micropython.subprocess.check_output([way, "-c", "1 + 1"], text=True) == expected


def test_this_machines_interpreter_is_found_at_once_the_second_time():
    path = micropython.ensure()

    major, minor, _bits = micropython.probe(path)
    assert (major, minor) >= micropython.OLDEST

    def progress(text):
        raise AssertionError(f"not from the cache: {text}")

    assert micropython.ensure(progress) == path


@pytest.fixture
def fake_apt(tmp_path, monkeypatch):
    """A folder first on PATH, with an apt-config and an apt-get that says what it was started with."""
    folder = tmp_path / "bin"
    folder.mkdir()
    settings = ('Acquire::http::Proxy "http://proxy.example";', 'Acquire::IndexTargets "x";')
    script(folder / "apt-config", "\n".join(f"echo '{line}'" for line in settings))
    script(folder / "apt-get", 'echo "$@" > called; echo "$APT_CONFIG" >> called')
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


MIRROR = debian.Archive("http://mirror.example/debian", ("bookworm",), "/usr/share/keyrings/other.gpg")


def test_the_private_apt_reads_one_suite_and_keeps_only_the_ways_to_the_network(tmp_path, fake_apt):
    work = tmp_path / "work"
    micropython.configure_apt(work, MIRROR)

    assert (work / "sources").read_text(encoding="utf-8") == (
        "deb [signed-by=/usr/share/keyrings/other.gpg] http://mirror.example/debian trixie main\n"
    )
    lines = (work / "apt.conf").read_text(encoding="utf-8").splitlines()
    assert 'Acquire::http::Proxy "http://proxy.example";' in lines
    assert not [line for line in lines if "IndexTargets" in line]
    assert {f'Dir::State::lists "{work}/lists";', 'Dir::Etc::parts "/dev/null";'} <= set(lines)


def test_the_private_apt_reads_several_suites_and_their_sources_when_asked(tmp_path, fake_apt):
    micropython.configure_apt(tmp_path / "work", MIRROR, ("sid", "trixie"), sources=True)

    lines = (tmp_path / "work" / "sources").read_text(encoding="utf-8").splitlines()
    assert [(line.split()[0], line.split()[-2]) for line in lines] == [
        ("deb", "sid"),
        ("deb-src", "sid"),
        ("deb", "trixie"),
        ("deb-src", "trixie"),
    ]


def test_without_a_keyring_nothing_is_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr(debian, "KEYRINGS", (tmp_path / "none.gpg",))

    with pytest.raises(micropython.NoMicroPython, match=r"keyring is missing .*none\.gpg"):
        micropython.configure_apt(tmp_path / "work", MIRROR._replace(keyring=None))


def test_the_private_apt_runs_in_the_folder_of_what_it_fetches(tmp_path, fake_apt):
    work = tmp_path / "work"
    micropython.configure_apt(work, MIRROR)
    micropython.apt_get(work, "download", "micropython:i386")

    called = (work / "debs" / "called").read_text(encoding="utf-8").splitlines()
    assert called == ["-q download micropython:i386", f"{work}/apt.conf"]


def test_what_apt_says_when_it_fails_is_passed_on(tmp_path, fake_apt):
    work = tmp_path / "work"
    micropython.configure_apt(work, MIRROR)
    script(fake_apt / "apt-get", "echo 'E: the mirror is asleep' >&2; exit 100")

    with pytest.raises(micropython.NoMicroPython, match="apt-get update failed: E: the mirror is asleep"):
        micropython.apt_get(work, "update")
