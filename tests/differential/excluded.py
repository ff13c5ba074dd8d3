"""Public functions that are not compared, each with its reason. A name ending in a dot stands for all below it."""

HOST = "outside jit: numpy, texts or files"
STATIC = "says what is static: shapes, names, constants"
BUILDS = "builds static structure; what it builds is in the table"
CHAOTIC = "a whole run of a sampler or of training, which multiplies rounding; what it calls is in the table"
LOOPS = "a whole campaign: `tests/experiment` compares `run`, `simulate` and `vmap` to the last digit"

EXCLUDED = {
    HOST: """
        acquire.domain.as_region ahead. environment. interning. experiment.simulate.as_partial
        infer.posterior.conditioning_ahead acquire.score.as_score acquire.score.only_among compiler. compositions.
        experiment.contracts. experiment.guard.
        experiment.corner. experiment.interventions. experiment.places. experiment.record. experiment.recovery.
        experiment.reread. experiment.room. experiment.run. experiment.signals. experiment.simulated.
        experiment.stopping. experiment.study. experiment.suspended. experiment.tracked. experiment.versions.
        formulas.as_data formulas.distribution formulas.names
        formulas.normal formulas.parse images.atoms. images.descriptors.factors images.registration.words
        infer.checks.verdict infer.outcomes. infer.posterior.Posterior.save infer.posterior.Posterior.summary
        infer.model_average.Race.save infer.model_average.Race.summary infer.reconstruct. infer.sensitivity.PriorSweep.
        infer.sensitivity.prior_sweep infer.stored. infer.terms. inputs. models.exactness. models.gridded.blocks_of
        models.gridded.ranks models.kronecker.enough models.lone. models.model.Model. models.pretrain.
        models.sparse.inducing_points models.structure. models.vector.SpectralBasis.of observations.capacity_for
        observations.float_dtype observations.grow observations.observations observations.used physics.graphene.
        programs.check_distribution programs.latent_and_observed programs.parameter programs.vetted spectra.edx.shapes
        spectra.fit.words spectra.forc.split_cycles spectra.scalarize.HasArrays. spectra.scalarize.of_reading
        spectra.streams.Source. spectra.streams.blocks spectra.streams.filtered spectra.streams.stream vae.checkpoints.
        vae.examples.examples vae.examples.unit_range vae.files. vae.model.VAE.check vae.stored. vae.use.encode_windows
        vae.use.trajectories models.im2spec.Translation.predict
    """,
    STATIC: """
        experiment.experiment. images.descriptors.windows images.patches.pixel_positions infer.model_average.Hypotheses.names
        infer.model_average.Race.names infer.posterior.Posterior.without_factor infer.model_average.Race.without_factor
        infer.model_average.Race.owner linalg.jitter models.frame.Frame.bounds models.gp.GPFactor.ok
        models.gridded.Process.axes models.gridded.unit_axis models.noise.StudentNoise.fresh models.scaling.box
        models.scaling.checked observations.Observations.capacity physics.diffraction.interaction
        physics.diffraction.wavelength physics.mixtures.pairs physics.shapes.span poses.axes poses.grid
        priors.given_shapes priors.parameter_shapes priors.with_dim spectra.streams.band_pass spectra.streams.comb
        vae.examples.Examples. vae.model.VAE.branches vae.model.VAE.invariances vae.model.VAE.latent
        vae.parts.Gaussian.raw vae.training.Trained. vae.use.Encoded. vae.waves.Lattice. vae.waves.lattice
        acquire.scores.sign_of acquire.score.goals acquire.expected_information_gain.seeks_optimum models.noise.only_known
    """,
    BUILDS: """
        acquire.candidates.box acquire.candidates.domain acquire.candidates.grid acquire.candidates.pool
        experiment.bayes_opt. infer.bandit. infer.model_average.hypotheses infer.model_average.race kernels.coregion_prior
        means.two_dips_prior models.encoders.encoder models.noise.SmoothNoise.prior models.noise.StudentNoise.prior
        physics.shapes.height physics.shapes.level priors.as_program priors.complete priors.default vae.model.model
        vae.model.VAE.init vae.networks. vae.parts.rotation vae.parts.scaling vae.parts.translation vae.schedules.
    """,
    CHAOTIC: "infer.ensemble. infer.nuts. models.im2spec.im2spec vae.training.train",
    LOOPS: "experiment.simulate.",
}


def entries() -> list[str]:
    """All of them."""
    return [entry for names in EXCLUDED.values() for entry in names.split()]


def matches(entry: str, name: str) -> bool:
    """Whether an entry stands for `name`."""
    return name == entry or (entry.endswith(".") and name.startswith(entry))


def is_excluded(name: str) -> bool:
    """Whether a reason is given for `name`."""
    return any(matches(entry, name) for entry in entries())
