"""The main job: find and map the region of largest loop area on the simulated microscope."""

from gpax_lab.settings import Settings, parse


def demo_settings(steps: int = 30, seed: int = 0) -> Settings:
    """The settings of `gpax-lab demo`.

    Args:
        steps: points to choose after the seeds.
        seed: of the film, of its noise and of the campaign.

    Raises:
        SettingsError: a number is out of range.
    """
    return parse({
        "campaign": {"name": "demo", "steps": steps, "seeds": 6, "key": seed},
        "instrument": {"kind": "twin", "seed": seed, "noise": 0.02},
        "quantity": {"scalarizer": "loop_area", "goal": "maximize"},
        "model": {"kernel": "matern52"},
        "sampler": {"kind": "nuts", "num_warmup": 200, "num_samples": 300},
        # To draw a map as well, this campaign explores far more than one that only seeks the optimum.
        "acquisition": {
            "function": "log_ei", "explore": 6.0, "learn_every": 0, "candidates": {"kind": "grid", "shape": [32, 32]},
        },
    })  # fmt: skip
