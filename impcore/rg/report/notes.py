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
    "A block is relevant when the 95 % t-interval of its mean σ lies above 0, irrelevant when it "
    "lies below, and marginal when it contains 0 (or when a single step leaves no spread to "
    "measure). The same holds for P."
)

BRIEFLY = (
    "SEM and interval are over the steps of this one run, not over seeds; “What these numbers are” "
    "below says more."
)

UNCERTAINTY = (
    "The SEM is the standard deviation of σ over the steps of this one run divided by the square "
    "root of their number. It is not an uncertainty over seeds: only repeated runs measure that. "
    "The t-interval treats the steps as independent draws; they are successive states of one "
    "network, so it is an indication, not a guarantee."
)

DEPENDENCE = (
    "The shares sum to 1 at every state, so the blocks are not independent: when one gains, others "
    "lose, and distinct constant λ_i cannot all hold for ever. Masks are nested, hence λ_i ≤ c and "
    "σ_i ≤ 1 for P at every step."
)


def closing(theta: str) -> tuple[str, ...]:
    """The paragraphs under "What these numbers are"."""
    return (
        f"{OBSERVABLES} {THETA[theta]}",
        EIGENVALUES,
        RELEVANCE,
        UNCERTAINTY,
        DEPENDENCE,
        f"Source: {PAPER}",
    )
