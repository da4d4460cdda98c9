"""Properties of the planner on arbitrary matrices, and its figures on a real one."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.artifacts import Artifact, Kind, Need
from builder.layers import make_layer
from builder.plan import Content, Plan, Published, compare_plans, plan_cells
from builder.updating import UPDATES

if TYPE_CHECKING:
    from collections.abc import Sequence


def make_artifact(name: str, version: str = "1", *, need: Need = Need.NONE, size: int | None = 1000) -> Artifact:
    url = f"https://conda.example/{name}-{version}"
    return Artifact(kind=Kind.CONDA, need=need, name=name, version=version, url=url, digest="0", size=size)


@st.composite
def matrices(draw: st.DrawFn) -> list[Content]:
    """Cells with a Python each, out of two, and packages of all needs, sizes and versions."""
    pool = [
        make_artifact(
            f"p{number}",
            str(version),
            need=draw(st.sampled_from([Need.NONE, Need.RUNTIME, Need.PYTHON_NEEDED])),
            size=draw(st.sampled_from([None, 10, 5_000, 80_000_000])),
        )
        for number in range(draw(st.integers(0, 12)))
        for version in range(draw(st.integers(1, 2)))
    ]
    cells = []
    for number in range(draw(st.integers(1, 6))):
        chosen = draw(st.lists(st.sampled_from(pool), unique_by=lambda it: it.name)) if pool else []
        python = make_artifact("python", draw(st.sampled_from(["3.10", "3.11"])), need=Need.PYTHON, size=30_000)
        base = draw(st.sampled_from(["miniforge", "miniforge", "micromamba"]))
        cells.append(Content(id=f"c{number}", base=base, artifacts=frozenset([python, *chosen])))
    return cells


def require_sound(plan: Plan, *, limit: int) -> None:
    """Every cell ends with exactly what it wants, in an order in which it can be installed, within the budget."""
    for cell in plan.cells:
        installed: dict[str, Artifact] = {}
        for layer in cell.layers:
            assert layer.base == cell.content.base
            assert {installed[it.slot].key for it in layer.artifacts if it.slot in installed} == set(layer.replaced)
            installed |= {artifact.slot: artifact for artifact in layer.artifacts}
        assert frozenset(installed.values()) == cell.content.artifacts
        assert len(cell.layers) <= limit


def require_order(plan: Plan) -> None:
    for cell in plan.cells:
        first = {it for it in cell.content.artifacts if it.need in {Need.RUNTIME, Need.PYTHON}}
        for layer in cell.layers:
            first -= set(layer.artifacts)
            assert not (layer.needs_python and first), "what needs Python came before Python was complete"


@given(matrices(), st.integers(1, 8))
def test_every_cell_gets_each_of_its_artifacts_once(cells: list[Content], budget: int) -> None:
    plan = plan_cells(cells, budget=budget)
    require_sound(plan, limit=budget)
    require_order(plan)
    for cell in plan.cells:
        assert sum(len(layer.artifacts) for layer in cell.layers) == len(cell.content.artifacts)


@given(matrices(), st.data(), st.integers(1, 4))
def test_cell_without_python_has_two_layers_where_one_is_asked_for(
    cells: list[Content], data: st.DataObject, budget: int
) -> None:
    bare = data.draw(st.sets(st.sampled_from([cell.id for cell in cells]), min_size=1))
    cells = [
        replace(cell, artifacts=frozenset(it for it in cell.artifacts if cell.id not in bare or it.name != "python"))
        for cell in cells
    ]
    for cell in plan_cells(cells, budget=budget).cells:
        needs = {artifact.need for layer in cell.layers for artifact in layer.artifacts}
        both = {Need.RUNTIME, Need.PYTHON_NEEDED} <= needs and Need.PYTHON not in needs
        assert len(cell.layers) <= (max(budget, 2) if both else budget)


@given(matrices(), st.integers(2, 5), st.randoms(use_true_random=False))
def test_plan_does_not_depend_on_the_order_of_the_cells(
    cells: list[Content], budget: int, chance: random.Random
) -> None:
    shuffled = [
        replace(
            cell,
            artifacts=frozenset(chance.sample(sorted(cell.artifacts, key=lambda it: it.key), len(cell.artifacts))),
        )
        for cell in cells
    ]
    chance.shuffle(shuffled)
    assert plan_cells(shuffled, budget=budget) == plan_cells(cells, budget=budget)


@given(matrices(), st.integers(2, 5))
def test_plan_that_weighs_few_layers_at_each_node_is_sound(cells: list[Content], budget: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builder.ordering._PAIRS", 1)
        plan = plan_cells(cells, budget=budget)
        assert plan == plan_cells(cells[::-1], budget=budget)
    require_sound(plan, limit=budget)


@given(matrices(), matrices(), st.integers(1, 8))
def test_update_from_any_plan_is_sound(old: list[Content], new: list[Content], budget: int) -> None:
    plan = plan_cells(new, budget=budget, previous=plan_cells(old, budget=budget).published)
    require_sound(plan, limit=budget + 4)
    for cell in plan.cells:
        below = False
        for layer in cell.layers:
            below |= layer.has_python
            assert below or not layer.needs_python, "what needs Python came before any Python"


@given(st.lists(matrices(), min_size=2, max_size=6), st.integers(1, 6))
def test_no_sequence_of_updates_gives_more_layers_than_promised(locks: list[list[Content]], budget: int) -> None:
    published = None
    for cells in locks:
        plan = plan_cells(cells, budget=budget, previous=published)
        require_sound(plan, limit=budget + UPDATES)
        published = plan.published


@given(matrices(), st.lists(st.sets(st.integers(0, 11)), min_size=3, max_size=8), st.integers(1, 6))
def test_no_sequence_of_bumps_gives_more_layers_than_promised(
    cells: list[Content], bumps: list[set[int]], budget: int
) -> None:
    plan = plan_cells(cells, budget=budget)
    for number, names in enumerate(bumps):

        def bump(artifact: Artifact, version: str = f"b{number}", names: set[int] = names) -> Artifact:
            bumped = artifact.name in {f"p{name}" for name in names}
            return replace(artifact, version=version, url=f"{artifact.url}-{version}") if bumped else artifact

        cells = [replace(cell, artifacts=frozenset(map(bump, cell.artifacts))) for cell in cells]
        plan = plan_cells(cells, budget=budget, previous=plan.published)
        require_sound(plan, limit=budget + UPDATES)


def test_update_for_which_one_layer_of_room_is_not_enough_is_planned_anew() -> None:
    plan, cells = plan_cells(make_matrix(), budget=5), make_matrix()
    for version in "abcde":

        def bump(artifact: Artifact, version: str = version) -> Artifact:
            bumped = artifact.name in {"libgcc", "six"}
            return replace(artifact, version=version, url=f"{artifact.url}-{version}") if bumped else artifact

        cells = [replace(cell, artifacts=frozenset(map(bump, cell.artifacts))) for cell in cells]
        plan = plan_cells(cells, budget=5, previous=plan.published)
        require_sound(plan, limit=5 + UPDATES)


def test_new_cell_takes_no_more_published_layers_than_an_image_may_have() -> None:
    parts = [make_artifact(f"p{number}", size=1_000_000 - number) for number in range(12)]
    python = make_artifact("python", need=Need.PYTHON, size=30_000_000)
    some = [Content(id=f"c{it.name}", base="b", artifacts=frozenset([python, it])) for it in parts]
    before = plan_cells(some, budget=3)
    whole = Content(id="whole", base="b", artifacts=frozenset([python, *parts]))
    after = plan_cells([*some, whole], budget=3, previous=before.published)
    require_sound(after, limit=3 + UPDATES)
    known = {layer.id for layer in before.layers}
    assert known <= {layer.id for layer in after.layers}, "what was published stays with the others"
    assert len([layer for layer in after.layers if layer.id in known and after.shared_by[layer.id] == 2]) >= 3


@given(matrices(), st.integers(1, 8))
def test_plan_that_has_not_changed_is_kept(cells: list[Content], budget: int) -> None:
    plan = plan_cells(cells, budget=budget)
    assert plan_cells(cells, budget=budget, previous=plan.published) == plan


@given(matrices(), matrices(), st.integers(1, 8))
def test_plan_that_was_brought_up_to_date_is_up_to_date(old: list[Content], new: list[Content], budget: int) -> None:
    plan = plan_cells(new, budget=budget, previous=plan_cells(old, budget=budget).published)
    assert plan_cells(new, budget=budget, previous=plan.published) == plan


@given(matrices())
def test_what_the_locks_say_of_a_published_artifact_counts(cells: list[Content]) -> None:
    """The key of an artifact says what it is; the rest of what a plan on disk says of it may be older, or wrong."""
    plan = plan_cells(cells)

    def spoil(artifact: Artifact) -> Artifact:
        return replace(artifact, version="0", need=Need.NONE, size=1, index="cu0", needs=("other",))

    chains = {
        cell.id: tuple(make_layer(layer.base, map(spoil, layer.artifacts), 0, layer.replaced) for layer in cell.layers)
        for cell in plan.cells
    }
    again = plan_cells(cells, previous=Published(budget=plan.budget, chains=chains))
    assert again == plan
    assert repr(again.layers) == repr(plan.layers)


def test_published_artifact_under_another_name_stays_the_same() -> None:
    before = plan_cells(make_matrix())
    chains = {
        cell.id: tuple(
            make_layer(layer.base, (replace(it, name=f"x-{it.name}") for it in layer.artifacts), 0)
            for layer in cell.layers
        )
        for cell in before.cells
    }
    extra = make_artifact("extra", size=10)
    cells = [replace(cell, artifacts=cell.artifacts | {extra}) for cell in make_matrix()]
    after = plan_cells(cells, previous=Published(budget=before.budget, chains=chains))
    known = {layer.id for layer in before.layers}
    assert [layer.artifacts for layer in after.layers if layer.id not in known] == [(extra,)]
    assert known < {layer.id for layer in after.layers}


def test_library_that_one_python_needs_to_run_comes_before_it_in_every_cell_that_has_it() -> None:
    """It was nothing to the first cell's Python, so it could stand anywhere there."""
    library = make_artifact("zlib", size=1)
    cells = [
        Content(
            id=python,
            base="b",
            artifacts=frozenset(
                [
                    make_artifact("python", python, need=Need.PYTHON, size=30_000_000),
                    make_artifact("numpy", python, need=Need.PYTHON_NEEDED, size=8_000_000),
                    make_artifact("zstandard", need=Need.PYTHON_NEEDED, size=8_000_000),
                    replace(library, need=Need.RUNTIME if python == "3.12" else Need.NONE),
                ]
            ),
        )
        for python in ("3.11", "3.12")
    ]
    for budget in (2, 3, 14):
        require_order(plan_cells(cells, budget=budget))


@given(matrices())
def test_bytes_are_bounded_by_the_distinct_packages_and_by_the_naive_sum(cells: list[Content]) -> None:
    plan = plan_cells(cells, budget=100)
    per_base = {
        (cell.base, it): (plan.unknown if it.size is None else it.size) for cell in cells for it in cell.artifacts
    }
    once = sum(per_base.values())
    assert once <= plan.registry_bytes <= 1.0005 * once
    assert plan.unique_bytes <= plan.registry_bytes <= plan.disk_bytes <= plan.naive_bytes


def make_matrix(
    pythons: Sequence[str] = ("3.10", "3.11", "3.12"), cudas: Sequence[str] = ("11.8", "12.6")
) -> list[Content]:
    """Return a matrix in which bytes depend on nothing, on Python, on CUDA, and on both."""
    return [
        Content(
            id=f"py{python}-cu{cuda}",
            base="miniforge",
            artifacts=frozenset(
                [
                    make_artifact("libgcc", need=Need.RUNTIME, size=8_000_000),
                    make_artifact("python", python, need=Need.PYTHON, size=30_000_000),
                    make_artifact("numpy", python, need=Need.PYTHON_NEEDED, size=8_000_000),
                    make_artifact("six", python, need=Need.PYTHON_NEEDED, size=20_000),
                    make_artifact("cudnn", cuda, size=700_000_000),
                    make_artifact("torch", f"{cuda}+{python}", need=Need.PYTHON_NEEDED, size=900_000_000),
                ]
            ),
        )
        for python in pythons
        for cuda in cudas
    ]


def test_matrix_costs_its_unique_bytes() -> None:
    plan = plan_cells(make_matrix())
    assert plan.ratio == 1.0
    assert plan.naive_bytes == 6 * 1_646_020_000
    assert {plan.shared_by[layer.id] for layer in plan.layers} == {6, 3, 2, 1}


def test_what_most_bytes_share_comes_first_in_the_chain() -> None:
    plan = plan_cells(make_matrix())
    names = [[artifact.name for artifact in layer.artifacts] for layer in plan.cells[0].layers]
    assert names[:2] == [["libgcc"], ["cudnn"]]
    # Python's own layers are stored once for each CUDA, CUDA's once: the other way round would cost 2.8 GB more.
    assert plan.disk_bytes == plan.registry_bytes + 3 * 38_020_000


@pytest.mark.parametrize("name", ["six", "numpy", "libgcc", "cudnn", "torch"])
def test_bumped_package_is_all_that_is_published_anew(name: str) -> None:
    before = plan_cells(make_matrix())

    def bump(artifact: Artifact) -> Artifact:
        return replace(artifact, version="2", url=f"{artifact.url}-2") if artifact.name == name else artifact

    cells = [replace(cell, artifacts=frozenset(map(bump, cell.artifacts))) for cell in make_matrix()]
    after = plan_cells(cells, previous=before.published)
    known = {layer.id for layer in before.layers}
    new = [layer for layer in after.layers if layer.id not in known]
    assert {artifact.name for layer in new for artifact in layer.artifacts} == {name}
    assert sum(layer.size for layer in new) == sum(
        {it.key: it.size for cell in cells for it in cell.artifacts if it.name == name}.values()
    )
    for cell in after.cells:
        assert len([layer for layer in cell.layers if layer.id not in known]) == 1


def test_new_cell_changes_nothing_for_the_others() -> None:
    *some, last = make_matrix()
    before = plan_cells(some)
    after = plan_cells([*some, last], previous=before.published)
    assert after.cells[: len(before.cells)] == before.cells
    assert after.registry_bytes - before.registry_bytes == 900_000_000


def test_updates_are_given_up_when_too_many_layers_have_come_on_top() -> None:
    cells = make_matrix()
    plan = plan_cells(cells)
    sizes = []
    for version in range(2, 20):
        cells = [
            replace(
                cell,
                artifacts=frozenset(
                    replace(it, version=f"v{version}", url=f"{it.name}{it.version[-4:]}-{version}")
                    if it.name == "six"
                    else it
                    for it in cell.artifacts
                ),
            )
            for cell in cells
        ]
        plan = plan_cells(cells, previous=plan.published)
        require_sound(plan, limit=18)
        sizes.append(max(len(cell.layers) for cell in plan.cells))
    assert max(sizes) <= 18
    assert min(sizes[1:]) < max(sizes)


@pytest.mark.parametrize(
    ("heavy", "rest", "count"),
    [(30_000_000, 400_000_000, 2), (20_000_000, 300_000_000, 1), (30_000_000, 1_000_000_000, 1)],
)
def test_package_is_alone_where_its_newer_version_would_be_noticed(heavy: int, rest: int, count: int) -> None:
    """More than 25 MB, and more than 5 % of the image."""
    names = [f"light-{number}" for number in range(60)]
    packages = [make_artifact("heavy", size=heavy), *(make_artifact(name, size=rest // 60) for name in names)]
    (cell,) = plan_cells([Content(id="c", base="miniforge", artifacts=frozenset(packages))]).cells
    assert len(cell.layers) == count


def test_new_plan_is_taken_where_the_previous_one_wastes_too_much() -> None:
    whole = make_matrix()
    alone = plan_cells(whole[:1], budget=1)
    plan = plan_cells(whole, budget=14, previous=replace(alone.published, budget=14))
    assert plan == plan_cells(whole, budget=14)


def test_other_budget_is_another_plan() -> None:
    plan = plan_cells(make_matrix(), budget=14)
    assert max(len(cell.layers) for cell in plan_cells(make_matrix(), budget=3, previous=plan.published).cells) == 3


def test_bases_share_nothing() -> None:
    one, two = make_matrix(["3.10"])
    plan = plan_cells([one, replace(two, base="micromamba")])
    assert not {it.id for it in plan.cells[0].layers} & {it.id for it in plan.cells[1].layers}


@given(st.integers(0, 3))
def test_large_matrix_is_planned_within_its_budget(seed: int) -> None:
    chance = random.Random(seed)
    pool = [
        make_artifact(f"p{it}", need=chance.choice([Need.NONE, Need.PYTHON_NEEDED]), size=chance.randrange(10**7))
        for it in range(300)
    ]
    python = make_artifact("python", need=Need.PYTHON)
    cells = [
        Content(id=f"{it:04}", base="b", artifacts=frozenset([python, *chance.sample(pool, 60)])) for it in range(250)
    ]
    plan = plan_cells(cells, budget=10)
    require_sound(plan, limit=10)
    require_order(plan)


def test_layers_above_one_that_is_given_up_find_their_places_anew() -> None:
    cells = make_matrix()
    extra = make_artifact("extra", need=Need.PYTHON_NEEDED, size=10)
    before = plan_cells([replace(cell, artifacts=cell.artifacts | {extra}) for cell in cells], budget=4)
    after = plan_cells(cells, budget=4, previous=before.published)
    assert {layer.id for layer in after.layers} & {layer.id for layer in before.layers}
    require_sound(after, limit=8)
    require_order(after)


def test_update_that_cannot_be_put_in_order_is_planned_anew() -> None:
    """The old Python is in a layer that is given up, so what is above it would have to wait for what replaces it."""
    python = [make_artifact("python", version, need=Need.PYTHON, size=1) for version in ("3.10", "3.11")]
    tool = [make_artifact("tool", version, need=Need.PYTHON_NEEDED, size=1) for version in ("1", "2")]
    gone = make_artifact("gone", size=1)
    steps = [{python[0], gone}, {tool[0], make_artifact("lib", need=Need.NONE, size=9)}]
    before = Content(id="c", base="b", artifacts=frozenset().union(*steps))
    published = Published(budget=4, chains={"c": tuple(make_layer("b", artifacts, 0) for artifacts in steps)})
    after = Content(id="c", base="b", artifacts=(before.artifacts - {python[0], tool[0], gone}) | {python[1], tool[1]})
    plan = plan_cells([after], budget=4, previous=published)
    require_sound(plan, limit=8)
    require_order(plan)


def test_locks_that_know_different_sizes_of_a_package_agree_on_the_largest() -> None:
    sizes = (None, 10, 5_000)
    cells = [
        Content(id=f"c{number}", base="any", artifacts=frozenset([make_artifact("p", size=size)]))
        for number, size in enumerate(sizes)
    ]
    for found in (plan_cells(cells), plan_cells(cells[::-1])):
        assert (found.naive_bytes, found.unique_bytes, found.registry_bytes) == (15_000, 5_000, 5_000)
        assert found.unknown_sizes == 0


def test_one_address_with_two_digests_is_two_packages() -> None:
    one, two = (replace(make_artifact("p", size=1000), digest=digest) for digest in "12")
    cells = [Content(id=it.digest, base="any", artifacts=frozenset([it])) for it in (one, two)]
    found = plan_cells(cells)
    assert (found.unique_bytes, found.registry_bytes, len(found.layers)) == (2000, 2000, 2)


def test_cell_of_the_same_layers_is_not_changed_by_a_size_that_is_assumed_anew() -> None:
    some = Content(id="a", base="b", artifacts=frozenset([make_artifact("x", size=None), make_artifact("y", size=10)]))
    large = Content(id="c", base="b", artifacts=frozenset([make_artifact("z", size=10_000_000)]))
    before = plan_cells([some], budget=4)
    after = plan_cells([some, large], budget=4, previous=before.published)
    assert [it.size for it in before.layers_of("a")] != [it.size for it in after.layers_of("a")]
    assert compare_plans(after, before.published).cells == ("c",)
