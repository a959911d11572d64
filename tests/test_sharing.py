"""Equal texts are one object."""

from sipcore.sharing import LONGEST, share


def text(size: int) -> str:
    return "".join(["x"] * size)


def test_equal_texts_are_one_object():
    assert share(text(20)) is share(text(20))


def test_long_texts_are_left_alone():
    long = text(LONGEST + 1)
    assert share(long) is long and share(text(LONGEST + 1)) is not long
