"""The console command `vreid`: every subcommand calls what the library offers; nothing happens here alone."""
