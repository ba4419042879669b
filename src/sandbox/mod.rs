//! Where runs live: on this machine, or in a container.
