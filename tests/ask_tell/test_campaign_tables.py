"""Tables of people, in and out: pandas, xarray, ArviZ."""

import sys

import jax
import numpy as np
import pandas as pd
import pytest
from by_hand import answer, opened
from small_campaign import records

from gpax_lab import acquisition, bayes_opt, gp, hypotheses, laplace, model_average, observations, parametric, smc
from gpax_lab.ask_tell import open_campaign
from gpax_lab.inference import to_arviz
from gpax_lab.storage import read


def test_a_table_is_asked_for_filled_in_and_told(pairs, path):
    with opened(path, pairs) as campaign:
        table = campaign.ask().to_pandas()
        assert (table.index.name, list(table.columns), table.attrs["units"]) == (
            "id",
            ["x", "area"],
            {"x": "um", "area": "V"},
        )
        table.loc[0, "area"] = 0.1
        table.loc[2, "area"] = 0.3
        campaign.tell(table)
        assert campaign.waiting.ids == (1,)  # its row is empty: not measured yet
        table.loc[1, "area"] = 0.2
        campaign.tell(table)  # rows told before are told again
        assert len(records(path, "reading")) == 3
        campaign.tell(pd.DataFrame({"x": [0.31, 0.77], "height": [1.0, 2.0], "s": [0.1, 0.2]}), "height", "s")
        told = campaign.to_pandas()
        assert told.area.tolist() == [0.1, 0.2, 0.3, 1.0, 2.0]
        assert told.variance.tolist() == [0, 0, 0, 0.1, 0.2]
        assert told.status.tolist() == ["measured"] * 5
        assert told.asked_as.tolist() == ["seed"] * 3 + ["told"] * 2
        assert (told.time.diff()[3:] >= 0).all()
        for wrong, words in [
            (pd.DataFrame({"y": [0.1], "area": [1.0]}), "no column 'x'"),
            (pd.DataFrame({"x": [0.1], "y": [1.0]}), "no column 'area'"),
            (pd.DataFrame({"id": [np.nan], "area": [1.0]}), "neither"),
        ]:
            with pytest.raises(ValueError, match=words):
                campaign.tell(wrong)


def test_a_list_from_a_text_file_is_matched_by_rounded_positions(pairs, path, tmp_path):
    with opened(path, pairs) as campaign:
        answer(campaign, campaign.ask())
        points = campaign.ask()
        (tmp_path / "list.csv").write_text(f"x,area\n{points.x[1, 0]:.3f},0.7\n{points.x[0, 0]:.3f},0.6\n")
        campaign.tell(pd.read_csv(tmp_path / "list.csv"))
        assert campaign.to_pandas().area.loc[list(points.ids)].tolist() == [0.6, 0.7]
        assert not campaign.waiting.ids


def test_xarray_in_and_out(pairs, path):
    xarray = pytest.importorskip("xarray")
    with opened(path, pairs) as campaign:
        scan = xarray.DataArray([0.1, 0.5, np.nan], {"x": [0.1, 0.2, 0.3]}, "x", name="area")
        campaign.tell(scan)
        campaign.tell(xarray.Dataset({"area": ("x", [0.7])}, {"x": [0.4]}))
        campaign.fail(campaign.ask(1).ids[0], "no contact")
        told = campaign.to_xarray()
        assert told.area.attrs["units"] == "V"
        assert told.x.attrs["units"] == "um"
        assert told.x.values[:3].tolist() == [0.1, 0.2, 0.4]
        assert told.status.values.tolist() == ["measured"] * 3 + ["failed"]
        assert told.reason.values[3] == "no contact"


def test_two_inputs_by_name(path):
    where = acquisition.grid([[0.0, 1.0], [0.0, 2.0]], (4, 4))
    experiment = bayes_opt(
        gp.exact(2, bounds=[[0.0, 1.0], [0.0, 2.0]]), laplace(num_samples=4), acquisition.log_ei(), where
    )
    inputs = {"bias": ("V", 0.0, 1.0), "time": ("s", 0.0, 2.0)}
    with open_campaign(path, experiment, key=1, inputs=inputs, output=("area", "nm2")) as campaign:
        campaign.tell(pd.DataFrame({"time": [2.0, 0.5], "area": [1.0, 2.0], "bias": [0.25, 0.75]}))
        assert campaign.to_pandas()[["bias", "time"]].to_numpy().tolist() == [[0.25, 2.0], [0.75, 0.5]]
        campaign.tell([0.1, 0.2], 0.5)
        assert "3 measured" in campaign.status()
        assert campaign.to_pandas()["time_"].notna().all()
    for names in ({"id": "1", "x": "1"}, {"area": "1", "x": "1"}):
        with pytest.raises(ValueError, match="names of their own"):
            open_campaign(path.with_name("b.gpxj"), experiment, key=1, inputs=names, output=("area", "nm2"))
    assert read(path).records[0].header["axes"][1] == {"name": "time", "unit": "s", "low": 0.0, "high": 2.0}
    assert path.with_suffix(".h5").exists()


def test_without_the_libraries_it_says_what_to_install(pairs, path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.setitem(sys.modules, "xarray", None)
    monkeypatch.setitem(sys.modules, "arviz_base", None)
    with opened(path, pairs) as campaign:
        campaign.tell(campaign.ask(), [0.1, 0.2, 0.3])
        with pytest.raises(ImportError, match=r"gpax-lab\[tables\]"):
            campaign.to_pandas()
        with pytest.raises(ImportError, match=r"gpax-lab\[tables\]"):
            campaign.to_xarray()
        with pytest.raises(ImportError, match=r"gpax-lab\[arviz\]"):
            campaign.to_arviz()


X = np.linspace(0.0, 1.0, 9)
OBS = observations(X[:, None], np.sin(5 * X), 0.01, capacity=12)


def test_arviz_knows_draws_of_equal_weight_and_what_they_say_of_each_observation():
    pytest.importorskip("arviz_base")
    posterior = smc(32).init(jax.random.key(0), gp.exact(1, bounds=[[0.0, 1.0]]), OBS)
    tree = to_arviz(posterior, OBS, 200, ["bias"], "area")
    weight = np.exp(np.asarray(posterior.log_weight))
    times = np.bincount(tree["sample_stats"].draw_index.values[0], minlength=32)
    assert (np.abs(times - 200 * weight) <= 1 + 1e-9).all()  # each floor or ceil of its share
    mean = (weight[:, None] * np.asarray(posterior.params["lengthscale"])).sum(0)
    np.testing.assert_allclose(tree["posterior"].lengthscale.mean(("chain", "draw")), mean, rtol=0.05)
    assert tree["posterior"].attrs["status"] == "OK"
    assert tree["observed_data"].area.shape == (9,)
    assert tree["constant_data"].input.values.tolist() == ["bias"]
    at, spread = (np.asarray(part) for part in posterior.leave_one_out(OBS))
    draw = int(tree["sample_stats"].draw_index.values[0, 7])
    wanted = -0.5 * (np.asarray(OBS.y)[3] - at[draw, 3]) ** 2 / spread[draw, 3] - 0.5 * np.log(
        2 * np.pi * spread[draw, 3]
    )
    np.testing.assert_allclose(tree["log_likelihood"].area.values[0, 7, 3], wanted, rtol=1e-12)


def test_arviz_of_independent_observations_and_of_hypotheses():
    """Where observations are independent given the parameters, their log densities sum to the log likelihood."""
    pytest.importorskip("arviz_base")
    import numpyro.distributions as dist

    def model(power):
        return parametric(1, lambda x, p: p["a"] * x[0] ** power, {"a": dist.Normal(0.0, 1.0)}, standardize=(0.0, 1.0))

    both = hypotheses({"line": model(1), "parabola": model(2)})
    posterior = model_average(smc(16)).init(jax.random.key(0), both, OBS)
    tree = to_arviz(posterior, OBS)
    assert list(tree.children) == ["line", "parabola"]
    assert sum(tree[name].attrs["probability"] for name in tree.children) == pytest.approx(1.0)
    one, line = posterior.posteriors[0], tree["line"]
    draws = line["sample_stats"].draw_index.values[0]
    total = [one.model.log_likelihood({k: v[i] for k, v in one.params.items()}, OBS) for i in draws[:3]]
    np.testing.assert_allclose(line["log_likelihood"].y.values[0, :3].sum(1), total, rtol=1e-9)
    with pytest.raises(ValueError, match="num_samples"):
        to_arviz(one, OBS, 0)
    assert list(to_arviz(one).children) == ["posterior", "sample_stats"]
