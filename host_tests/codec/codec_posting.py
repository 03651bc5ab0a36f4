"""line_protocol, acquisuite, template: what is posted, byte by byte as their descriptions have it."""

import acquisuite
import line_protocol
import template
from expect import raises


def test_a_line_has_its_tags_fields_and_time():
    line = line_protocol.head(b"meterport", [(b"gw", b"0242ac110002"), (b"meter", b"Main, east")])
    line += b" " + line_protocol.field(b"energy_import_wh", b"123400", True)
    line += b"," + line_protocol.field(b"active_power_w", b"1520.5", False) + line_protocol.end(1764101100)
    assert line == (
        b"meterport,gw=0242ac110002,meter=Main\\,\\ east energy_import_wh=123400i,active_power_w=1520.5 1764101100\n"
    )


def test_marks_of_the_line_protocol_are_escaped():
    assert line_protocol.escape(b"a,b c=d") == b"a\\,b\\ c\\=d"
    assert line_protocol.escape(b"C:\\") == b"C:/"
    assert line_protocol.escape("Z\u00e4hler".encode()) == "Z\u00e4hler".encode()
    assert line_protocol.head(b"m", [(b"meter", b"")]) == b"m"


def test_a_log_line_has_a_quoted_time_an_error_and_two_alarms():
    assert acquisuite.line_head(1764101100, acquisuite.NO_ERROR) == b"'2025-11-25 20:05:00',0,0,0"
    assert acquisuite.line_head(0, acquisuite.NO_RESPONSE) == b"'1970-01-01 00:00:00',139,0,0"


def test_a_stored_block_has_its_length_twice():
    assert acquisuite.stored_block(b"abc") == b"\x00\x03\x00\xfc\xff"
    assert acquisuite.stored_block(b"", True) == b"\x01\x00\x00\xff\xff"


def test_the_form_names_its_fields_and_its_file():
    form = acquisuite.form_head([(b"MODE", b"LOGFILEUPLOAD")], b"mb-001.log.gz")
    dashes = b"--" + acquisuite.BOUNDARY
    assert form == (
        dashes + b'\r\nContent-Disposition: form-data; name="MODE"\r\n\r\nLOGFILEUPLOAD\r\n'
        + dashes + b'\r\nContent-Disposition: form-data; name="LOGFILE"; filename="mb-001.log.gz"\r\n'
        + b"Content-Type: application/x-gzip\r\n\r\n"
    )  # fmt: skip
    assert acquisuite.form_tail() == b"\r\n" + dashes + b"--\r\n"


METERS = (
    {b"meter": b"Main", b"power": b"5"}, {b"meter": b"East", b"power": b"null"}, {b"meter": b"West", b"power": b"-1"},
)  # fmt: skip


def rendered(text, count=3):
    parts = []
    for _ in template.render(text, count, lambda name, number: METERS[number].get(name, b"?"), parts.append):
        pass
    return b"".join(parts)


def test_symbols_are_replaced():
    assert rendered(b"") == b""
    assert rendered(b"plain") == b"plain"
    assert rendered(b"$meter $power.") == b"Main 5."
    assert rendered(b"${meter}s cost 5$$ $unknown") == b"Mains cost 5$ ?"


def test_a_part_is_repeated_for_each_meter():
    text = b'{"m":[$[{"n":"$meter","w":$power}$,$]],"x":"$$"}'
    assert rendered(text) == b'{"m":[{"n":"Main","w":5},{"n":"East","w":null},{"n":"West","w":-1}],"x":"$"}'
    assert rendered(text, 1) == b'{"m":[{"n":"Main","w":5}],"x":"$"}'
    assert rendered(text, 0) == b'{"m":[],"x":"$"}'
    assert rendered(b"$[$meter $]|$[$power,$]") == b"Main East West |5,null,-1,"


def test_long_texts_come_in_small_pieces():
    sizes = []
    text = b"x" * 1000 + b"$[" + b"y" * 600 + b"$]"
    for _ in template.render(text, 2, lambda name, number: b"", lambda piece: sizes.append(len(piece))):
        pass
    assert sum(sizes) == 2200
    assert max(sizes) <= 256


def test_wrong_templates_are_refused():
    for text in (b"$", b"a $ b", b"${a", b"${}", b"$[", b"$]", b"$,", b"$[ $[ $] $]", b"$[ $", b"$-", b"$" + b"a" * 41):
        raises(ValueError, template.check, text)
    for text in (b"$$", b"$a", b"${a}$b_2", b"$[$a$,$]"):
        template.check(text)
