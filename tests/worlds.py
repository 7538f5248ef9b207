"""Real process groups for tests: four gloo processes that live as long as the test session.

`run(world, function, *arguments)` runs `function(*arguments)` on ranks 0..world-1 of a fresh process group of 1, 2 or 4
and returns the results by rank. The function must be at the top level of an importable module (a test file is one), and
what it takes and returns must be picklable. The processes are started at the first call, from a server that has
imported torch once, so that they cost seconds only once for the whole suite.
"""

import atexit
import functools
import multiprocessing
import pickle
import sys
import tempfile
import traceback
from datetime import timedelta
from pathlib import Path


def run(world, function, *arguments):
    """Return [function(*arguments) of rank 0, of rank 1, ...]; an error in any rank is raised with its traceback."""
    with tempfile.TemporaryDirectory() as folder:
        job = pickle.dumps((world, str(Path(folder) / "store"), list(sys.path)))
        call = pickle.dumps((function, arguments))
        pipes = _pipes()[:world]
        for pipe in pipes:
            pipe.send_bytes(job)
            pipe.send_bytes(call)
        # Read every answer before raising, so that the next job starts with empty pipes.
        answers = [pickle.loads(pipe.recv_bytes()) for pipe in pipes]
    for rank, (good, value) in enumerate(answers):
        if not good:
            raise RuntimeError(f"rank {rank} of {world}:\n{value}")
    return [value for _, value in answers]


@functools.cache
def _pipes():
    context = multiprocessing.get_context("forkserver")
    # DistributedDataParallel imports torch._dynamo at its first use, seconds that four processes would spend each.
    context.set_forkserver_preload(["torch", "torch.distributed", "torch._dynamo", "coview.methods"])
    pipes = []
    for rank in range(4):
        ours, theirs = context.Pipe()
        context.Process(target=_serve, args=(rank, theirs), daemon=True).start()
        pipes.append(ours)
    atexit.register(lambda: [pipe.close() for pipe in pipes])
    return pipes


def _serve(rank, pipe):
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    while True:
        try:
            world, store, sys.path[:] = pickle.loads(pipe.recv_bytes())
            call = pipe.recv_bytes()
        except EOFError:
            return
        try:
            function, arguments = pickle.loads(call)
            dist.init_process_group(
                "gloo", init_method=f"file://{store}", rank=rank, world_size=world, timeout=timedelta(seconds=300)
            )
            answer = (True, function(*arguments))
        except Exception:
            answer = (False, traceback.format_exc())
        finally:
            if dist.is_initialized():
                dist.destroy_process_group()
        pipe.send_bytes(pickle.dumps(answer))
