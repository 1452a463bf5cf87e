"""The measures that stand beside the paper's claims."""

from __future__ import annotations

import numpy as np

from impcore import rg
from impcore.rg.report import claims
from impcore.rg.report.subject import Options

from ..tasks_harness import experiment, made


def test_the_measures_of_the_claims(tmp_path):
    of = made(experiment(tmp_path / "x"))
    options = Options()
    random, pretrained = (of.vectors(init, options) for init in of.tasks.inits)
    assert claims._one_sign(random) == "2 of 3"  # the second block differs in sign
    assert claims._one_sign(pretrained) == "3 of 3"
    assert claims._as_before(random, pretrained) == "5 of 6"
    value = rg.distance(random["a"], random["b"]).value
    assert claims._apart(random).startswith(rg.formats.figures(value))
    speeds = [np.sqrt(np.mean(one.sigma_mean**2)) for one in random.values()]
    assert claims._speed(random) == rg.formats.figures(np.mean(speeds))
