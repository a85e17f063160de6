"""What the errors show."""

import pytest

from steepest.errors import ScheduleError


@pytest.mark.parametrize(
    ("text", "position", "shown"),
    [
        ("warmup(5%) >> cosin", 14, ["warmup(5%) >> cosin", "              ^"]),
        ("warmup(5%)\n  >> cosin", 16, ["  >> cosin", "     ^"]),
        ("warmup(5%)\n>> cosin\n* linear", 14, [">> cosin", "   ^"]),
        ("cosin\n>> linear", 0, ["cosin", "^"]),
        ("warmup(5%)\r\n>> cosin >>\r\nlinear", 15, [">> cosin >> ", "   ^"]),
        ("\twarmup(5%)\t>>\tcosin", 15, [" warmup(5%) >> cosin", "               ^"]),
        ("warmup(5%)\x85>>\u2028cosin", 14, ["warmup(5%) >> cosin", "              ^"]),
        ("cosine(\x1b[31m)", 7, ["cosine( [31m)", "       ^"]),
        ("warmup(5%) >>\n", 14, ["warmup(5%) >>", "             ^"]),
        ("warmup(5%)\n>>  \n\n", 17, [">>  ", "  ^"]),
        ("\n \n", 3, ["", "^"]),
        ("", 0, ["", "^"]),
        ("   ", 3, ["   ", "   ^"]),
    ],
)
def test_the_caret_is_under_the_mistake(text, position, shown):
    error = ScheduleError(text, position, "what is wrong")
    said = f"Invalid schedule at character {position + 1}: what is wrong"
    assert str(error).split("\n") == [said, *(f"    {line}" for line in shown)]
    assert (error.text, error.position) == (text, position)
