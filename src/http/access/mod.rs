//! Access control: credentials with scopes, and the middleware that checks them before a handler runs.
//!
//! Without API keys, everyone may send events, except for web pages of other sites, and reading needs the
//! read token: a proxy on this machine cannot be told from a local client
//! (`docs/adr/0012-read-token.md`).

mod browser;
mod credentials;
mod keys;
mod revocation;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request};
use axum::http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, CONNECTION, CONTENT_LENGTH,
    CONTENT_TYPE, HOST, USER_AGENT,
};
use axum::http::{HeaderMap, HeaderName, StatusCode, Version};
use tokio::sync::watch;

use self::credentials::{Credentials, secret};
use self::keys::ApiKey;
pub(super) use self::revocation::{EndsByItself, Permission};
use super::problem::Problem;
use crate::read_token::ReadToken;

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

/// `API_KEYS` (`name:key:scope+scope`, separated by commas) and `API_KEYS_FILE` (one key a line).
pub struct KeySettings {
    inline: String,
    file: Option<PathBuf>,
    keys: Box<[ApiKey]>,
}

impl KeySettings {
    /// Reads the keys.
    ///
    /// # Errors
    /// If a setting is malformed or the file cannot be read. The message never contains a key.
    pub fn read(inline: Option<String>, file: Option<PathBuf>) -> Result<Self, String> {
        let inline = inline.unwrap_or_default();
        let keys = keys::read(&inline, file.as_deref())?;
        Ok(Self { inline, file, keys })
    }
}

/// Where the credentials come from.
enum Source {
    Settings { inline: String, file: Option<PathBuf> },
    ReadToken(PathBuf),
}

/// The valid credentials, and the checks of requests against them.
pub struct Access {
    credentials: watch::Sender<Arc<Credentials>>,
    source: Source,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").finish_non_exhaustive()
    }
}

impl Access {
    /// Creates access with the keys; without any, with the read token in `token_file`.
    ///
    /// # Errors
    /// If the token is needed, and cannot be read or written.
    pub fn new(settings: KeySettings, token_file: &Path) -> std::io::Result<Self> {
        let KeySettings { inline, file, keys } = settings;
        let (credentials, source) = if keys.is_empty() {
            let token = ReadToken::open(token_file)?;
            (Credentials::ReadToken(token), Source::ReadToken(token_file.to_owned()))
        } else {
            (Credentials::Keys(keys), Source::Settings { inline, file })
        };
        Ok(Self { credentials: watch::Sender::new(Arc::new(credentials)), source })
    }

    /// Returns the file of the read token, if there are no API keys.
    pub fn token_file(&self) -> Option<PathBuf> {
        match &**self.credentials.borrow() {
            Credentials::Keys(_) => None,
            Credentials::ReadToken(token) => Some(token.path().to_owned()),
        }
    }

    /// Reads the file of keys or of the token again, if there is one. Responses whose key is not valid
    /// any more end. A malformed file leaves the keys unchanged; a deleted token is replaced.
    pub fn reload(&self) {
        let read = match &self.source {
            Source::Settings { file: None, .. } => return,
            Source::Settings { inline, file } => {
                keys::read(inline, file.as_deref()).map(Credentials::Keys)
            }
            Source::ReadToken(path) => ReadToken::open(path)
                .map(Credentials::ReadToken)
                .map_err(|error| format!("{}: {error}", path.display())),
        };
        match read {
            Ok(credentials) => {
                let credentials = Arc::new(credentials);
                self.credentials.send_replace(credentials.clone());
                match &*credentials {
                    Credentials::Keys(keys) => {
                        tracing::info!(keys = keys.len(), "API keys reloaded");
                    }
                    Credentials::ReadToken(_) => tracing::info!("read token reloaded"),
                }
            }
            Err(error) => tracing::error!(%error, "API keys not changed"),
        }
    }

    /// Checks that a request has the scope, and adds its [`KeyName`] and [`Permission`] to it. Without
    /// keys, any request but those of web pages may send events.
    pub(super) fn check(&self, scope: Scope, request: &mut Request) -> Result<Permission, Problem> {
        let credentials = self.credentials.borrow().clone();
        let name = match &*credentials {
            Credentials::Keys(keys) => Some(check_key(keys, scope, request.headers())?),
            Credentials::ReadToken(token) => {
                check_page(scope, request)?;
                if scope == Scope::Read {
                    check_token(token, request)?;
                }
                None
            }
        };
        let secret = secret(request.headers()).unwrap_or_default().to_owned();
        let permission = Permission { secret, scope, credentials: self.credentials.subscribe() };
        request.extensions_mut().insert(KeyName(name));
        request.extensions_mut().insert(permission.clone());
        Ok(permission)
    }

    /// Returns true if a request may read events.
    pub(super) fn may_read(&self, headers: &HeaderMap) -> bool {
        let credentials = self.credentials.borrow();
        secret(headers).is_some_and(|secret| credentials.permit(secret, Scope::Read))
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

/// Refuses a request that a web page of another site makes.
fn check_page(scope: Scope, request: &Request) -> Result<(), Problem> {
    let detail = if browser::is_cross_origin(request) {
        "the request comes from a web page of another origin (Origin, Sec-Fetch-Site), which a server \
         without API keys refuses; set API_KEYS, and send a key"
    } else if scope == Scope::Ingest && browser::is_rebound(request) {
        "the request comes from a web page, and is not addressed to localhost or a loopback address \
         (Host), which a server without API keys refuses; set API_KEYS, and send a key"
    } else {
        return Ok(());
    };
    Err(Problem::new(StatusCode::FORBIDDEN, detail))
}

fn check_token(token: &ReadToken, request: &Request) -> Result<(), Problem> {
    let found = secret(request.headers());
    if found.is_some_and(|secret| token.is(secret)) {
        return Ok(());
    }
    if !is_plainly_local(request) {
        return Err(Problem::unauthorized(
            "reading needs the read token of this server, as it has no API keys: send the header in \
             the file that its log names, or set API_KEYS and send a key with the scope 'read'",
        ));
    }
    let file = token.path().display();
    let detail = format!(
        "reading needs the read token of this server, as it has no API keys: \
         curl -H '@{file}' ..., or use 'hooks-backend query', which sends it by itself"
    );
    Err(Problem::unauthorized(detail).with_token_file(token.path()))
}

/// Returns true if nothing in a request suggests that its client is on another machine, or a web page. A
/// proxy can send the same: the result decides only about the name of the token's file in a message.
fn is_plainly_local(request: &Request) -> bool {
    const HARMLESS: [HeaderName; 9] = [
        ACCEPT,
        ACCEPT_ENCODING,
        ACCEPT_LANGUAGE,
        AUTHORIZATION,
        CONNECTION,
        CONTENT_LENGTH,
        CONTENT_TYPE,
        HOST,
        USER_AGENT,
    ];
    let is_harmless = |name: &HeaderName| {
        HARMLESS.contains(name) || matches!(name.as_str(), "x-api-key" | "last-event-id")
    };
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    request.version() > Version::HTTP_10
        && request.headers().keys().all(is_harmless)
        && peer.is_some_and(|ConnectInfo(peer)| peer.ip().to_canonical().is_loopback())
        && browser::host(request).is_some_and(|host| browser::is_loopback(&host))
}
