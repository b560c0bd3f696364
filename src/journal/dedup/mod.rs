//! Deduplication: the window of recent keys, and the files from which a start fills it.

pub(super) mod key_file;
pub(super) mod recovery;
pub(super) mod saved_keys;
mod span;
pub(super) mod window;
