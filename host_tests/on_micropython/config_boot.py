"""A boot of the configuration alone, for tests on CPython and on real MicroPython."""

from firmware.config.config_store import ConfigStore


class Log:
    """In place of the event log; `texts` are kept."""

    def __init__(self):
        self.texts = []

    def add(self, source, text):
        self.texts.append(text)


def start(flash=None):
    """A boot whose page comes up, unless the power of `flash` fails before: a ConfigStore."""
    device = ConfigStore(Log())
    if flash is not None and flash.cut:
        return device
    try:
        device.confirm()
    except OSError:
        assert flash.cut
    return device
