"""Tables on a narrow terminal: every figure whole, every row named."""

from hypothesis import given
from hypothesis import strategies as st

from edgelm.cli.console import PlainConsole
from edgelm.cli.folding import fold
from edgelm.cli.tables import make_table

HEADER = ("subject", "batch", "p50 ms", "p90 ms", "p95 ms", "p99 ms", "mean ms", "texts/s", "vs teacher")
ROWS = [
    (name, "1", "0.358 (0.289-0.451)", "33.600", "45.400", "66.145", "5.900", "167", "293.00x (241.84-363.64)")
    for name in ("intents", "teacher-int8 on a host")
]


def shown(width, capsys):
    table = make_table(*HEADER, title="Latency")
    for row in ROWS:
        table.add_row(*row)
    PlainConsole(force_terminal=True, width=width, color_system=None, markup=False, highlight=False).print(table)
    return capsys.readouterr().out


def test_a_narrow_terminal_shows_every_figure_in_a_row_with_its_name(capsys):
    lines = shown(80, capsys).splitlines()
    assert all(len(line) <= 80 for line in lines)
    for row in ROWS:
        mine = [line for line in lines if line.startswith(row[0])]
        assert len(mine) > 1
        assert all(any(cell in line for line in mine) for cell in row)
    assert sum("Latency" in line for line in lines) == 1


def test_a_wide_terminal_shows_one_table(capsys):
    assert len(shown(160, capsys).splitlines()) == 2 + len(ROWS)  # title, header, rows


@given(st.lists(st.integers(1, 60), max_size=12), st.integers(1, 200))
def test_no_column_is_lost_and_the_first_is_in_every_part(widths, room):
    blocks = fold(widths, room)
    assert [index for block in blocks for index in block if index] == list(range(1, len(widths)))
    assert all(block[0] == 0 for block in blocks if block)
    assert all(sum(widths[index] for index in block) <= room or len(block) <= 2 for block in blocks)
