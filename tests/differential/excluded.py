"""Public functions that are not compared, each with its reason. A name ending in a dot stands for all below it."""

HOST = "outside jit: numpy, texts or files"
STATIC = "says what is static: shapes, names, constants"
BUILDS = "builds static structure; what it builds is in the table"
CHAOTIC = "a whole run of a sampler or of training, which multiplies rounding; what it calls is in the table"
LOOPS = "a whole campaign: `tests/experiment` compares `run`, `simulate` and `vmap` to the last digit"

EXCLUDED = {
    HOST: """
        core._plugins.
        core._priors.check_function
        core._priors.name_of
        experiment._health.
        experiment._study_blocks.
        experiment._study_executor.
        hypotheses._mixture.HypothesisMixture.status
        inference._posterior.Posterior.status
        inference._checks.check_start
        inference._posterior.status_in_words
        experiment._past.
        _lazy.
        acquisition._acquisition.as_acquisition
        acquisition._acquisition.need_positive
        acquisition._acquisition.only_among
        acquisition._candidates.closing
        acquisition._candidates.with_room
        acquisition._domain.as_region
        core._ahead.
        core._axes.
        core._compiler.
        core._compositions.
        core._environment.
        core._inputs.
        core._interning.
        core._measurement.
        core._observations.capacity_for
        core._observations.float_dtype
        core._observations.grow
        core._observations.observations
        core._observations.used
        core._programs.check_distribution
        core._structural.alike
        core._programs.latent_and_observed
        core._programs.parameter
        core._programs.vetted
        core._status.Status.describe
        core._status.Status.of
        experiment._adoption.
        experiment._asking.
        experiment._buffer.
        experiment._contracts.
        experiment._guard.
        experiment._history.
        experiment._identity.
        experiment._intervention_records.
        experiment._journalling.
        experiment._learning.
        experiment._measuring.
        experiment._positions.
        experiment._reach.
        experiment._record.
        experiment._recovery.
        experiment._rescalarize.
        experiment._run.
        experiment._scalarizers.
        experiment._signals.
        experiment._simulate.as_partial
        experiment._simulated.
        experiment._study.
        experiment._suspended.
        experiment._tracked.
        experiment._versions.
        experiment.interventions.
        experiment.stopping.
        hypotheses._comparison.comparison_report
        hypotheses._discovery.
        hypotheses._formulas.as_data
        hypotheses._formulas.distribution
        hypotheses._formulas.names
        hypotheses._formulas.normal
        hypotheses._formulas.parse
        hypotheses._mixture.Hypotheses.first
        hypotheses._mixture.Hypotheses.share_of_newcomer
        hypotheses._mixture.Hypotheses.with_model
        hypotheses._mixture.HypothesisMixture.save
        hypotheses._mixture.check_followed
        hypotheses._mixture.HypothesisMixture.summary
        hypotheses._model_average.ModelAverage.joined_anew
        hypotheses._model_average.ModelAverage.save
        hypotheses._model_average.ModelAverage.with_posterior
        hypotheses._sensitivity.PriorSweep.
        hypotheses._sensitivity.prior_sweep
        hypotheses._stored.
        hypotheses._subsets.
        images._atoms.
        images._descriptors.factors
        inference._posterior.Posterior.save
        inference._posterior.Posterior.summary
        inference._posterior.Predictive.
        inference._checks.check_own
        inference._checks.check_seen
        inference._checks.checked_sampler
        inference._posterior.conditioning_ahead
        inference._reconstruct.
        inference._stored.
        inference._arviz.
        models._exactness.
        models._kronecker.enough
        models._model.
        models._multi_output.SpectralBasis.of
        models._outlier.
        models._sparse.inducing_points
        models._structure.
        models._grid_blocks.blocks_of
        models._grid_moments.ranks
        nn._im2spec.Im2Spec.predict
        nn._checkpoints.
        nn._progress.
        vae._fingerprint.
        nn._pretrain.
        simulators._graphene.
        spectra.edx.shapes
        spectra.forc.split_cycles
        spectra._scalarizer.Scalarizer.evaluate
        spectra._scalarizer.Scalarizer.unit_of
        spectra.streams.blocks
        spectra.streams.filtered
        spectra.streams.stream
        vae._examples.examples
        vae._examples.unit_range
        vae._files.
        vae._latent_maps.encode_windows
        vae._trajectories.trajectories
        vae._model.VAE.check
        vae._stored.
    """,
    STATIC: """
        acquisition._acquisition.goals
        acquisition._functions.sign_of
        acquisition._information.seeks_optimum
        core._linalg.jitter
        core._observations.Observations.capacity
        core._poses.axes
        core._poses.grid
        experiment._experiment.
        hypotheses._mixture.Hypotheses.names
        hypotheses._mixture.HypothesisMixture.competes
        hypotheses._mixture.HypothesisMixture.models
        hypotheses._model_average.ModelAverage.competes
        inference._posterior.Posterior.models
        hypotheses._mixture.HypothesisMixture.names
        hypotheses._mixture.HypothesisMixture.floored
        hypotheses._mixture.HypothesisMixture.log_probability
        hypotheses._mixture.HypothesisMixture.probability_error
        hypotheses._mixture.HypothesisMixture.owner
        hypotheses._mixture.HypothesisMixture.without_factor
        images._descriptors.windows
        images._patches.pixel_positions
        inference._posterior.Info.unknown
        inference._posterior.Posterior.without_factor
        laws._ranges.span
        models._deep_kernel.DeepKernelGP.bounds
        models._deep_kernel.DeepKernelGP.dim
        models._deep_kernel.DeepKernelGP.needs_noise
        models._deep_kernel.DeepKernelGP.process_inputs
        models._deep_kernel.DeepKernelGP.standardized
        models._deep_kernel.DeepKernelGP.tails
        models._exact.ExactGP.needs_noise
        models._exact.GPFactor.ok
        models._exact.GPFactor.finite
        models._multi_output.MultiOutputFactor.of
        models._multi_output.MultiOutput.bounds
        models._multi_output.MultiOutput.dim
        models._multi_output.MultiOutput.needs_noise
        models._multi_output.MultiOutput.outputs
        models._multi_output.MultiOutput.prior
        models._multi_output.MultiOutput.standardized
        models._multi_output.MultiOutput.tails
        models._noise.StudentNoise.fresh
        models._noise.only_known
        models._parametric.Parametric.dim
        models._parametric.Parametric.needs_noise
        models._parametric.Parametric.prior
        models._parametric.Parametric.standardized
        models._parametric.Parametric.tails
        models._process.Process.bounds
        models._process.Process.dim
        models._process.Process.prior
        models._process.Process.standardized
        models._process.Process.tails
        models._scaling.box
        models._scaling.check_standardize
        models._sparse.SparseGP.bounds
        models._sparse.SparseGP.needs_noise
        models._transform.DataTransform.bounds
        models._kronecker_gp.KroneckerGP.axes
        models._grid_blocks.unit_axis
        core._priors.given_shapes
        core._priors.parameter_shapes
        core._priors.with_dim
        simulators.diffraction.interaction
        simulators.diffraction.wavelength
        spectra.streams.band_pass
        spectra.streams.comb
        vae._examples.Examples.
        nn._fourier.Lattice.
        nn._fourier.wave_vectors
        vae._inference.Encoded.
        vae._model.VAE.branches
        vae._model.VAE.invariances
        vae._model.VAE.latent
        vae._parts.Gaussian.raw
        vae._training.Trained.
    """,
    BUILDS: """
        acquisition._candidates.box
        acquisition._candidates.domain
        acquisition._candidates.grid
        acquisition._candidates.pool
        experiment._bayes_opt.
        hypotheses._bandit.
        hypotheses._mixture.hypotheses
        hypotheses._model_average.model_average
        kernels.coregion_prior
        laws._ranges.height
        laws._ranges.level
        means.two_dips_prior
        models._noise.HeteroscedasticNoise.prior
        models._noise.StudentNoise.prior
        nn._encoders.encoder
        core._priors.as_program
        core._priors.complete
        core._priors.default
        vae._model.VAE.init
        vae._model.model
        nn._decoders.
        nn._layers.ConvNet.
        nn._layers.MLP.
        vae._network.
        vae._parts.rotation
        vae._parts.scaling
        vae._parts.translation
        vae._schedules.
    """,
    CHAOTIC: """
        inference._ensemble.
        inference._nuts.
        nn._im2spec.im2spec
        nn._training.
        vae._training.train
    """,
    LOOPS: """
        experiment._bayes_opt_steps.
        experiment._simulate.
    """,
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
