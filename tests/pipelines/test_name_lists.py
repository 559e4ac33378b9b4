"""Facts about lists of tickers as terminals, editors and spreadsheets hand them over."""

import codecs
from pathlib import Path

import pytest

from marketdata.recovery import errors
from pipelines.cli import name_lists

WANTED = ["AAPL", "MSFT", "BRK.B"]
TABLE = (
    'Name;Ticker;Weight\r\n"Apple; Inc.";AAPL;7,1\r\nMicrosoft ; MSFT ;6,5\r\nBerkshire;BRK.B\r\n'
)


@pytest.mark.parametrize(
    "content",
    [
        b"AAPL\nMSFT\nBRK.B\n",
        b"AAPL\r\nMSFT\r\nBRK.B",
        b"AAPL MSFT\n\n  BRK.B  \n",
        codecs.BOM_UTF8 + b"AAPL\r\nMSFT\r\nBRK.B\r\n",
        "AAPL\r\nMSFT\r\nBRK.B\r\n".encode("utf-16"),
        codecs.BOM_UTF16_BE + "AAPL\nMSFT\nBRK.B\n".encode("utf-16-be"),
        "AAPL\nMSFT\nBRK.B\n".encode("utf-16-le"),
        "AAPL\nMSFT\nBRK.B\n".encode("utf-16-be"),
        "AAPL\tMSFT\tBRK.B\n".encode("utf-32"),
        b"AAPL,MSFT,BRK.B\n",
        b"AAPL, MSFT\nBRK.B\n",
        b"AAPL;MSFT;BRK.B;\r\n",
        b'"AAPL","MSFT"\r\n"BRK.B"\r\n',
        b"Ticker\r\nAAPL\r\nMSFT\r\nBRK.B\r\n",
        b"sep=;\r\nSymbol;\r\nAAPL;\r\nMSFT;\r\nBRK.B;\r\n",
        "aapl\u00a0\nmsft\u200b \nbrk.b\t\nAAPL\n".encode(),
        TABLE.encode(),
        codecs.BOM_UTF8 + TABLE.encode(),
        TABLE.replace(";", "\t").encode("utf-16"),
    ],
    ids=lambda content: repr(content[:24]),
)
def test_a_list_is_read_however_it_was_saved(tmp_path: Path, content: bytes) -> None:
    """By editors on three systems, and by spreadsheets of two languages."""
    file = tmp_path / "list.csv"
    file.write_bytes(content)

    assert name_lists.names_of_file(file) == WANTED


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"PK\x03\x04\x14\x00", "is a spreadsheet's workbook: save it as CSV"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "is a spreadsheet's workbook: save it as CSV"),
        (b"AAPL;Soci\xe9t\xe9\n", "is not a text in UTF-8 or UTF-16: save it as CSV UTF-8"),
    ],
)
def test_what_is_no_text_is_refused_with_its_cure(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    """A workbook is no list of a million odd tickers."""
    file = tmp_path / "list.xlsx"
    file.write_bytes(content)

    with pytest.raises(errors.ConfigurationError, match=expected):
        name_lists.names_of_file(file)


def test_an_empty_file_names_nothing(tmp_path: Path) -> None:
    """Nor does one that holds a mark or a heading alone."""
    file = tmp_path / "list.csv"
    lists: list[list[str]] = []
    for content in (b"", codecs.BOM_UTF8, b"\r\n \r\n", b"Ticker\r\n"):
        file.write_bytes(content)
        lists.append(name_lists.names_of_file(file))

    assert lists == [[], [], [], []]


def test_typed_lists_take_what_was_copied_out_of_a_cell() -> None:
    """Blanks without a break, semicolons, quotes and invisible marks are between names."""
    assert name_lists.names_in('\ufeffaapl; "MSFT",\u00a0brk.b ') == WANTED


@pytest.mark.parametrize(
    ("typed", "meant"), [("APPL", "AAPL"), ("AAPLL", "AAPL"), ("MFST", "MSFT"), ("BRKB", "BRK.B")]
)
def test_a_ticker_with_a_slip_has_the_right_one_suggested_first(typed: str, meant: str) -> None:
    """Also where shorter tickers look more alike by their letters alone."""
    known = ["A", "AAL", "AAPL", "APA", "APP", "BK", "BRK.B", "MS", "MSFT", "PPL", "T"]

    assert name_lists.near(typed, known)[0] == meant


def test_a_ticker_of_ten_thousand_letters_is_not_repeated_whole() -> None:
    """A file that was taken for a list does not fill the screen."""
    assert name_lists.shown("A" * 10_000) == f"{'A' * 24}… (10,000 letters)"
    assert name_lists.shown("BRK.B") == "BRK.B"
