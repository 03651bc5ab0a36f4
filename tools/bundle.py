"""One file to hand on: the images of build/images with their sums, examples, licence, changes (make bundle).

In:  build/images/*.bin, *.app-bin and *.uf2, each with the .sha256 that make image wrote; files of the repository.
Out: build/meterport-VERSION.zip, the same bytes from the same files; in it SHA256SUMS of everything (sha256sum -c).
Ends with 0, with 1 when a file cannot be read or written, with 2 when there is no image, or one that is not as its sum
says.
"""

import argparse
import hashlib
import sys
import zipfile
from pathlib import Path

import firmware
from tools import image

ROOT = Path(__file__).resolve().parent.parent
VERSION = ".".join(str(number) for number in firmware.VERSION)
_ENDINGS = (".bin", ".app-bin", ".uf2")
_FILES = ("LICENSE", "CHANGELOG.md", "README.md")
_TIME = (1980, 1, 1, 0, 0, 0)  # of every file, for the same bytes each time


class BundleError(ValueError):
    """What is missing or wrong, and what would be right."""


def read_images(folder: Path) -> dict[str, bytes]:
    """{name: content} of the images of this version in that folder, and of their sums. Raises BundleError."""
    found = {}
    for path in sorted(folder.glob(f"meterport-*-{VERSION}.*")):
        if path.suffix not in _ENDINGS:
            continue
        content = path.read_bytes()
        sums = path.with_name(path.name + ".sha256")
        line = f"{hashlib.sha256(content).hexdigest()}  {path.name}\n".encode()
        if not sums.is_file() or sums.read_bytes() != line:
            raise BundleError(f"{path} is not as {sums.name} says: make image again")
        found[path.name] = content
        found[sums.name] = line
    if not found:
        raise BundleError(f"{folder} has no image of meterport {VERSION}: make image")
    return found


def write_bundle(folder: Path, target: Path, root: Path = ROOT) -> list[str]:
    """Writes the bundle; the names in it, sorted. Raises BundleError."""
    files = {f"images/{name}": content for name, content in read_images(folder).items()}
    files |= {name: (root / name).read_bytes() for name in _FILES}
    for path in sorted((root / "examples").glob("*.json")):
        files[f"examples/{path.name}"] = path.read_bytes()
    sums = [f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files)]
    files["SHA256SUMS"] = "".join(sums).encode()
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w") as bundle:
        for name in sorted(files):
            entry = zipfile.ZipInfo(f"meterport-{VERSION}/{name}", _TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            bundle.writestr(entry, files[name])
    return sorted(files)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tools.bundle", description="Packs the images and what belongs to them.")
    parser.add_argument("--images", type=Path, default=image.OUT, metavar="DIR", help="default: build/images")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / f"meterport-{VERSION}.zip", metavar="FILE")
    options = parser.parse_args(arguments)
    try:
        names = write_bundle(options.images, options.out)
    except BundleError as error:
        print(f"bundle: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"bundle: {error}", file=sys.stderr)
        return 1
    print(f"{options.out}: {len(names)} files, {options.out.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
