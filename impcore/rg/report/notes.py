"""What a report says about its own numbers: definitions, sources, and what they do not show."""

from __future__ import annotations

PAPER = (
    "W. T. Redman, T. Chen, Z. Wang, A. S. Dogra: Universality of Winning Tickets: "
    "A Renormalization Group Perspective. ICML 2022, arXiv:2110.03210."
)

OBSERVABLES = (
    "M_i(n) is the share of the remaining magnitude that lies in block i at state n: the sum of "
    "|m θ| over the block divided by the sum over all prunable weights (Redman et al., eq. 13). "
    "P_i(n) is the share of the remaining weights (Sec. 4). “rest” collects what no block covers, "
    "so that the shares sum to 1."
)

THETA = {
    "trained": "θ are the trained weights at the end of round n, before the next prune.",
    "rewound": "θ are the rewound weights under the mask of round n, before it is trained.",
}

EIGENVALUES = (
    "λ_i(n) = M_i(n+1) / M_i(n) (Sec. 4). The coarse-graining factor of a step is c(n) = "
    "remaining(n) / remaining(n+1), from the measured counts (App. A: c = 1/(1−x); the c in [0, 1] "
    "of Sec. 4 is not used). σ_i(n) = log λ_i(n) / log c(n) (eq. 14), which does not depend on how "
    "much a step prunes. The endpoint estimate is log(M_i(N)/M_i(0)) / log(Π c); it weights "
    "every step by its log c, and equals the mean of σ when c is constant."
)

RELEVANCE = (
    "A block is relevant when the t-interval of its σ lies above 0, irrelevant when it lies below, "
    "and marginal when it contains 0 (or when a single step leaves no spread to measure). Each is "
    "judged by itself: of many blocks that stand still some are called relevant or irrelevant, one "
    "in twenty at 95 %. The same holds for P. “p, if straight” tests that M_i is an eigenfunction, "
    "that is, that log M_i is a straight line in log density: a small p speaks against it."
)

BRIEFLY = (
    "SEM and interval are over the steps of this one run, not over seeds; “What these numbers are” "
    "below says more."
)

_SEM = {
    "mean_log": "the standard deviation of σ over the steps of one run divided by the square root "
    "of their number",
    "log_mean": "that of the mean λ over the steps of one run, carried over to its logarithm",
    "endpoints": "the spread of σ over the steps of one run, each weighted by its log c",
    "regression": "that of the slope of log M, from the residuals of one run's states",
}
_WALK = (
    "The t-interval treats the steps as independent draws; they are successive states of one "
    "network. It holds σ as often as it says if log M is a random walk{}; if M is exact but for an "
    "error at every state, it is far too wide."
)
_INTERVAL = {
    "mean_log": _WALK.format(""),
    "log_mean": _WALK.format(""),
    "endpoints": _WALK.format(" in log density"),
    "regression": "The t-interval treats the states' errors as independent draws. It holds σ as "
    "often as it says if that is what they are; if log M is a random walk, it is far too narrow.",
}


def uncertainty(estimator: str) -> str:
    """What the SEM is of, and when the interval is right: see `impcore.rg.estimators`."""
    return (
        f"The SEM is {_SEM[estimator]}. It is not an uncertainty over seeds: only repeated runs "
        f"measure that. {_INTERVAL[estimator]}"
    )


DEPENDENCE = (
    "The shares sum to 1 at every state, so the blocks are not independent: when one gains, others "
    "lose, and distinct constant λ_i cannot all hold for ever. Where masks are nested, λ_i ≤ c "
    "and σ_i ≤ 1 for P at every step."
)


COMPARISON = (
    "The distance of two runs is the root mean square difference of their σ over the blocks, "
    "“rest” left out. Noise alone makes it positive: “noise” is what two equal flows would be "
    "apart, and the interval is of the true distance; its upper end is at least the one that equal "
    "flows have in the median, however near two runs seem. The fixed-point score is the root mean "
    "square of σ itself, and the median of |σ|: 0 where the flow stands still (Sec. 5.2). “p, if "
    "equal” and “p, if static” are how often σ that are equal, or all 0, would differ as much: a "
    "small one speaks against that, a large one is no proof of it, least of all where the noise is "
    "large."
)

SEEDS = (
    "Runs whose configurations differ in nothing but their [run] table are seeds of one "
    "experiment, unless they repeat a seed or a flow. Their interval is over the seeds, and takes "
    "nothing for granted about the rounds."
)

PUBLISHED = (
    "Published σ carry no uncertainty but their last digit, and are coloured by their sign. The "
    "−0.68 of Table 2 stands far from every other entry."
)

EXPONENTS = (
    "ε(d) is fitted by eq. 15 with scipy.optimize.curve_fit, from several starts. (γ, p) and "
    "(−γ, p (ε†/ε_np)^(1/γ)) are the same curve: the sign of γ cannot be identified, and γ < 0 is "
    "shown as the paper prints it. By default ε_np is free within ±10 % of the densest state's "
    "error and deviations are relative. An interval is where the profile of the squared deviation "
    "stays below its F-threshold. A value marked * or “at its bound” is held by a bound, not by "
    "the data; it stays out of the mean over seeds, which then says of how many it is."
)


def closing(*thetas: str, estimator: str, several: bool = False) -> tuple[str, ...]:
    """The paragraphs under "What these numbers are"."""
    return (
        " ".join([OBSERVABLES, *(THETA[theta] for theta in thetas)]),
        EIGENVALUES,
        RELEVANCE,
        uncertainty(estimator),
        *((SEEDS, PUBLISHED) if several else ()),
        COMPARISON,
        EXPONENTS,
        DEPENDENCE,
        f"Source: {PAPER}",
    )
