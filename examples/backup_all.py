"""Keeps the configurations of several gateways as files, one for each: FOLDER/HOST.json.

    METERPORT_PASSWORD=... .venv/bin/python examples/backup_all.py backups 192.168.1.50 192.168.1.51:8080

All have the same password here. A backup holds no secrets; a PUT of it is a restore.
`meterport config backup` does the same in parallel (docs/cli.md); this shows how a script does.
Ends with 1 when a gateway could not be reached; the others are kept all the same.
"""

import argparse
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools.device_api import ApiError, Device


def main() -> int:
    """Keep one file for each gateway. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Keeps the configurations of several gateways.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("hosts", nargs="+", metavar="HOST[:PORT]")
    options = parser.parse_args()
    password = os.environ["METERPORT_PASSWORD"]
    options.folder.mkdir(parents=True, exist_ok=True)
    failed = 0
    for place in options.hosts:
        host, _, port = place.partition(":")
        try:
            with Device(host, int(port or 80)) as device:
                device.login(password)
                config = device.config()
        except (ApiError, OSError) as error:
            print(f"{place}: {error}", file=sys.stderr)
            failed += 1
            continue
        path = options.folder / f"{place.replace(':', '-')}.json"
        path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"{place}: {path}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
