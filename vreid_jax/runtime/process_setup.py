"""What a process sets up once, before JAX computes anything. An import of the library never does."""

from vreid_jax.runtime.compilation_cache import chosen_folder, use_compilation_cache
from vreid_jax.runtime.huge_pages import restart_with_huge_pages
from vreid_jax.runtime.xla_flags import request_onednn


def setup_process(*, restart: bool = False, compilation_cache: bool = True) -> None:
    """Set up this process to compute fast: huge pages, oneDNN on CPU, and a cache of compiled programs.

    Every command of the library calls it. In a script or a notebook it is yours to call; without it everything works,
    and on CPU training is slower. Call it before the first computation, `jax.devices()` included: later it has no
    effect. It does not import JAX. It changes only what follows, and keeps whatever you have set yourself:

    * `XLA_FLAGS` gets the flag that lets XLA call oneDNN (`xla_flags.request_onednn`), unless you have chosen a cache,
      into which such programs cannot be written;
    * `JAX_COMPILATION_CACHE_DIR`, and JAX's option of that name, get a folder below `~/.cache/vreid_jax` where XLA
      does not call oneDNN (`compilation_cache.use_compilation_cache`), and `TF_CPP_MIN_LOG_LEVEL` hides what jaxlib
      below 0.11 says of each program in it;
    * with `restart`, `GLIBC_TUNABLES` asks for huge pages (`huge_pages.restart_with_huge_pages`).

    Args:
      restart: start the process again, once, with the same arguments where huge pages can be had only so. What has been
        computed, opened or printed so far is lost or repeated, so it is for the first line of a command, never for a
        notebook.
      compilation_cache: False keeps no compiled programs, for measurements that count compilation.
    """
    if restart:
        restart_with_huge_pages()
    if not chosen_folder():  # JAX 0.12 fails to write programs that call oneDNN
        request_onednn()
    if compilation_cache:
        use_compilation_cache()
