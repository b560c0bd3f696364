//! Where the value of a setting comes from, for messages about it.

use std::collections::BTreeSet;
use std::fmt;

/// The variables whose setting was given as a flag.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources(pub(crate) BTreeSet<String>);

impl Sources {
    /// Names a setting in the way it was given.
    pub(crate) fn name(&self, variable: &'static str) -> SettingName {
        if self.0.contains(variable) {
            return SettingName::Flag(variable);
        }
        let is_set = std::env::var_os(variable).is_some_and(|value| !value.is_empty());
        if is_set { SettingName::Variable(variable) } else { SettingName::Default(variable) }
    }
}

/// A setting, by the name of its variable, and where its value comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SettingName {
    Flag(&'static str),
    Variable(&'static str),
    Default(&'static str),
}

impl fmt::Display for SettingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(variable) => {
                let flag = variable.to_ascii_lowercase().replace('_', "-");
                write!(f, "the flag --{flag} ({variable})")
            }
            Self::Variable(variable) => write!(f, "the environment variable {variable}"),
            Self::Default(variable) => write!(f, "the default of {variable}"),
        }
    }
}
