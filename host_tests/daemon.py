"""A server of Debian's, not installed, which runs in a folder of its own for as long as a test needs it."""

import subprocess

from host_tests.system.rig import wait_for

_OUTPUT_MAX = 3000  # characters that an error shows


class Daemon:
    """A context manager. `folder`: where the server has its files; it is made when it is not there. Subclasses say how
    the server starts, and when it serves."""

    START_S = 20
    STOP_S = 20
    environment: "dict[str, str] | None" = None  # None: that of the test

    def __init__(self, folder):
        self.folder = folder
        self._process = None

    def command(self):
        """Writes the files that the server needs; returns its command line."""
        raise NotImplementedError

    def answers(self):
        """True once the server serves."""
        raise NotImplementedError

    def __enter__(self):
        self.folder.mkdir(exist_ok=True)
        command = self.command()
        with open(self.folder / "output", "w") as output:
            self._process = subprocess.Popen(
                command, stdout=output, stderr=output, cwd=self.folder, env=self.environment
            )
        try:
            wait_for(self._is_ready, self.START_S, f"an answer of {command[0].name}")
        except AssertionError as error:
            error.add_note(self.output())
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc):
        self._process.terminate()
        self._process.wait(self.STOP_S)

    @property
    def pid(self):
        """Of its process."""
        return self._process.pid

    def output(self):
        """The end of what the server wrote."""
        return (self.folder / "output").read_text()[-_OUTPUT_MAX:]

    def _is_ready(self):
        assert self._process.poll() is None, "it has ended"
        return self.answers()
