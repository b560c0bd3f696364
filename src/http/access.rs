//! Who may do what: API keys with scopes.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use subtle::ConstantTimeEq;

use super::problem::Problem;

/// What a key may be good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Sending events.
    Ingest,
    /// Reading them back.
    Read,
}

impl Scope {
    fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Read => "read",
        }
    }
}

/// A key. Its secret is shown nowhere.
struct Key {
    name: Arc<str>,
    secret: String,
    scopes: Vec<Scope>,
}

/// The keys that are valid now. Without any, writing is open to whoever reaches the port.
pub struct Access {
    keys: RwLock<Arc<[Key]>>,
    inline: String,
    file: Option<PathBuf>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Access {
    /// Reads `API_KEYS` (`name:key:scope+scope`, separated by commas) and `API_KEYS_FILE` (one a
    /// line; blank lines and lines that begin with `#` mean nothing).
    ///
    /// # Errors
    /// What is wrong and where, without the keys themselves.
    pub fn new(inline: Option<String>, file: Option<PathBuf>) -> Result<Self, String> {
        let inline = inline.unwrap_or_default();
        let keys = RwLock::new(read(&inline, file.as_ref())?);
        Ok(Self { keys, inline, file })
    }

    /// Reads the file again, if there is one. If it is wrong, the keys that were valid stay so.
    pub fn reload(&self) {
        if self.file.is_none() {
            return;
        }
        match read(&self.inline, self.file.as_ref()) {
            Ok(keys) => {
                tracing::info!(keys = keys.len(), "API keys read again");
                *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
            }
            Err(error) => tracing::error!(%error, "API keys not changed"),
        }
    }

    /// Lets a request pass that needs the scope, or says why not. The name of its key, if keys are needed.
    pub(super) fn check(
        &self,
        headers: &HeaderMap,
        scope: Scope,
    ) -> Result<Option<Arc<str>>, Problem> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner).clone();
        if keys.is_empty() {
            return Ok(None);
        }
        let presented = presented(headers).ok_or_else(|| {
            Problem::unauthorized(
                "an API key is needed: 'Authorization: Bearer KEY' or 'X-API-Key: KEY'",
            )
        })?;
        // Every key is compared, and each in a time that does not depend on what is equal.
        let mut found = None;
        for key in &*keys {
            if bool::from(key.secret.as_bytes().ct_eq(presented)) {
                found = Some(key);
            }
        }
        let key = found.ok_or_else(|| Problem::unauthorized("the API key is not valid"))?;
        if key.scopes.contains(&scope) {
            tracing::debug!(key = &*key.name, scope = scope.name(), "allowed");
            return Ok(Some(key.name.clone()));
        }
        let detail = format!("the API key {:?} lacks the scope '{}'", key.name, scope.name());
        Err(Problem::new(StatusCode::FORBIDDEN, detail))
    }
}

/// The key that a request brings.
fn presented(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(key) = headers.get("x-api-key") {
        return Some(key.as_bytes());
    }
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, key) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
}

fn read(inline: &str, file: Option<&PathBuf>) -> Result<Arc<[Key]>, String> {
    let mut keys = Vec::new();
    for (at, entry) in inline.split(',').map(str::trim).enumerate() {
        if !entry.is_empty() {
            keys.push(
                parse(entry).map_err(|error| format!("API_KEYS, entry {}: {error}", at + 1))?,
            );
        }
    }
    // What was meant as a key and is none must not open the door.
    if keys.is_empty() && !inline.is_empty() {
        return Err("API_KEYS: it has no key".to_owned());
    }
    if let Some(path) = file {
        let inline_keys = keys.len();
        let named =
            |error: &dyn std::fmt::Display| format!("API_KEYS_FILE {}: {error}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| named(&error))?;
        for (at, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = parse(line).map_err(|error| named(&format!("line {}: {error}", at + 1)))?;
            keys.push(key);
        }
        if keys.len() == inline_keys {
            return Err(named(&"it has no key"));
        }
    }
    Ok(keys.into())
}

fn parse(entry: &str) -> Result<Key, &'static str> {
    const FORM: &str = "expected name:key:scope, where scope is ingest, read or ingest+read";
    let mut parts = entry.splitn(3, ':').map(str::trim);
    let (Some(name), Some(secret), Some(scopes)) = (parts.next(), parts.next(), parts.next())
    else {
        return Err(FORM);
    };
    if name.is_empty() || secret.is_empty() {
        return Err(FORM);
    }
    let scopes = scopes
        .split('+')
        .map(|scope| match scope.trim() {
            "ingest" => Ok(Scope::Ingest),
            "read" => Ok(Scope::Read),
            _ => Err(FORM),
        })
        .collect::<Result<_, _>>()?;
    Ok(Key { name: name.into(), secret: secret.to_owned(), scopes })
}
