"""`comfy-gateway up`: a small program whose children are the server and the local workers.

The supervisor does as little as it can, so that it never has a reason to die. It binds the listening sockets, owns the
data directory, and spawns; everything else happens in the server process. The server may crash, be killed or be
upgraded: the sockets stay open here (callers wait in the backlog instead of being refused), the workers keep their
models and running jobs, and the next server adopts them.

Three things make sure that nothing survives the supervisor, however it ends:
- every child is tethered (`tether.py`): the kernel kills it when its parent dies. The kernel watches the *thread* that
  forked, so children are only ever spawned from the main thread, which runs the event loop;
- every child leads its own process group, which is killed when the child has ended;
- a guard (`guard.py`), waiting on a pipe that only the supervisor holds, then kills whatever still carries our mark in
  its environment, such as helpers that a custom node of ComfyUI started.
"""
