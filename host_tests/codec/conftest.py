"""Puts the codec test modules on the path of CPython; the device's lib/ and shim/ are there by pyproject.toml."""

import sys
from pathlib import Path

import pytest

_HERE = Path(__file__).resolve().parent

if str(_HERE) not in sys.path:
    sys.path.insert(0, str(_HERE))

# Plain asserts in codec_*.py and in their helpers report their operands as those in test files do.
pytest.register_assert_rewrite("expect", "http1_feed", *(path.stem for path in _HERE.glob("codec_*.py")))
