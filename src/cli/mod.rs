//! Subcommands that are clients of a server.

pub(crate) mod import;
