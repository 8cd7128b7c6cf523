"""One thread: small networks are fastest on one, and two stall on a busy machine."""

import torch
from hypothesis import settings

torch.set_num_threads(1)
# no limit for an example: on a busy machine any of them may be late
settings.register_profile("dynaplan", deadline=None)
settings.load_profile("dynaplan")
