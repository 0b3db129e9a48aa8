from typing import Any

from absl import flags

def DEFINE_config_file(
    name: str,
    default: str | None = ...,
    help_string: str = ...,
    flag_values: flags.FlagValues = ...,
    lock_config: bool = ...,
    **options: Any,
) -> flags.FlagHolder[Any]: ...
def DEFINE_config_dict(name: str, config: Any, help_string: str = ..., **options: Any) -> flags.FlagHolder[Any]: ...
