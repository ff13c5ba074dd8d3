"""A campaign in words: what was found, how good the map is, whether the sampler can be trusted, where the time went."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from gpax_lab.cli._review import Review
from gpax_lab.cli._units import axis_units, position, value
from gpax_lab.core import Status
from gpax_lab.experiment import reach
from gpax_lab.experiment._health import Health
from gpax_lab.experiment._versions import withdrawal
from gpax_lab.hypotheses._mixture import HypothesisMixture
from gpax_lab.inference import Posterior, coverage, recalibration
from gpax_lab.settings import Plan
from gpax_lab.storage import Contents


def summary(review: Review) -> str:
    """The summary, several paragraphs of plain text."""
    parts = [
        _head(review),
        _found(review),
        _map(review),
        _model(review),
        _intervals_so_far(review),
        fits(review.contents),
        events(review.contents),
        time_spent(review.contents),
    ]
    return "\n".join("\n".join(lines) for part in parts if (lines := list(part))) + "\n"


def _head(review: Review) -> Iterator[str]:
    chosen, points = review.plan.settings.campaign, review.points
    last = review.contents.of("stop", "reading", "intent", "fault")[-1:]
    orderly = bool(last) and last[0].kind == "stop"
    why = last[0].header["reason"] if orderly else "not stopped in an orderly way, or still under way"
    yield f'Campaign "{chosen.name}": {len(points.y)} points measured, {int(points.seed.sum())} of them seeds; {why}.'
    yield ""


def _found(review: Review) -> Iterator[str]:
    plan, belief = review.plan, review.belief
    name, unit = plan.quantity["name"], plan.quantity["unit"]
    sign, word = (1.0, "Largest") if plan.maximize else (-1.0, "Smallest")
    yield f"{word} {name}"
    good = np.isfinite(review.points.y)
    if good.any():
        at = int(np.nanargmax(sign * review.points.y))
        yield f"  measurement         {value(review.points.y[at], unit)} at {position(review.points.x[at], plan.axes)}"
    if belief is not None:
        at = int(np.argmax(sign * belief.mean))
        number = value(belief.mean[at], unit, belief.std[at])
        yield f"  posterior mean      {number} at {position(review.positions[at], plan.axes)}"
        yield from _against_truth(review, at, sign)
    yield ""


def _against_truth(review: Review, at: int, sign: float) -> Iterator[str]:
    if review.truth is None or not np.isfinite(review.truth).any():
        return
    unit, word = review.plan.quantity["unit"], _truth_word(review)
    top = int(np.nanargmax(sign * review.truth))
    yield f"  {word:<20}{value(review.truth[top], unit)} at {position(review.positions[top], review.plan.axes)}"
    if not np.isfinite(review.truth[at]):
        yield f"  regret              unknown: the position found has no usable {word} value"
        return
    regret = sign * (review.truth[top] - review.truth[at])
    share = 100.0 * regret / np.nanstd(review.truth)
    yield f"  regret              {value(regret, unit)} ({share:.1f} percent of the map's standard deviation)"


def _truth_word(review: Review) -> str:
    return "recorded" if review.recorded else "truth"


def map_error(review: Review) -> dict[str, float]:
    """RMSE, NRMSE (RMSE over the standard deviation of the truth; 1 is no skill) and coverage of the 95 percent band.

    Positions that were measured are left out of a recorded map, where they are known by heart; an empty mapping where
    there is no truth or no posterior.
    """
    if review.truth is None or review.belief is None:
        return {}
    use = np.isfinite(review.truth)
    if review.recorded:
        seen = {tuple(x) for x in review.points.x.tolist()}
        use &= np.array([tuple(x) not in seen for x in review.positions.tolist()])
    error, std = (review.belief.mean - review.truth)[use], review.belief.std[use]
    rmse = float(np.sqrt(np.mean(error**2)))
    if review.recorded and review.posterior is not None:
        std = np.sqrt(std**2 + _noise_variance(review)[use])  # recorded values are measurements, with their noise
    inside = float(np.mean(np.abs(error) <= 1.96 * std))
    return {
        "rmse": rmse,
        "nrmse": rmse / float(np.std(review.truth[use])),
        "coverage": inside,
        "positions": int(use.sum()),
    }


def _map(review: Review) -> Iterator[str]:
    error = map_error(review)
    if not error:
        return
    against = "the unmeasured usable positions" if review.recorded else "positions"
    yield f"Map against the {_truth_word(review)}, over {error['positions']} {against}"
    yield f"  RMSE                {value(error['rmse'], review.plan.quantity['unit'])}"
    yield f"  NRMSE               {error['nrmse']:.3f} (1 is no skill)"
    yield f"  95 percent band     holds {100 * error['coverage']:.1f} percent of them"
    yield ""


def _noise_variance(review: Review) -> np.ndarray:
    """(m,) of a measurement at the positions of the map."""
    assert review.posterior is not None
    posterior = review.posterior
    return np.exp(np.asarray(posterior.log_weight)) @ np.asarray(
        posterior.noise_variance(jnp.asarray(review.positions))
    )


def _model(review: Review) -> Iterator[str]:
    if review.posterior is None:
        return
    posterior, plan = review.posterior, review.plan
    weight = np.exp(np.asarray(posterior.log_weight))
    if isinstance(posterior, HypothesisMixture):
        yield "Hypotheses"
        order = np.argsort(-np.asarray(posterior.probability))
        for at in order:
            yield f"  {posterior.names[at]:<20}probability {float(posterior.probability[at]):.3f}"
    else:
        yield f"Model: {_model_words(plan.settings.model)}"
        yield from _lengthscales(posterior, plan, weight)
    yield f"  noise               {value(np.sqrt(_noise_variance(review).mean()), plan.quantity['unit'])}"
    yield ""


def _model_words(model: Any) -> str:
    words = {"exact": "Gaussian process", "sparse": "sparse Gaussian process", "deep_kernel": "deep kernel"}
    if model.kind == "parametric":
        return "a law with independent noise"
    law = " around a law" if model.mean is not None else ""
    return f"{words[model.kind]}{law}, kernel {model.kernel}"


def _lengthscales(posterior: Posterior, plan: Plan, weight: np.ndarray) -> Iterator[str]:
    """In the units of the axes, where there is one for each axis, or one for all."""
    shape = np.shape(posterior.params.get("lengthscale", np.zeros((1, 0))))[1:]
    if shape not in ((), (len(plan.axes),)) or plan.settings.model.kind == "deep_kernel":
        return
    spans = np.array([(a.high - a.low) / size for a, (size, _) in zip(plan.axes, axis_units(plan.axes), strict=True)])
    scales = np.asarray(posterior.params["lengthscale"]).reshape(weight.size, -1) * spans
    mean = weight @ scales
    sd = np.sqrt(weight @ (scales - mean) ** 2)
    each = zip(plan.axes, axis_units(plan.axes), mean, sd, strict=True)
    yield f"  length scales       {', '.join(f'{axis.name} {value(m, unit, s)}' for axis, (_, unit), m, s in each)}"


def _intervals_so_far(review: Review) -> Iterator[str]:
    if review.posterior is None or review.obs is None:
        return
    inside, number = (int(n) for n in coverage(review.posterior, review.obs))
    factor = float(recalibration(review.posterior, review.obs))
    held = f"{inside} of {number} measurements lie in the 90 percent interval that the others give for them"
    yield "Intervals"
    yield f"  coverage so far     {held}"
    yield f"  factor that holds   {factor:.2f} times the model's, by leave-one-out"
    if words := reach(review.positions, review.points.x).describe():
        yield f"  beware              {words}"
    yield ""


def fits(contents: Contents) -> Iterator[str]:
    """What became of the fits and of the proposals."""
    records = contents.of("posterior")
    if not records:
        return
    infos = [record.header["diagnostics"] for record in records]
    codes = [int(info["outcome"]) for info in infos]
    good = codes.count(Status.OK)
    yield f"Sampler: {good} of {len(codes)} fits passed every check"
    for code in sorted(set(codes) - {Status.OK}):
        count = codes.count(code)
        yield f"  {count} {'fit' if count == 1 else 'fits'}: {Status.of(code).describe()}"
    health = Health.of(contents.of("proposal"))
    if health.fallbacks:
        yield (
            f"  {health.fallbacks} of {health.proposals} proposals were chosen by distance alone: no acquisition value "
            "was finite"
        )
    last = infos[-1]
    if not np.isfinite(last["r_hat"]):  # a sampler without chains has none
        yield ""
        return
    text = f"R-hat {last['r_hat']:.3f}, effective draws {last['ess_bulk']:.0f} (bulk) and {last['ess_tail']:.0f} (tail)"
    yield f"  last fit            {text}, {last['divergences']:.0f} divergences"
    yield ""


def events(contents: Contents) -> Iterator[str]:
    """Failures, interventions, changes and resumptions."""
    again = {record.header["token"] for record in contents.of("reread")}
    bad = [record for record in contents.of("reading") if not record.header.get("ok", True)]
    failed = [record for record in bad if record.header["token"] not in again]
    yield f"Measurements: {len(failed)} failed"
    reasons = [record.header.get("reason") or "no reason given" for record in failed]
    for reason in dict.fromkeys(reasons):
        yield f"  {reasons.count(reason)} of them: {reason}"
    if again:
        yield f"  {len(again)} that the scalarizer could not use at first were scalarized again later"
    elsewhere = sum("position_differs" in record.header.get("flags", ()) for record in contents.of("reading"))
    if elsewhere:
        yield f"  {elsewhere} were taken away from the position requested; the model learns them where they were taken"
    for record in contents.of("fault"):
        words = " ".join([record.header["text"], *record.header.get("notes", ())])
        yield f"  fault after step {record.step}: {record.header['error']}: {words}"
    for record in contents.of("lost"):
        yield f"  the instrument could not be reached after step {record.step}: {record.header['text']}"
    for record in contents.of("suspended"):
        seconds = record.header["seconds"]
        yield f"  the program or the machine stood still for {seconds:.0f} s after step {record.step}"
    actions = [_asked(record.header) for record in contents.of("intervention")]
    yield f"Interventions: {', '.join(actions) if actions else 'none'}"
    if acts := [_asked(record.header) for record in contents.of("act")]:
        yield f"Acts of people on the loop: {', '.join(acts)}"
    if refused := len(contents.of("refusal")):
        yield f"Refused: {refused} {'wish' if refused == 1 else 'wishes'} of people"
    for record in contents.of("settings"):
        yield f"Settings changed after step {record.step}: {'; '.join(record.header['changes'])}"
    if resumed := len(contents.of("resume")):
        yield f"Resumed {'once' if resumed == 1 else f'{resumed} times'}"
    if changed := [words for record in contents.of("resume") for words in record.header.get("changed", ())]:
        yield withdrawal(dict.fromkeys(changed))
    if contents.ignored:
        yield f"{contents.ignored} bytes of the journal belong to no entry (an unfinished write, or another program's)"
    yield ""


def _asked(header: Mapping[str, Any]) -> str:
    """What was asked for, with who and why where they are known."""
    who = ": ".join(word for word in (header.get("by", ""), header.get("why", "")) if word)
    return f"{header['action']} ({who})" if who else header["action"]


def time_spent(contents: Contents) -> Iterator[str]:
    """Where the time went."""
    steps = _intervals(contents)
    timings = [record.header for record in contents.of("timing")]
    if not steps["instrument"]:
        return
    yield "Time"
    yield f"  instrument          {np.median(steps['instrument']):.3g} s a point (median)"
    if steps["statistics"]:
        yield f"  statistics          {np.median(steps['statistics']):.3g} s a step (median): fit and next proposal"
    if timings:
        compiling, wall = (sum(t[name] for t in timings) for name in ("compile_s", "wall_s"))
        yield f"  compiling           {compiling:.3g} s of {wall:.3g} s in all"


def _intervals(contents: Contents) -> dict[str, list[Any]]:
    """Seconds between a measurement and the next intent (statistics), and within measurements (instrument)."""
    found: dict[str, list[Any]] = {"instrument": [], "statistics": []}
    since: float | None = None
    for record in contents.records:
        if record.kind == "reading":
            since = record.monotonic
            found["instrument"] += [record.header["seconds"]] if "seconds" in record.header else []
        elif record.kind == "intent" and since is not None and record.header.get("phase") != "seed":
            found["statistics"].append(record.monotonic - since)
            since = None
        elif record.kind in ("resume", "stop", "suspended"):
            since = None
    return found
