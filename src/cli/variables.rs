//! Values of environment variables and flags: one rule for all of them.
//!
//! White space around a value is removed, and then a pair of quotes around all of it: a line feed at the end
//! comes from a secret's file, quotes from an env file that is read literally. An empty value counts as
//! unset, as compose files make them.

use std::ffi::{OsStr, OsString};

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::config::Sources;

/// The setting whose value may have line feeds: a list.
const LIST: &str = "API_KEYS";

/// Removes white space and quotes around a value.
fn clean(value: &str) -> &str {
    let value = value.trim();
    let unquoted =
        ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
    unquoted.unwrap_or(value).trim()
}

/// Cleans the values of the environment variables that a command reads.
pub(super) fn clean_variables(command: clap::Command) -> clap::Command {
    command.mut_args(clean_variable).mut_subcommands(clean_variables)
}

fn clean_variable(arg: clap::Arg) -> clap::Arg {
    let Some(value) = arg.get_env().and_then(std::env::var_os) else { return arg };
    let Some(text) = value.to_str() else { return arg };
    match clean(text) {
        "" => arg.env(None::<&str>),
        cleaned if cleaned == text => arg,
        cleaned => {
            // `clap` reads the variable itself. It keeps defaults for the life of the process, as it does
            // those in the code.
            let cleaned: &'static str = cleaned.to_owned().leak();
            arg.env(None::<&str>).default_value(cleaned).hide_default_value(true)
        }
    }
}

/// Cleans the values of flags.
pub(super) fn clean_arguments(arguments: Vec<OsString>) -> Vec<OsString> {
    let cleaned = arguments.into_iter().map(|argument| {
        let Some(text) = argument.to_str() else { return argument };
        match text.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => format!("{flag}={}", clean(value)),
            _ => clean(text).to_owned(),
        }
        .into()
    });
    cleaned.collect()
}

/// Returns an error if a value of the server has a control character, which would split messages.
pub(super) fn check(command: &clap::Command, arguments: &[OsString]) -> Result<(), clap::Error> {
    let has_control = |value: &str| value.chars().any(char::is_control);
    for arg in command.get_arguments() {
        let Some(variable) = arg.get_env().and_then(OsStr::to_str) else { continue };
        let Some(flag) = arg.get_long() else { continue };
        let from_flag = flag_value(flag, arguments);
        let value = from_flag.clone().or_else(|| std::env::var(variable).ok());
        let Some(value) = value.filter(|value| variable != LIST && has_control(clean(value)))
        else {
            continue;
        };
        let shown = if arg.is_hide_env_values_set() {
            "a value".to_owned()
        } else {
            format!("the value '{}'", clean(&value).escape_debug())
        };
        let source = source(flag, variable, from_flag.is_some());
        let message =
            format!("{source} has {shown} with a line break or another control character");
        return Err(clap::Error::raw(ErrorKind::ValueValidation, message + "\n"));
    }
    Ok(())
}

/// Returns which of the server's settings were given as flags.
pub(super) fn sources(command: &clap::Command, arguments: &[OsString]) -> Sources {
    let names = command.get_arguments().filter_map(|arg| {
        let variable = arg.get_env()?.to_str()?;
        flag_value(arg.get_long()?, arguments).map(|_| variable.to_owned())
    });
    Sources(names.collect())
}

/// The value of a flag on the command line.
fn flag_value(flag: &str, arguments: &[OsString]) -> Option<String> {
    let mut arguments = arguments.iter().filter_map(|argument| argument.to_str());
    while let Some(argument) = arguments.next() {
        let Some(rest) = argument.strip_prefix("--").and_then(|rest| rest.strip_prefix(flag))
        else {
            continue;
        };
        if rest.is_empty() {
            return arguments.next().map(str::to_owned);
        }
        if let Some(value) = rest.strip_prefix('=') {
            return Some(value.to_owned());
        }
    }
    None
}

fn source(flag: &str, variable: &str, is_flag: bool) -> String {
    if is_flag {
        format!("the flag --{flag} ({variable})")
    } else {
        format!("the environment variable {variable}")
    }
}

/// Adds to an error about a value where the value comes from.
pub(super) fn with_source(
    mut error: clap::Error,
    command: Option<&clap::Command>,
    arguments: &[OsString],
) -> clap::Error {
    let wrong = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(wrong)) => wrong.clone(),
        _ => return error,
    };
    let mut known = command.into_iter().flat_map(clap::Command::get_arguments);
    let arg = known.find(|arg| arg.to_string() == wrong);
    let names = arg.and_then(|arg| arg.get_long().zip(arg.get_env()?.to_str()));
    if let Some((flag, variable)) = names {
        let is_flag = flag_value(flag, arguments).is_some();
        let tip = format!("the value is from {}", source(flag, variable, is_flag));
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}
