from datetime import UTC, datetime, timedelta, timezone

from patchline.stream.wire.cloudevents import attributes_of, encode_attributes, rfc3339


def test_headers_become_attributes() -> None:
    """CloudEvents headers and the content type are read, the first of a name counts, others are left out."""
    flaws: list[str] = []
    headers = [
        ("ce_id", b"1"),
        ("other", b"x"),
        ("ce_id", b"2"),
        ("content-type", b"image/png"),
        ("ce_note", "ä".encode()),
    ]
    assert attributes_of(headers, flaws) == {"ce_id": "1", "content-type": "image/png", "ce_note": "ä"}
    assert flaws == []


def test_a_header_that_is_no_text_is_a_flaw() -> None:
    """It is named and left out; what comes after it is still read, and a header of None is empty."""
    flaws: list[str] = []
    headers = [("ce_id", b"\xff"), ("ce_source", b""), ("ce_type", None), ("other", b"\xff")]
    assert attributes_of(headers, flaws) == {"ce_source": "", "ce_type": ""}  # type: ignore[arg-type] # as aiokafka gives
    assert flaws == ["the header ce_id is not UTF-8"]


def test_attributes_become_headers() -> None:
    """Those that are None are left out; what UTF-8 cannot say is replaced."""
    assert encode_attributes({"a": "1", "b": None, "c": "ä", "d": ""}) == [("a", b"1"), ("c", b"\xc3\xa4"), ("d", b"")]
    assert encode_attributes({"a": "x\ud800"}) == [("a", b"x?")]


def test_times_are_written_in_utc() -> None:
    """RFC 3339 with a Z, whatever the zone."""
    assert rfc3339(datetime(2026, 1, 2, 3, 4, 5, 250_000, UTC)) == "2026-01-02T03:04:05.250000Z"
    assert rfc3339(datetime(2026, 1, 2, 1, tzinfo=timezone(timedelta(hours=2)))) == "2026-01-01T23:00:00Z"
