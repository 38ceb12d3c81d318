"""One rank of NCCL (in rehearsal: of gloo): DDP and FSDP2 leave no trace either."""

import pytest
from lightning.pytorch.strategies import ModelParallelStrategy

from tests.distributed.modules import LayerNorm
from tests.gpu.device import trainer_settings
from tests.helpers.identity import difference
from tests.helpers.modules import Classifier

pytestmark = pytest.mark.usefixtures("process_group")


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_ddp(tmp_path, precision):
    settings = lambda: trainer_settings(strategy="ddp", precision=precision)  # noqa: E731
    assert difference(tmp_path, lambda lr: Classifier(lr=lr), settings=settings) is None


def test_fsdp2(tmp_path):
    """Parameters, gradients and optimizer state are DTensors, gathered anew in each step."""

    def settings():
        return trainer_settings(strategy=ModelParallelStrategy(data_parallel_size=1, tensor_parallel_size=1))

    assert difference(tmp_path, LayerNorm, settings=settings) is None
