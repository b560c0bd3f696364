//! API keys and the two settings that define them, `API_KEYS` and `API_KEYS_FILE`.

use std::path::Path;
use std::sync::Arc;

use subtle::ConstantTimeEq;

use super::Scope;
use crate::text_file;

/// An API key. Implements no `Debug`, so that its secret cannot reach a log.
pub(super) struct ApiKey {
    pub(super) name: Arc<str>,
    secret: String,
    scopes: Vec<Scope>,
}

impl ApiKey {
    pub(super) fn has(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    fn parse(entry: &str) -> Result<Self, &'static str> {
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
            .map(|scope| Scope::parse(scope.trim()).ok_or(FORM))
            .collect::<Result<_, _>>()?;
        Ok(Self { name: name.into(), secret: secret.to_owned(), scopes })
    }
}

/// Returns the key with this secret. Compares with every key, each in constant time.
pub(super) fn find<'k>(keys: &'k [ApiKey], secret: &[u8]) -> Option<&'k ApiKey> {
    let mut found = None;
    for key in keys {
        if bool::from(key.secret.as_bytes().ct_eq(secret)) {
            found = Some(key);
        }
    }
    found
}

/// Reads the keys of both settings.
pub(super) fn read(inline: &str, file: Option<&Path>) -> Result<Box<[ApiKey]>, String> {
    let mut keys = Vec::new();
    for (at, entry) in inline.split(',').map(str::trim).enumerate() {
        if !entry.is_empty() {
            let key = ApiKey::parse(entry);
            keys.push(key.map_err(|error| format!("API_KEYS, entry {}: {error}", at + 1))?);
        }
    }
    // A setting without a key must not leave the server open.
    if keys.is_empty() && !inline.is_empty() {
        return Err("API_KEYS: it contains no key".to_owned());
    }
    if let Some(path) = file {
        read_file(path, &mut keys)
            .map_err(|error| format!("API_KEYS_FILE {}: {error}", path.display()))?;
    }
    Ok(keys.into())
}

/// Appends the keys of a file: one a line; blank lines and lines that begin with `#` are ignored.
fn read_file(path: &Path, keys: &mut Vec<ApiKey>) -> Result<(), String> {
    let inline_keys = keys.len();
    let text = text_file::read(path)?;
    for (at, line) in text.lines().map(str::trim).enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        keys.push(ApiKey::parse(line).map_err(|error| format!("line {}: {error}", at + 1))?);
    }
    if keys.len() == inline_keys {
        return Err("it contains no key".to_owned());
    }
    Ok(())
}
