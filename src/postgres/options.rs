//! Options of a connection string: libpq's, and those that other drivers add to it. Each is used, ignored
//! with a warning, or refused by name.

/// A connection string with its options taken apart.
#[derive(Debug, Default)]
pub(super) struct ConnectionOptions {
    /// What `tokio-postgres` understands.
    pub(super) text: String,
    pub(super) sslmode: Option<String>,
    pub(super) sslrootcert: Option<String>,
    pub(super) sslcert: Option<String>,
    pub(super) sslkey: Option<String>,
    /// Options without an effect here, each with the reason.
    pub(super) warnings: Vec<String>,
}

/// Options that `tokio-postgres` understands.
const USED: [&str; 18] = [
    "user",
    "password",
    "dbname",
    "options",
    "application_name",
    "sslnegotiation",
    "host",
    "hostaddr",
    "port",
    "connect_timeout",
    "tcp_user_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "target_session_attrs",
    "channel_binding",
    "load_balance_hosts",
];

const FORM: &str =
    "allowed are postgres://user:password@host:5432/database and libpq's key=value pairs";

const NO_GSS: &str = "connections do not use GSSAPI";
const OF_OTHER_DRIVER: &str = "it is an option of another driver";
const NO_EFFECT: &str = "it has no effect here";

/// Options that are ignored, with the reason.
const IGNORED: [(&str, &str); 26] = [
    ("gssencmode", NO_GSS),
    ("gsslib", NO_GSS),
    ("gssdelegation", NO_GSS),
    ("krbsrvname", NO_GSS),
    ("client_encoding", "the encoding is always UTF-8"),
    ("fallback_application_name", NO_EFFECT),
    ("passfile", "password files are not read; the password must be in the connection string"),
    ("sslcompression", "TLS compression is never used"),
    ("sslsni", NO_EFFECT),
    ("sslcertmode", NO_EFFECT),
    ("sslkeylogfile", NO_EFFECT),
    ("ssl_max_protocol_version", NO_EFFECT),
    ("min_protocol_version", NO_EFFECT),
    ("max_protocol_version", NO_EFFECT),
    ("pgbouncer", OF_OTHER_DRIVER),
    ("connection_limit", OF_OTHER_DRIVER),
    ("pool_timeout", OF_OTHER_DRIVER),
    ("pool_size", OF_OTHER_DRIVER),
    ("max_overflow", OF_OTHER_DRIVER),
    ("socket_timeout", OF_OTHER_DRIVER),
    ("command_timeout", OF_OTHER_DRIVER),
    ("statement_cache_size", OF_OTHER_DRIVER),
    ("prepared_statement_cache_size", OF_OTHER_DRIVER),
    ("async_fallback", OF_OTHER_DRIVER),
    ("uselibpqcompat", OF_OTHER_DRIVER),
    ("schema", "tables are in the first schema of search_path; set options=-csearch_path=NAME"),
];

/// Options that cannot be ignored, because the connection would be another one, or less secure.
const REFUSED: [(&str, &str); 10] = [
    ("sslcrl", "certificate revocation lists are not supported"),
    ("sslcrldir", "certificate revocation lists are not supported"),
    ("sslpassword", "sslkey must be an unencrypted PEM file"),
    ("sslaccept", "write sslmode=verify-full, or sslmode=require for an unverified certificate"),
    ("requirepeer", "it is not supported"),
    ("require_auth", "it is not supported"),
    ("service", "service files are not read; write the options themselves"),
    ("servicefile", "service files are not read; write the options themselves"),
    ("replication", "replication connections cannot store events"),
    ("requiressl", "write sslmode=require"),
];

impl ConnectionOptions {
    /// Takes a connection string apart. The error never quotes a value, which may be part of a password.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut options = Self::default();
        match without_scheme(text) {
            Some(rest) => options.parse_url(rest)?,
            None => options.parse_pairs(text)?,
        }
        Ok(options)
    }

    fn parse_url(&mut self, rest: &str) -> Result<(), String> {
        // A password may have a '?', but not a '/'.
        let credentials = rest.find('@').filter(|at| !rest[..*at].contains('/'));
        let address_end = credentials.unwrap_or(0);
        let query = rest[address_end..].find('?').map(|at| address_end + at);
        let (address, query) = query.map_or((rest, ""), |at| (&rest[..at], &rest[at + 1..]));
        let host = address.rsplit('@').next().unwrap_or_default();
        let mut has_host = !host.is_empty() && !host.starts_with('/');
        let (mut kept, mut addresses) = (Vec::new(), None);
        for option in query.split('&').filter(|option| !option.is_empty()) {
            let (key, value) = option.split_once('=').ok_or_else(|| {
                format!("an option after the '?' has no value, as in ?sslmode=require; {FORM}")
            })?;
            // Without '@', the '?' may be in a password.
            if let Some((key, value)) = self.take(key, &decode(value), credentials.is_some())? {
                has_host |= key == "host";
                if key == "hostaddr" {
                    addresses = Some(encode(&value));
                }
                kept.push(format!("{key}={}", encode(&value)));
            }
        }
        // As in libpq, an address is enough.
        if let Some(addresses) = addresses.filter(|_| !has_host) {
            kept.push(format!("host={addresses}"));
        }
        let mark = if kept.is_empty() { "" } else { "?" };
        self.text = format!("postgres://{address}{mark}{}", kept.join("&"));
        Ok(())
    }

    fn parse_pairs(&mut self, text: &str) -> Result<(), String> {
        let mut rest = text.trim_start();
        let (mut kept, mut addresses, mut has_host) = (Vec::new(), None, false);
        let mut may_name = true;
        while !rest.is_empty() {
            let wrong = || format!("expected key=value; {FORM}");
            let (key, after) = rest.split_once('=').ok_or_else(wrong)?;
            let key = key.trim_end();
            if key.is_empty() || key.contains(char::is_whitespace) {
                return Err(wrong());
            }
            let after = after.trim_start();
            let is_quoted = after.starts_with('\'');
            let (value, after) = pair_value(after)
                .ok_or_else(|| format!("a quoted value has no closing quote; {FORM}"))?;
            if let Some((key, value)) = self.take(key, &value, may_name)? {
                has_host |= key == "host";
                if key == "hostaddr" {
                    addresses = Some(value.clone());
                }
                kept.push((key.to_owned(), value));
            }
            // What follows an unquoted password may be a part of it.
            may_name &= key != "password" || is_quoted;
            rest = after.trim_start();
        }
        if let Some(addresses) = addresses.filter(|_| !has_host) {
            kept.push(("host".to_owned(), addresses));
        }
        let quote = |value: &str| value.replace('\\', "\\\\").replace('\'', "\\'");
        let kept = kept.iter().map(|(key, value)| format!("{key}='{}'", quote(value)));
        self.text = kept.collect::<Vec<_>>().join(" ");
        Ok(())
    }

    /// Uses an option; returns it if it is for `tokio-postgres`.
    fn take<'k>(
        &mut self,
        key: &'k str,
        value: &str,
        may_name: bool,
    ) -> Result<Option<(&'k str, String)>, String> {
        let wanted = |allowed: &str| Err(format!("option {key} is invalid; {allowed}"));
        let value = value.to_owned();
        match key {
            "sslmode" => self.sslmode = Some(value),
            "sslrootcert" => self.sslrootcert = Some(value),
            "sslcert" => self.sslcert = Some(value),
            "sslkey" => self.sslkey = Some(value),
            // Of asyncpg, and of JDBC.
            "ssl" => {
                self.sslmode = Some(match &*value {
                    "true" | "True" | "1" | "on" => "require".to_owned(),
                    "false" | "False" | "0" | "off" => "disable".to_owned(),
                    _ => value,
                });
            }
            "gssencmode" if value == "require" => {
                return wanted("GSSAPI encryption is not supported; use TLS, with sslmode");
            }
            "ssl_min_protocol_version" if value != "TLSv1.3" => {}
            "ssl_min_protocol_version" => {
                return wanted("the minimum is TLSv1.2, and cannot be raised");
            }
            "target_session_attrs" => match &*value {
                "any" => return Ok(Some((key, value))),
                "read-write" | "primary" => return Ok(Some((key, "read-write".to_owned()))),
                _ => {
                    return wanted("allowed are any, read-write and primary: the server writes");
                }
            },
            "keepalives_count" => return Ok(Some(("keepalives_retries", value))),
            _ => {
                if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| *refused == key) {
                    return Err(format!("option {key} cannot be used: {reason}"));
                }
                if let Some((_, reason)) = IGNORED.iter().find(|(ignored, _)| *ignored == key) {
                    self.warnings.push(format!("option {key} is ignored: {reason}"));
                    return Ok(None);
                }
                if is_used(key) {
                    return Ok(Some((key, value)));
                }
                let is_name = key.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
                return Err(if may_name && is_name && key.len() <= 40 {
                    format!("unknown option {key}")
                } else {
                    format!("an option is unknown; {FORM}")
                });
            }
        }
        Ok(None)
    }
}

/// Returns true if `tokio-postgres` has an option with this name.
pub(super) fn is_used(key: &str) -> bool {
    USED.contains(&key)
}

/// Returns a URL without its scheme: libpq's, with the driver that `SQLAlchemy` adds
/// (`postgresql+asyncpg://`), or JDBC's.
fn without_scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once("://")?;
    let scheme = scheme.strip_prefix("jdbc:").unwrap_or(scheme);
    let database = scheme.split_once('+').map_or(scheme, |(database, _)| database);
    matches!(database, "postgres" | "postgresql").then_some(rest)
}

/// Returns the value at the start of a text, and the rest; `None` if its quote is not closed.
fn pair_value(text: &str) -> Option<(String, &str)> {
    let is_quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut characters = text.char_indices().skip(usize::from(is_quoted));
    while let Some((at, character)) = characters.next() {
        match character {
            '\'' if is_quoted => return Some((value, &text[at + 1..])),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            _ if !is_quoted && character.is_whitespace() => return Some((value, &text[at..])),
            _ => value.push(character),
        }
    }
    (!is_quoted).then_some((value, ""))
}

fn decode(value: &str) -> String {
    percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned()
}

fn encode(value: &str) -> String {
    percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::ConnectionOptions;

    #[test]
    fn strings_of_other_drivers_are_understood() {
        for (text, expected) in [
            ("postgresql+asyncpg://u:p@h/db?ssl=require", "postgres://u:p@h/db"),
            ("postgresql+psycopg2://u:p@h/db", "postgres://u:p@h/db"),
            ("jdbc:postgresql://h/db?user=u&ssl=true", "postgres://h/db?user=u"),
            ("postgres://u:p?q@h/db?connect_timeout=3", "postgres://u:p?q@h/db?connect_timeout=3"),
            (
                "postgres://h/db?options=-c%20search%5Fpath%3Da&pgbouncer=true",
                "postgres://h/db?options=%2Dc%20search%5Fpath%3Da",
            ),
            (
                "hostaddr=10.0.0.1 dbname = 'a b'",
                "hostaddr='10.0.0.1' dbname='a b' host='10.0.0.1'",
            ),
            ("host=h password='a\\'b'", "host='h' password='a\\'b'"),
            ("host=h target_session_attrs=primary", "host='h' target_session_attrs='read-write'"),
        ] {
            let options = ConnectionOptions::parse(text).expect(text);
            assert_eq!(options.text, expected);
            options.text.parse::<tokio_postgres::Config>().expect(text);
        }
    }
}
