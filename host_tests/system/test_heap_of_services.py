"""The heap that a service's modules take as files is what firmware.app reckons with before it starts one."""

import json
import subprocess

from tools import build, gateway, micropython

SCRIPT = build.ROOT / "host_tests" / "on_micropython" / "heap_of_services.py"


def test_a_service_needs_about_as_much_room_as_is_asked_for(tmp_path):
    tree = gateway.build_device(False, print)
    done = subprocess.run(
        [str(micropython.ensure()), "-X", "heapsize=512K", str(SCRIPT)],
        cwd=tmp_path, env={"MICROPYPATH": f"{tree}:{tree}/lib:.frozen"}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for name, (measured, reckoned) in json.loads(done.stdout.splitlines()[-1]).items():
        assert 0.7 * reckoned < measured <= reckoned, f"{name}: {measured} bytes"
