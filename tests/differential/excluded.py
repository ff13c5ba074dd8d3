"""Public functions that are not compared, each with its reason. A name ending in a dot stands for all below it."""

HOST = "outside jit: numpy, texts or files"
STATIC = "says what is static: shapes, names, constants"
BUILDS = "builds static structure; what it builds is in the table"
CHAOTIC = "a whole run of a sampler or of training, which multiplies rounding; what it calls is in the table"
LOOPS = "a whole campaign: `tests/experiment` compares `run`, `simulate` and `vmap` to the last digit"

EXCLUDED = {
    HOST: """
        acquisition._domain.as_region core._ahead. core._environment. core._interning. experiment._simulate.as_partial
        inference._posterior.conditioning_ahead acquisition._acquisition.as_acquisition acquisition._acquisition.only_among core._compiler. core._compositions.
        experiment._contracts. experiment._guard.
        experiment._reach. experiment.interventions. experiment._positions. experiment._record. experiment._recovery.
        experiment._rescalarize. experiment._buffer. experiment._run. experiment._signals. experiment._simulated.
        experiment.stopping. experiment._study. experiment._suspended. experiment._tracked. experiment._versions.
        hypotheses._formulas.as_data hypotheses._formulas.distribution hypotheses._formulas.names
        hypotheses._formulas.normal hypotheses._formulas.parse images.atoms. images.descriptors.factors images.registration.words
        hypotheses._comparison.comparison_report inference._posterior.Posterior.save inference._posterior.Posterior.summary
        inference.model_average.ModelAverage.save inference.model_average.ModelAverage.summary inference._reconstruct. hypotheses._sensitivity.PriorSweep.
        hypotheses._sensitivity.prior_sweep inference._stored. hypotheses._discovery. core._inputs. models._exactness. models.gridded.blocks_of
        models.gridded.ranks models._kronecker.enough models._outlier. models._model.Model. nn._pretrain.
        models._sparse.inducing_points models._structure. models._multi_output.SpectralBasis.of core._observations.capacity_for
        core._observations.float_dtype core._observations.grow core._observations.observations core._observations.used simulators.graphene.
        core._programs.check_distribution core._programs.latent_and_observed core._programs.parameter core._programs.vetted spectra.edx.shapes
        spectra.fit.words spectra.forc.split_cycles spectra.scalarize.HasArrays. spectra.scalarize.of_reading
        spectra.streams.Source. spectra.streams.blocks spectra.streams.filtered spectra.streams.stream vae._checkpoints.
        vae._examples.examples vae._examples.unit_range vae._files. vae._model.VAE.check vae._stored. vae._inference.encode_windows
        vae._inference.trajectories nn._im2spec.Translation.predict
    """,
    STATIC: """
        experiment._experiment. images.descriptors.windows images.patches.pixel_positions inference.model_average.Hypotheses.names
        inference.model_average.ModelAverage.names inference._posterior.Posterior.without_factor inference.model_average.ModelAverage.without_factor
        inference.model_average.ModelAverage.owner core._linalg.jitter models._transform.DataTransform.bounds models.gp.GPFactor.ok
        models.gridded.Process.axes models.gridded.unit_axis models._noise.StudentNoise.fresh models._scaling.box
        models._scaling.checked core._observations.Observations.capacity simulators.diffraction.interaction
        simulators.diffraction.wavelength laws.mixtures.pairs laws.shapes.span core._poses.axes core._poses.grid
        priors.given_shapes priors.parameter_shapes priors.with_dim spectra.streams.band_pass spectra.streams.comb
        vae._examples.Examples. vae._model.VAE.branches vae._model.VAE.invariances vae._model.VAE.latent
        vae._parts.Gaussian.raw vae._training.Trained. vae._inference.Encoded. vae._fourier.Lattice. vae._fourier.lattice
        acquisition._functions.sign_of acquisition._acquisition.goals acquisition.expected_information_gain.seeks_optimum models._noise.only_known
    """,
    BUILDS: """
        acquisition._candidates.box acquisition._candidates.domain acquisition._candidates.grid acquisition._candidates.pool
        experiment._bayes_opt. hypotheses._bandit. inference.model_average.hypotheses inference.model_average.model_average kernels.coregion_prior
        means.two_dips_prior nn._encoders.encoder models._noise.HeteroscedasticNoise.prior models._noise.StudentNoise.prior
        laws.shapes.height laws.shapes.level priors.as_program priors.complete priors.default vae._model.model
        vae._model.VAE.init vae._networks. vae._parts.rotation vae._parts.scaling vae._parts.translation vae._schedules.
    """,
    CHAOTIC: "inference._ensemble. inference._nuts. nn._im2spec.im2spec vae._training.train",
    LOOPS: "experiment._simulate.",
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
