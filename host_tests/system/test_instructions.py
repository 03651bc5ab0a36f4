"""The instructions of a request stay within a tenth of what tools/bench/instructions.json keeps."""

import pytest

from tools import build
from tools.bench import instructions, processes


@pytest.mark.timeout(600)
def test_no_request_takes_a_tenth_more_instructions_or_fewer_than_is_kept():
    interpreter, kept = instructions.read_file()

    def is_right(name, cost):
        return name not in kept or not instructions.compare({name: kept[name]}, {name: cost})

    found = instructions.measure(build.ROOT, False, lambda text: None, is_right)[processes.GATEWAY]
    far = instructions.compare(kept, found)
    if far and interpreter != instructions.interpreter_digest():
        far.append("the interpreter is not the one of which the file was made")
    if far:
        pytest.fail("\n".join([*far, f"If that is meant to be so: {instructions.RENEW}"]))
