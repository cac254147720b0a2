import pytest

from tools.errors import UserError


def test_a_change_is_measured_beside_the_recipe_as_it_stands(workplace):
    from tools.bench.beside import bench_beside

    recipe = workplace.recipe("phases.0.tokens=16K")
    result = bench_beside(recipe, [], ["sources.web.attention=document"], steps=2)
    assert result.steps == 2
    assert min(result.as_it_stands_s, result.changed_s, result.ratio) > 0


@pytest.mark.parametrize(
    ("changes", "steps", "message"),
    [
        (
            ["model.num_layers=3"],
            1,
            "--beside: got model.num_layers=3; expected a change that leaves the model as it is",
        ),
        (["sources.web.attention=document"], 90, "--steps: got 90; expected 1 to 60, which this recipe has"),
    ],
)
def test_what_can_not_be_compared_is_refused(workplace, changes, steps, message):
    from tools.bench.beside import bench_beside

    with pytest.raises(UserError) as error:
        bench_beside(workplace.recipe("phases.0.tokens=16K"), [], changes, steps=steps)
    assert str(error.value).startswith(message)
