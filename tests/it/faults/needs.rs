//! Environment that a fault needs.

use super::events::{self, Habits};

/// Environment that a fault needs. The needs of two faults can be combined if they fit.
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs {
    /// The server reaches the database through a proxy.
    pub(crate) proxy: bool,
    /// The server writes to a small file system.
    pub(crate) disk: bool,
    /// The database is in a tablespace on a small file system.
    pub(crate) tablespace: bool,
    /// Smallest journal size; segments are deleted as soon as they are delivered.
    pub(crate) tiny: bool,
    /// Delivered segments are kept, for a database that loses its last commits. Never with `tiny`.
    pub(crate) retained: bool,
    /// The fault itself starts the server.
    pub(crate) cold: bool,
    pub(crate) servers: usize,
    pub(crate) senders: usize,
    pub(crate) environment: &'static [(&'static str, &'static str)],
    pub(crate) habits: Habits,
}

/// One server without special needs.
pub(crate) const PLAIN: Needs = Needs {
    proxy: false,
    disk: false,
    tablespace: false,
    tiny: false,
    retained: false,
    cold: false,
    servers: 1,
    senders: 5,
    environment: &[],
    habits: events::USUAL,
};

impl Needs {
    /// Whether the needs of two faults can be combined.
    pub(crate) fn fit(&self, other: &Self) -> bool {
        let both = self.and(other);
        !(both.tiny && both.retained)
    }

    /// The combined needs of two faults.
    pub(crate) fn and(self, other: &Self) -> Self {
        let habits = if other.habits == events::USUAL { self.habits } else { other.habits };
        let environment =
            if other.environment.is_empty() { self.environment } else { other.environment };
        Self {
            proxy: self.proxy || other.proxy,
            disk: self.disk || other.disk,
            tablespace: self.tablespace || other.tablespace,
            tiny: self.tiny || other.tiny,
            retained: self.retained || other.retained,
            cold: self.cold || other.cold,
            servers: self.servers.max(other.servers),
            senders: self.senders.max(other.senders),
            environment,
            habits,
        }
    }
}
