"""Text to groups and back; what is wrong is named, and nothing is evaluated."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coset.errors import InputError
from coset.groups.euclidean import SE, Affine, E, OneParameter, Scale, T
from coset.groups.finite import C, Cayley, D, Icosahedral, Octahedral, Tetrahedral
from coset.groups.matrix import GL, SL, SO, SU, Lorentz, O, Sp, U
from coset.groups.parse import GROUPS, parse_group
from coset.groups.permutation import S
from coset.groups.torus import Torus

WRITTEN = {
    "C(8)": C(8),
    " D( 4 ) ": D(4),
    "SO(3)": SO(3),
    "O(2)": O(2),
    "E(3)": E(3),
    'S("N")': S("N"),
    "S('N')": S("N"),
    'S("N", within="B")': S("N", within="B"),
    "S(5)": S(5),
    "GL(2)": GL(2),
    "GL+(2)": GL(2, positive=True),
    "GL(2, True)": GL(2, positive=True),
    "Icosahedral()": Icosahedral(),
    "Octahedral(inversion=True)": Octahedral(inversion=True),
    "Lorentz()": Lorentz(),
    "O(1, 3)": Lorentz(1, 3),
    "SO+(1,3)": Lorentz(restricted=True),
    'E(3) * S("N")': E(3) * S("N"),
    'E(3) ** "B"': E(3) ** "B",
    'E(3) ** "B" * S("N")': E(3) ** "B" * S("N"),
    "(C(2) * C(3)) * C(4)": C(2) * C(3) * C(4),
    'Scale(3, weights={"tau": 1.5, "l": -1e0})': Scale(3, {"tau": 1.5, "l": -1}),
    "OneParameter([[0, -1], [1, 0]])": OneParameter([[0, -1], [1, 0]]),
    "Cayley([[0,1],[1,0]])": Cayley([[0, 1], [1, 0]]),
    "Subgroup(D(4), [0, 2])": D(4).subgroup(["r^2"]),
    "Stabilizer(O(3), [0, 0, 2])": O(3).stabilizer([0, 0, 1]),
    "Affine(2, positive=True)": Affine(2, positive=True),
    "Torus(32, 16)": Torus(32, 16),
}


@pytest.mark.parametrize("text", WRITTEN)
def test_written_groups(text):
    assert parse_group(text) == WRITTEN[text]


small = st.integers(1, 6)
spread = st.floats(0, 10)
name = st.from_regex(r"\A[A-Za-z][A-Za-z0-9_]{0,5}\Z")
number = st.floats(-5, 5)
simple = st.one_of(
    *(small.map(group) for group in (C, D, O, SO, U, SU, T, S)),
    *(st.builds(group, small, spread=spread) for group in (SL, Sp, E, SE)),
    *(st.builds(group, small, st.booleans(), spread=spread) for group in (GL, Affine)),
    *(st.builds(group, st.booleans()) for group in (Tetrahedral, Octahedral, Icosahedral)),
    st.builds(Torus, small, small),
    st.builds(Lorentz, small, small, restricted=st.booleans(), spread=spread),
    st.builds(Scale, small, st.dictionaries(name, number, max_size=3), spread=spread),
    st.builds(
        OneParameter, small.flatmap(lambda n: st.lists(st.lists(number, min_size=n, max_size=n), min_size=n, max_size=n))
    ),
    st.builds(S, name, st.none() | name),
    st.builds(lambda n: Cayley(D(n).table), small),
    st.builds(lambda n, i: D(n).subgroups()[i % len(D(n).subgroups())], small, st.integers(0, 100)),
    st.builds(lambda n, v: O(n + 1).stabilizer([1.0 + v, *[v] * n]), small, st.floats(0, 5)),
)
powers = st.builds(lambda group, index: group**index, simple, name)
groups = st.lists(simple | powers, min_size=1, max_size=3)


@given(groups)
@settings(max_examples=200, deadline=None, database=None)
def test_printed_groups_are_read_back(parts):
    group = parts[0]
    for other in parts[1:]:
        group = group * other
    twin = parse_group(str(group))
    assert twin == group
    assert str(twin) == str(group)
    assert hash(twin) == hash(group)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SO3", r"did you mean 'SO\(3\)'"),
        ("so(3)", r"did you mean 'SO\(...\)'"),
        ("Icosaedral()", "did you mean 'Icosahedral'"),
        ("Q(3)", "known: "),
        ("C(-1)", "n >= 1"),
        ("C(2.5)", "n >= 1"),
        ("C('a')", "n >= 1"),
        ("C(True)", "n >= 1"),
        ("C(99999999999999999999)", "n >= 1"),
        ("C()", "missing"),
        ("C(8, 9)", "too many"),
        ("C(m=1)", "missing"),
        ("C(8", "position 3, but it ends"),
        ("", "it ends"),
        ("C(8) +", "position 5 is no part"),
        ("C(8) C(4)", "found 'C'"),
        ("T(3) *", "it ends"),
        ("GL+", "no part"),
        ("E(3) ** B", "in quotes"),
        ("S(N)", "in quotes"),
        ("S('N', size=5)", "unexpected keyword"),
        ("S('N x M')", "an index is a name"),
        ("S(3, within='B')", "open groups"),
        ("S(0)", "n >= 1"),
        ("[1]", "name of a group"),
        ("__import__('os').system('true')", "no part"),
        ("__import__('os')", "unknown group '__import__'"),
        ("(" * 200 + "C(2)", "more than 50 brackets"),
        ("Cayley(" + "[" * 200, "more than 50 brackets"),
        ("Cayley([[0, 1], [1, 1]])", "no inverse"),
        ("Scale(3, weights={'a': 'b'})", "weights"),
        ("Subgroup(SO(3), [0])", "finite group"),
        ("Subgroup(C(4), 3)", "list of indices"),
        ("C(4); D(4)", "no part"),
        (8, "text such as"),
        (None, "text such as"),
    ],
)
def test_what_is_wrong_is_named(text, message):
    with pytest.raises(InputError, match=message):
        parse_group(text)


@given(st.text(alphabet="CDSOEGL+(3)*[]{}'\"=,: .-NTrue_\\\n", max_size=30))
@settings(max_examples=300, deadline=None, database=None)
def test_any_text_is_a_group_or_an_input_error(text):
    try:
        group = parse_group(text)
    except InputError:
        return
    assert parse_group(str(group)) == group


@given(
    st.sampled_from(sorted(GROUPS)),
    st.lists(st.sampled_from(["0", "-1", "2", "1.5", "'N'", "True", "None", "[]", "[1]", "{}", "C(2)"])),
)
@settings(max_examples=300, deadline=None, database=None)
def test_any_arguments_make_a_group_or_an_error_that_names_them(name, arguments):
    try:
        parse_group(f"{name}({', '.join(arguments)})")
    except InputError as error:
        assert str(error)  # noqa: PT017
