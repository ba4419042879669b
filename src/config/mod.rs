//! Settings: flags, environment, file and defaults, parsed into types once.
