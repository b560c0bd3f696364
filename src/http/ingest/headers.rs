//! The headers and parameters that all ingest endpoints read.

use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Uri};

use crate::config::Ack;
use crate::decode::Encoding;
use crate::http::problem::Problem;

/// Returns the media type in lower case, without parameters; empty without a `content-type`.
pub(super) fn media_type(headers: &HeaderMap) -> Result<String, Problem> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(String::new()) };
    let value = value
        .to_str()
        .map_err(|_| Problem::unsupported("the content type contains bytes that are not ASCII"))?;
    Ok(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// Returns the value of a header as text, with U+FFFD for bytes that are not UTF-8.
pub(super) fn header_text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

pub(super) fn content_encoding(headers: &HeaderMap) -> Result<Option<Encoding>, Problem> {
    let Some(value) = headers.get(CONTENT_ENCODING) else { return Ok(None) };
    match value.to_str().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(None),
        "gzip" | "x-gzip" => Ok(Some(Encoding::Gzip)),
        "zstd" => Ok(Some(Encoding::Zstd)),
        "deflate" => Ok(Some(Encoding::Deflate)),
        other => Err(Problem::unsupported(format!(
            "the content encoding {other:?} is not supported; allowed: gzip, zstd, deflate"
        ))),
    }
}

/// Reads the parameter `ack`; other parameters are ignored.
pub(super) fn ack(uri: &Uri, default: Ack) -> Result<Ack, Problem> {
    let mut values = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|parameter| parameter.strip_prefix("ack="));
    match values.next() {
        None => Ok(default),
        Some("journal") => Ok(Ack::Journal),
        Some("stored") => Ok(Ack::Stored),
        Some(other) => Err(Problem::bad_request(format!(
            "the parameter ack is {other:?}; allowed: journal, stored"
        ))),
    }
}
