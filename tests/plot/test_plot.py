"""Plots: the artists and units that a reader needs are there, and they show the numbers that were given."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")
from matplotlib.collections import QuadMesh
from matplotlib.patches import Rectangle

from gpax_lab import plot
from gpax_lab.laws import domain_writing as domains
from gpax_lab.laws import shapes
from gpax_lab.plot._base import GREEN


@pytest.fixture
def told():
    """The arguments of a campaign on a 4 x 3 grid: nine points, one of them failed."""
    axis_x, axis_y = np.linspace(0.0, 2.0, 4), np.linspace(0.0, 1.0, 3)
    places = np.stack([a.ravel() for a in np.meshgrid(axis_x, axis_y, indexing="ij")], axis=1)
    truth = 10.0 * places[:, 0] + places[:, 1]
    y = np.arange(9.0)
    y[4] = np.nan
    mean = truth - 2.0 * (places[:, 0] == 2.0) * places[:, 1]
    return {
        "x": places[:9], "y": y, "positions": places, "mean": mean, "std": 1.0 + places[:, 1],
        "truth": truth, "best": np.array([3.0, 5.0, 8.0]), "expected": np.array([2.5, 6.0, 8.5]),
        "axes": [("x", "um"), ("y", "um")], "quantity": ("loop area", "pm"), "seeds": 3, "title": "film",
    }  # fmt: skip


def panel(figure, title):
    return next(ax for ax in figure.axes if ax.get_title() == title)


def mesh(ax):
    return next(artist for artist in ax.collections if isinstance(artist, QuadMesh))


def test_every_map_shows_its_numbers_where_they_belong(told):
    figure = plot.campaign(**told)
    for title, values in (("truth", told["truth"]), ("posterior mean", told["mean"])):
        image = mesh(panel(figure, title)).get_array()
        assert np.array_equal(image, np.asarray(values).reshape(4, 3).T)  # rows are y, columns x
    spread = mesh(panel(figure, "posterior standard deviation")).get_array()
    assert np.array_equal(spread, told["std"].reshape(4, 3).T)


def test_truth_and_mean_share_one_colour_scale_and_the_standard_deviation_starts_at_zero(told):
    figure = plot.campaign(**told)
    scales = [mesh(panel(figure, title)).get_clim() for title in ("truth", "posterior mean")]
    assert scales[0] == scales[1] == (0.0, 21.0)
    assert mesh(panel(figure, "posterior standard deviation")).get_clim()[0] == 0.0


def test_axes_and_colour_bars_carry_units(told):
    figure = plot.campaign(**told)
    for title in ("truth", "posterior mean", "posterior standard deviation", "points in order"):
        ax = panel(figure, title)
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("x (µm)", "y (µm)")
    bars = [ax.get_ylabel() for ax in figure.axes if ax.get_label() == "<colorbar>"]
    assert bars == ["loop area (pm)", "loop area (pm)", "sd of loop area (pm)", "order of measurement"]
    assert panel(figure, "convergence").get_ylabel() == "loop area (pm)"
    assert figure.get_suptitle() == "film"


def test_points_are_coloured_by_their_order_and_failures_are_marked(told):
    figure = plot.campaign(**told)
    ax = panel(figure, "points in order")
    dots = ax.collections[0]
    assert dots.get_array().tolist() == [1, 2, 3, 4, 6, 7, 8, 9]
    assert np.array_equal(dots.get_offsets(), np.delete(told["x"], 4, axis=0))
    crosses = next(line for line in ax.lines if line.get_marker() == "x")
    assert np.array_equal(crosses.get_xydata(), told["x"][4:5])
    squares = next(line for line in ax.lines if line.get_marker() == "s")
    assert np.array_equal(squares.get_xydata(), told["x"][:3])
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words == ["true maximum", "maximum of the posterior mean", "seed", "failed measurement"]


def test_the_marks_sit_on_the_extrema(told):
    figure = plot.campaign(**told)
    marks = {line.get_marker(): line.get_xydata().tolist() for line in panel(figure, "truth").lines}
    assert marks == {"o": [[2.0, 1.0]], "+": [[2.0, 0.0]]}
    figure = plot.campaign(**told | {"maximize": False})
    marks = {line.get_marker(): line.get_xydata().tolist() for line in panel(figure, "truth").lines}
    assert marks == {"o": [[0.0, 0.0]], "+": [[0.0, 0.0]]}


def test_convergence_shows_best_expected_and_truth(told):
    ax = panel(plot.campaign(**told), "convergence")
    lines = {line.get_label(): np.asarray(line.get_ydata()).tolist() for line in ax.lines}
    assert lines == {
        "largest measurement so far": [3.0, 5.0, 8.0],
        "largest posterior mean": [2.5, 6.0, 8.5],
        "truth": [21.0, 21.0],
    }


def test_unknown_truth_and_points_without_a_grid(told):
    scattered = told["positions"] + np.linspace(0.0, 0.1, 12)[:, None] ** 2
    figure = plot.campaign(**told | {"truth": None, "positions": scattered})
    assert panel(figure, "truth").texts[0].get_text() == "unknown"
    dots = panel(figure, "posterior mean").collections[0]
    assert np.array_equal(dots.get_array(), told["mean"])
    figure = plot.campaign(**told | {"mean": None, "std": None})
    assert panel(figure, "posterior mean").texts[0].get_text() == "unknown"


def test_a_hole_in_a_recorded_map_is_grey_not_zero(told):
    truth = told["truth"].copy()
    truth[5] = np.nan
    image = mesh(panel(plot.campaign(**told | {"truth": truth}), "truth")).get_array()
    assert np.isnan(np.asarray(image, float).ravel()).sum() + np.ma.count_masked(image) >= 1


def test_one_input_gets_a_band_of_95_percent(told):
    x, mean, std = np.linspace(0.0, 1.0, 5), np.arange(5.0), np.full(5, 0.5)
    figure = plot.campaign(
        **told | {"x": x[:3, None], "y": np.array([0.0, np.nan, 2.0]), "positions": x[::-1, None], "mean": mean[::-1],
                  "std": std, "truth": None, "axes": [("V", "V")]}
    )  # fmt: skip
    ax = panel(figure, "posterior")
    corners = ax.collections[0].get_paths()[0].vertices
    assert np.isclose(corners[:, 1].min(), -0.98)
    assert np.isclose(corners[:, 1].max(), 4.98)
    assert ax.get_xlabel() == "V (V)"
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [
        "posterior mean",
        "95 % band",
        "measurement",
        "failed measurement",
    ]


def test_three_inputs_show_the_measurements_along_each(told):
    x = np.arange(27.0).reshape(9, 3)
    axes = [("x", "um"), ("T", "K"), ("V", "V")]
    figure = plot.campaign(**told | {"x": x, "positions": np.zeros((4, 3)), "mean": np.zeros(4), "std": np.ones(4),
                                     "truth": None, "axes": axes})  # fmt: skip
    assert [ax.get_xlabel() for ax in figure.axes[:3]] == ["x (µm)", "T (K)", "V (V)"]
    for k, ax in enumerate(figure.axes[:3]):
        shown = ax.collections[0].get_offsets()
        assert np.array_equal(shown, np.stack([x[[0, 1, 2, 3, 5, 6, 7, 8], k], np.delete(told["y"], 4)], axis=1))


def test_posterior_of_one_input_draws_into_given_axes():
    from matplotlib.figure import Figure

    ax = Figure().add_subplot()
    x = np.linspace(0.0, 1.0, 5)
    figure = plot.posterior_1d(x, x, 0.1 + 0 * x, draws=np.stack([x, 2 * x]), next_x=0.7, axis=("bias", "V"), ax=ax)
    assert figure is ax.get_figure()
    assert ax.get_xlabel() == "bias (V)"
    assert sum(line.get_color() == GREEN for line in ax.lines) == 2
    assert next(line for line in ax.lines if line.get_label() == "next point").get_xdata()[0] == 0.7


def test_marginals_are_weighted_densities_with_units():
    draws = {"lengthscale": np.array([[1.0, 10.0], [2.0, 20.0]]), "noise": np.array([0.1, 0.2])}
    figure = plot.parameters(
        draws, draws, weight=[0.75, 0.25], units={"lengthscale": "um"}, truth={"noise": 0.15}, bins=2
    )
    assert [ax.get_xlabel() for ax in figure.axes[:3]] == ["lengthscale[0] (µm)", "lengthscale[1] (µm)", "noise"]
    bars = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    areas = [patch.get_width() * patch.get_height() for patch in bars]
    assert np.allclose(areas, [0.75, 0.25])
    assert figure.axes[2].lines[0].get_xdata()[0] == 0.15


def test_a_reconstruction_shows_holes_mean_and_doubt_on_honest_scales():
    image = np.array([[1.0, np.nan, 3.0], [np.nan, 5.0, np.nan]])
    mean, std = np.arange(6.0).reshape(2, 3), np.array([[0.1, 0.5, 0.1], [0.6, 0.1, 0.7]])
    figure = plot.reconstruction(image, mean, std, ("phase", "deg"))
    shown = {ax.get_title(): ax.images[0] for ax in figure.axes if ax.images}
    assert list(shown) == ["measured (50 percent)", "posterior mean", "posterior standard deviation"]
    holes = np.ma.getmaskarray(shown["measured (50 percent)"].get_array())
    assert np.array_equal(holes, np.isnan(image))
    assert np.array_equal(shown["posterior mean"].get_array(), mean)
    assert shown["measured (50 percent)"].get_clim() == shown["posterior mean"].get_clim() == (0.0, 5.0)
    assert shown["posterior standard deviation"].get_clim() == (0.0, 0.7)
    bars = [ax.get_ylabel() for ax in figure.axes if ax.get_label() == "<colorbar>"]
    assert bars == ["phase (deg)", "phase (deg)", "sd of phase (deg)"]
    with pytest.raises(ValueError, match="rows, columns"):
        plot.reconstruction(image, mean[:1], std)


def test_curves_of_a_prior_show_their_scatter_and_are_not_flattened_by_a_wild_one():
    x = np.linspace(0.0, 0.2, 7)
    draws = np.outer(np.linspace(-1.0, 1.0, 101), np.ones(7))
    draws[0] = 1e6
    figure = plot.curves(x, draws, ("x", "um"), ("phase", "deg"), "m = C")
    ax = figure.axes[0]
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("x (µm)", "phase (deg)", "m = C")
    assert ax.get_ylim()[1] < 10
    np.testing.assert_allclose(ax.lines[-1].get_ydata(), np.median(draws[:, 0]))
    with pytest.raises(ValueError, match="one curve a row"):
        plot.curves(x, draws.T)


def test_probabilities_are_drawn_with_their_error():
    p = np.array([[0.5, 0.5], [0.2, 0.8], [0.01, 0.99]])
    figure = plot.probabilities([2, 3, 4], p, ["jump", "smooth"], 0.1 * p)
    ax = figure.axes[0]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["jump", "smooth"]
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), p[:, 1])
    band = ax.collections[1].get_paths()[0].vertices
    assert band[:, 1].max() == 1.0
    with pytest.raises(ValueError, match=r"must be \(3, 2\)"):
        plot.probabilities([2, 3, 4], p.T, ["jump", "smooth"])


def test_a_law_is_drawn_as_curves_or_maps():
    figure = plot.law(shapes.line((0.0, 2.0), (0.0, 1.0)), [(0.0, 2.0)], {"x": "um"}, count=10)
    assert figure.axes[0].get_title().startswith("m = C + k")
    assert figure.axes[0].get_xlabel() == "x (µm)"
    maps = plot.law(domains.charge_injection((1.0, 10.0), 5.0), [(1.0, 10.0), (-3.0, 2.0)], {"x[0]": "V"})
    assert sum(bool(ax.images) for ax in maps.axes) == 4
    assert maps.axes[0].get_xlabel() == "x[0] (V)"
    assert maps.axes[0].images[0].get_extent() == [1.0, 10.0, -3.0, 2.0]
    with pytest.raises(ValueError, match="bounds of shape"):
        plot.law(shapes.line((0.0, 2.0), (0.0, 1.0)), [(0.0, 2.0), (0.0, 1.0)])


def test_recovery_confusion_and_sweep_show_what_they_are_given():
    rate = np.linspace(0.2, 0.9, 12).reshape(2, 2, 3)
    figure = plot.recovery([2, 3, 4], {"rate": rate, "low": rate - 0.1, "high": rate + 0.1}, "ab", ["flat", "line"])
    assert [ax.get_title() for ax in figure.axes] == ["flat true", "line true"]
    np.testing.assert_array_equal(figure.axes[1].lines[0].get_ydata(), rate[0, 1])
    table = plot.confusion([[0.9, 0.1], [0.25, 0.75]], ["flat", "line"], ["flat", "line"], "evidence")
    assert [text.get_text() for text in table.axes[0].texts] == ["0.90", "0.10", "0.25", "0.75"]
    with pytest.raises(ValueError, match=r"must be \(2, 3\)"):
        plot.confusion(np.eye(2), ["a", "b"], ["a", "b", "c"])
    sweep = plot.prior_sweep([0.5, 1.0], [[1.0, np.nan], [2.0, 3.0]], ["a", "b"])
    assert [text.get_text() for text in sweep.axes[0].get_xticklabels()] == ["0.5", "1"]
    with pytest.raises(ValueError, match=r"must be \(2, 1\)"):
        plot.prior_sweep([0.5, 1.0], [[1.0, 2.0], [2.0, 3.0]], ["a"])


ODD = r"$\foo$"
"""A name between the signs that matplotlib takes for a formula, which it can not read."""


def _all_plots(told):
    places, means = np.linspace(0.0, 1.0, 5), np.zeros((3, 5))
    yield plot.campaign(**{**told, "axes": [(ODD, ODD), (ODD, "um")], "quantity": (ODD, ODD), "title": ODD})
    yield plot.parameters({ODD: np.arange(9.0)}, units={ODD: ODD})
    yield plot.curves(places, means, (ODD, ODD), ODD, ODD)
    yield plot.probabilities(np.arange(3), np.full((3, 1), 0.5), [ODD])
    yield plot.confusion(np.eye(2), [ODD, "b"], [ODD, "b"], ODD)
    yield plot.prior_sweep([0.5, 1.0, 2.0], np.zeros((3, 1)), [ODD])
    yield plot.ternary(np.eye(3), [1.0, 2.0, 3.0], [ODD, "b", "c"], quantity=ODD, title=ODD).figure
    yield plot.manifold(np.zeros((2, 2, 4, 4)), (ODD, ODD))


def test_no_name_of_a_user_can_lose_a_plot(told, tmp_path):
    for number, figure in enumerate(_all_plots(told)):
        figure.savefig(tmp_path / f"{number}.png", dpi=30)
        assert (tmp_path / f"{number}.png").stat().st_size > 0
