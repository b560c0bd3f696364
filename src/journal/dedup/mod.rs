//! Deduplication: the window of recent keys, and what fills it at start.

pub(super) mod key_file;
pub(super) mod recovery;
pub(super) mod saved_keys;
pub(super) mod window;

pub use window::WINDOW_RECORDS;
