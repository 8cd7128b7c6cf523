"""One thread: small networks are fastest on one, and two stall on a busy machine."""

import torch

torch.set_num_threads(1)
