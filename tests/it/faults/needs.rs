//! What a scenario needs around it.

use super::events::{self, Habits};

/// What a scenario needs; those of a pair of faults are put together.
#[expect(clippy::struct_excessive_bools, reason = "each stands for itself")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs {
    /// The database is reached by a proxy.
    pub(crate) proxy: bool,
    /// The server writes to a small file system.
    pub(crate) disk: bool,
    /// The database is in a tablespace on a small file system.
    pub(crate) tablespace: bool,
    /// The smallest journal, deleted at once behind the forwarder.
    pub(crate) tiny: bool,
    /// The first strike starts the server.
    pub(crate) cold: bool,
    pub(crate) servers: usize,
    pub(crate) senders: usize,
    pub(crate) environment: &'static [(&'static str, &'static str)],
    pub(crate) habits: Habits,
}

/// One server and nothing special.
pub(crate) const PLAIN: Needs = Needs {
    proxy: false,
    disk: false,
    tablespace: false,
    tiny: false,
    cold: false,
    servers: 1,
    senders: 5,
    environment: &[],
    habits: events::USUAL,
};

impl Needs {
    /// What two faults need together.
    pub(crate) fn and(self, other: &Self) -> Self {
        let habits = if other.habits == events::USUAL { self.habits } else { other.habits };
        let environment =
            if other.environment.is_empty() { self.environment } else { other.environment };
        Self {
            proxy: self.proxy || other.proxy,
            disk: self.disk || other.disk,
            tablespace: self.tablespace || other.tablespace,
            tiny: self.tiny || other.tiny,
            cold: self.cold || other.cold,
            servers: self.servers.max(other.servers),
            senders: self.senders.max(other.senders),
            environment,
            habits,
        }
    }
}
