"""tools/page.py: one document out of many files, packed the same way every time."""

import gzip
import hashlib
import json
import re

import pytest

from firmware.services.http import page_file
from tools import build, page

PLURALS = ("meters",)  # that the page makes of a singular
SOURCES = {
    "index.html": "<!-- out -->\n<style>\n  {{a.css}}\n</style>\n\n<script>\n  {{b.js}}\n</script>\n",
    "a.css": "/* of the page */\np {\n  margin: 0;\n}\n",
    "b.js": '// says it\nconst url = "http://x"; // behind code\n\nif (url) {\n  go(`${url}`);\n}\n',
}


@pytest.fixture
def root(tmp_path):
    for name, text in SOURCES.items():
        path = tmp_path / page.SOURCES / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def made(root, name):
    return (root / page.SOURCES.parent / name).read_bytes()


def test_the_document_holds_all_sources_without_comments_and_indentation(root):
    assert page.document(root) == (
        '<style>\np{\nmargin:0;\n}\n</style>\n<script>\nconst url="http://x";\nif(url){\ngo(`${url}`);\n}\n</script>\n'
    )


def test_the_packed_page_is_what_gunzip_takes_and_the_tag_is_its_hash(root):
    page.write(root)

    packed = made(root, "page.html.gz")
    assert gzip.decompress(packed).decode() == page.document(root)
    assert packed[4:8] == bytes(4)  # no time, RFC 1952 2.3.1
    assert made(root, "page.etag").decode() == hashlib.sha256(packed).hexdigest()[:16]


def test_a_part_is_a_gzip_file_of_its_own_and_changes_the_tag(root):
    folder = root / page.PARTS
    folder.mkdir()
    (folder / "c.js").write_text("// of the part\nconst c = 1;\n")
    (folder / "de.json").write_text('{\n  "Save": "Sichern",\n  "Bus": "Bus"\n}\n')
    page.write(root)
    assert gzip.decompress(made(root, "parts/c.js.gz")) == b'"use strict";\nconst c=1;\n'
    assert gzip.decompress(made(root, "parts/de.json.gz")) == b'[0,"Sichern"]'
    assert gzip.decompress(made(root, "parts/keys.json.gz")) == b'["Bus","Save"]'
    tag = made(root, "page.etag")
    (folder / "c.js").write_text("const c = 2;\n")
    (folder / "de.json").unlink()
    page.write(root)
    assert made(root, "page.etag") != tag
    assert [path.name for path in (root / page.SOURCES.parent / "parts").iterdir()] == ["c.js.gz"]


def test_dictionaries_of_other_keys_are_refused(root):
    folder = root / page.PARTS
    folder.mkdir()
    (folder / "de.json").write_text('{"Save": "Sichern"}')
    (folder / "fr.json").write_text('{"Bus": "Bus"}')
    with pytest.raises(page.PageError, match=r"fr\.json: its keys"):
        page.write(root)


SQUEEZED = {
    "const a = b + +c - -d;": "const a=b + +c - -d;",
    "f(\"a , b\", 'c : d') ? x : y; // gone": "f(\"a , b\",'c : d')?x:y;",
    "`a , ${f({ b: `c ; ${d}` })} , e` + g;": "`a , ${f({ b: `c ; ${d}` })} , e` + g;",
    "text.replace(/[/ ,] \\/ x/g, (all, one) => one / 2);": "text.replace(/[/ ,] \\/ x/g,(all,one)=>one / 2);",
    "return !a && b in c || typeof d;": "return!a&&b in c||typeof d;",
    "for (const one of [1, 2]) { }": "for(const one of[1,2]){}",
}


@pytest.mark.parametrize("line", SQUEEZED)
def test_spaces_that_say_nothing_are_left_out_but_not_those_of_texts(root, line):
    (root / page.SOURCES / "b.js").write_text(line + "\n")
    assert page.document(root).splitlines()[-2] == SQUEEZED[line]


def test_the_server_knows_all_parts_of_this_page():
    assert tuple(name.encode() for name in page.packed_parts()) == page_file._PARTS


def test_what_has_not_changed_is_not_written_again_and_what_has_gets_another_tag(root):
    page.write(root)
    target = root / page.SOURCES.parent / "page.html.gz"
    before, tag = target.stat(), made(root, "page.etag")
    page.write(root)
    assert (target.stat().st_ino, target.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)

    (root / page.SOURCES / "a.css").write_text("p { margin: 1px; }\n")
    page.write(root)
    assert made(root, "page.etag") != tag
    assert {path.name for path in target.parent.iterdir()} == {"page", "page.html", "page.html.gz", "page.etag"}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("b.js", "x;\nconst a = `\n  b`;\n", "b.js:2: a template literal"),
        ("b.js", 'const a = "</script>";\n', "b.js:1: this would end the script"),
        ("a.css", "\n".join(hashlib.sha256(b"%d" % n).hexdigest() for n in range(1200)), "more than 40960"),
    ],
)
def test_a_source_that_would_spoil_the_page_is_refused(root, name, text, said):
    (root / page.SOURCES / name).write_text(text)

    with pytest.raises(page.PageError, match=re.escape(said)):
        page.write(root)


def test_the_board_gets_the_page_packed_and_plain_and_none_of_its_sources(root, tmp_path):
    for name in build.STARTERS:
        (root / name).write_text("")
    out = tmp_path / "out" / "device"

    build.build(out, progress=lambda text: None, root=root)
    folder = out / page.SOURCES.parent
    assert {path.name for path in folder.iterdir()} == {"page.html", "page.html.gz", "page.etag"}
    assert (folder / "page.html.gz").read_bytes() == page.packed(root)
    assert (folder / "page.html").read_text() == page.document(root)

    (root / page.SOURCES / "b.js").write_text("const a = `\n")
    with pytest.raises(build.BuildError, match=r"b\.js:1"):
        build.build(out, progress=lambda text: None, root=root)


def test_the_page_of_this_firmware_refers_to_nothing_outside_itself():
    text = page.document()

    assert re.findall(r"\{\{|\}\}\n", text) == []
    assert re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', text) == []
    # The one address in it is the name of SVG's elements, which nobody fetches.
    assert set(re.findall(r"https?://[\w./]*", text)) == {"http://www.w3.org/2000/svg"}
    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(| on\w+=", text) == []


def test_each_key_of_a_dictionary_is_of_the_page_and_each_card_and_button_has_one():
    """The words of a key stand in the sources, since numbers ({}) and plurals are put in there."""
    folder = page.ROOT / page.SOURCES
    paths = sorted(folder.glob("*.js")) + sorted((page.ROOT / page.PARTS).glob("*.js"))
    sources = "\n".join(
        path.read_text(encoding="utf-8")
        for path in [
            *paths,
            folder / "index.html",
            *(page.ROOT / "docs/reference" / name for name in ("points.md", "http.md")),
        ]
    )
    for path in sorted((page.ROOT / page.PARTS).glob("*.json")):
        book = json.loads(path.read_text(encoding="utf-8"))
        for key in book:
            words = [word for word in re.findall(r"[A-Za-z-]{3,}", key) if word not in PLURALS]
            assert all(word.lower() in sources.lower() for word in words), (path.name, key)
        for text in re.findall(r'(?:card|button)\("([^"{]+)"', sources):
            assert text in book, (path.name, text)


def test_no_two_scripts_of_the_page_declare_the_same_name():
    """All of them become one script: a second declaration is a syntax error, and the page stays empty."""
    declared = {}
    for path in sorted((page.ROOT / page.SOURCES).glob("*.js")):
        text = path.read_text(encoding="utf-8")
        names = re.findall(r"^(?:const|let|class|function|async function) (\w+)", text, re.MULTILINE)
        for name in names + re.findall(r"^const .*, ([A-Z_]{3,}) = ", text, re.MULTILINE):
            assert name not in declared, f"{name}: {declared[name]} and {path.name}"
            declared[name] = path.name
    assert len(declared) > 50
