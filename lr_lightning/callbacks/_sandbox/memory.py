"""Memory that runs out in a sandbox."""

import contextlib
from collections.abc import Iterator

from lightning.pytorch.utilities.memory import is_oom_error


@contextlib.contextmanager
def explained_out_of_memory(owner: str, snapshot_device: str | None) -> Iterator[None]:
    """Add to an out-of-memory error what was restored and what would need less; to be entered before the sandbox.

    Args:
        owner: Name of the callback.
        snapshot_device: Where its copy of the training state was to be.
    """
    try:
        yield
    except RuntimeError as error:  # torch.OutOfMemoryError is one, and so is what the host's allocator raises
        if is_oom_error(error):
            less = "a smaller batch with accumulate_grad_batches needs less"
            if snapshot_device is None:
                less = f'its copy of the training state lay beside it: snapshot_device="cpu" keeps it elsewhere, {less}'
            error.args = (f"{error}\n{owner} ran out of memory and put everything back as it was before; {less}",)
        raise
