"""What a phase needs of the training split."""

import types

import numpy as np
import pytest

from vreid_jax import config
from vreid_jax.config.phases import Phase
from vreid_jax.errors import InputError
from vreid_jax.experiment.phases import check_unlabelled

LABELLED, UNLABELLED = (types.SimpleNamespace(pids=np.array(pids)) for pids in ([1, 2], [1, -1]))
OIM_ALONE = {"softmax": {"weight": 0.0}, "oim": {"weight": 1.0}}


def phase(**changes):
    return Phase.parse(config.phase(total_steps=1, **changes))


@pytest.mark.parametrize(
    "changes",
    [{}, {"losses": {"oim": {"weight": 1.0}}}, {"losses": OIM_ALONE, "sampler": "identity"}],
    ids=["softmax", "softmax and oim", "oim with identities"],
)
def test_tracklets_without_an_identity_need_oim_alone_and_another_sampler(changes):
    check_unlabelled(phase(**changes), LABELLED)
    with pytest.raises(InputError, match="which only the losses oim, contrastive, circle, center, without others,"):
        check_unlabelled(phase(**changes), UNLABELLED)


@pytest.mark.parametrize("sampler", ["shuffle", "frames"])
def test_oim_alone_takes_tracklets_without_an_identity(sampler):
    check_unlabelled(phase(losses=OIM_ALONE, sampler=sampler), UNLABELLED)
