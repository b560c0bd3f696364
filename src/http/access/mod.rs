//! Access control: API keys with scopes, and the middleware that checks them before a handler runs.

mod keys;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use axum::extract::{ConnectInfo, Request};
use axum::http::header::{AUTHORIZATION, FORWARDED, HOST};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode};

use self::keys::ApiKey;
use super::problem::Problem;

/// A permission that an API key grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Sending events.
    Ingest,
    /// Reading stored events.
    Read,
}

impl Scope {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Read => "read",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Ingest, Self::Read].into_iter().find(|scope| scope.name() == name)
    }
}

/// The name of the API key of a request; `None` if the server has no keys. An extension of every
/// request that passed [`Access::check`].
#[derive(Clone, Debug)]
pub(super) struct KeyName(pub(super) Option<Arc<str>>);

/// The valid API keys. Without any, everyone may send events, and local requests may read them.
pub struct Access {
    keys: RwLock<Arc<[ApiKey]>>,
    inline: String,
    file: Option<PathBuf>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Access {
    /// Reads `API_KEYS` (`name:key:scope+scope`, separated by commas) and `API_KEYS_FILE` (one key a
    /// line).
    ///
    /// # Errors
    /// If a setting is malformed or the file cannot be read. The message never contains a key.
    pub fn new(inline: Option<String>, file: Option<PathBuf>) -> Result<Self, String> {
        let inline = inline.unwrap_or_default();
        let keys = RwLock::new(keys::read(&inline, file.as_deref())?);
        Ok(Self { keys, inline, file })
    }

    /// Reads the file again, if there is one. A malformed file leaves the keys unchanged.
    pub fn reload(&self) {
        if self.file.is_none() {
            return;
        }
        match keys::read(&self.inline, self.file.as_deref()) {
            Ok(keys) => {
                tracing::info!(keys = keys.len(), "API keys reloaded");
                *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
            }
            Err(error) => tracing::error!(%error, "API keys not changed"),
        }
    }

    /// Checks that a request has the scope, and adds its [`KeyName`] to it.
    pub(super) fn check(&self, scope: Scope, request: &mut Request) -> Result<(), Problem> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner).clone();
        let name = if keys.is_empty() {
            if scope == Scope::Read && !is_local(request) {
                let detail = "without API keys, events can be read only from this machine \
                    (http://localhost, no proxy); set API_KEYS, and send a key with the scope 'read'";
                return Err(Problem::new(StatusCode::FORBIDDEN, detail));
            }
            None
        } else {
            Some(check_key(&keys, scope, request.headers())?)
        };
        request.extensions_mut().insert(KeyName(name));
        Ok(())
    }
}

/// Returns the name of the request's API key, which must have the scope.
fn check_key(keys: &[ApiKey], scope: Scope, headers: &HeaderMap) -> Result<Arc<str>, Problem> {
    let secret = secret(headers).ok_or_else(|| {
        Problem::unauthorized(
            "an API key is needed: 'Authorization: Bearer KEY' or 'X-API-Key: KEY'",
        )
    })?;
    let key = keys::find(keys, secret)
        .ok_or_else(|| Problem::unauthorized("the API key is not valid"))?;
    if !key.has(scope) {
        let detail = format!("the API key {:?} lacks the scope '{}'", key.name, scope.name());
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    tracing::debug!(key = &*key.name, scope = scope.name(), "allowed");
    Ok(key.name.clone())
}

/// Returns the API key that a request carries.
fn secret(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(key) = headers.get("x-api-key") {
        return Some(key.as_bytes());
    }
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, key) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
}

/// Returns true if a request comes from this machine and is addressed to it. A page of another site
/// whose name resolves to this machine (DNS rebinding) sends that name as `Host`; a proxy on this
/// machine adds a header that names its client.
fn is_local(request: &Request) -> bool {
    let headers = request.headers();
    let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>() else {
        return false;
    };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).or(request.uri().host());
    let Some(authority) = host.and_then(|host| host.parse::<Authority>().ok()) else {
        return false;
    };
    if authority.as_str().contains('@') {
        return false;
    }
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    let is_loopback = |ip: IpAddr| ip.to_canonical().is_loopback();
    let is_named_local =
        name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(is_loopback);
    let is_proxied = headers.contains_key(FORWARDED) || headers.contains_key("x-forwarded-for");
    is_loopback(peer.ip()) && is_named_local && !is_proxied
}
