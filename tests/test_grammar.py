"""FAULTS 10: what the grammar makes is read, what breaks it is refused; percentages over many messages."""

import pytest
import reference
from grammar import BREACHES, Speaker, broken

from sipcore import Lenience, ParseError, parse
from sipcore._message import salvage

COUNT = 500


def is_read(data: bytes, lenience: Lenience = Lenience.USUAL) -> bool:
    """Whether it is accepted; anything but a ParseError is a crash."""
    try:
        message = parse(data, lenience=lenience)
    except ParseError as error:
        assert 0 <= error.at <= len(data)
        salvage(data)
        return False
    assert bytes(message) == data
    assert parse(bytes(message)) == message
    return True


@pytest.mark.parametrize("seed", range(4))
def test_at_least_99_percent_of_valid_messages_are_read(seed: int) -> None:
    speaker = Speaker(seed)
    refused = [data for data in (speaker.message() for _ in range(COUNT)) if not is_read(data)]
    assert len(refused) <= COUNT // 100, refused[:3]


@pytest.mark.parametrize("seed", range(4))
def test_at_least_99_percent_of_valid_messages_need_no_lenience(seed: int) -> None:
    speaker = Speaker(100 + seed)
    refused = [data for data in (speaker.message() for _ in range(COUNT)) if not is_read(data, Lenience.STRICT)]
    assert len(refused) <= COUNT // 100, refused[:3]


@pytest.mark.parametrize("breach", BREACHES)
def test_at_least_95_percent_of_invalid_messages_are_refused(breach: str) -> None:
    """Each kind by itself; Max-Forwards, Contact and unknown headers are not what `parse` judges."""
    speaker = Speaker(len(breach))
    read = [data for data in (broken(speaker, breach) for _ in range(300)) if is_read(data)]
    assert len(read) <= 15, read[:3]


@pytest.mark.parametrize("seed", range(2))
def test_the_reference_parser_reads_the_same(seed: int) -> None:
    speaker = Speaker(200 + seed)
    for _ in range(COUNT // 2):
        data = (
            speaker.message()
            if speaker.random.random() < 0.5
            else broken(speaker, speaker.random.choice(list(BREACHES)))
        )
        try:
            reference.parse(data)
        except reference.Refused:
            assert not is_read(data)
        else:
            assert is_read(data)
