//! The secrets that requests can carry, and what they permit.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use super::Scope;
use super::keys::{self, ApiKey};
use crate::read_token::ReadToken;

/// The credentials that are valid now.
pub(super) enum Credentials {
    /// API keys, each with its scopes.
    Keys(Box<[ApiKey]>),
    /// No API keys are set: reading needs the token.
    ReadToken(ReadToken),
}

impl Credentials {
    /// Returns true if the secret has the scope.
    pub(super) fn permit(&self, secret: &[u8], scope: Scope) -> bool {
        match self {
            Self::Keys(keys) => keys::find(keys, secret).is_some_and(|key| key.has(scope)),
            Self::ReadToken(token) => scope == Scope::Read && token.is(secret),
        }
    }
}

/// Returns the secret that a request carries.
pub(super) fn secret(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(key) = headers.get("x-api-key") {
        return Some(key.as_bytes());
    }
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, key) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
}
