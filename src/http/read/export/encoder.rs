//! Compression of an export, negotiated by `Accept-Encoding`.

use std::io::{self, Write};

use axum::http::HeaderMap;
use axum::http::header::ACCEPT_ENCODING;

use crate::http::problem::Problem;

/// Compresses the body.
pub(super) enum Encoder {
    Identity,
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    /// Returns the best compression that `Accept-Encoding` allows, and its name.
    pub(super) fn accepted(headers: &HeaderMap) -> Result<(Self, Option<&'static str>), Problem> {
        let accepted = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
        let accepts = |name: &str| {
            accepted.unwrap_or_default().split(',').any(|coding| {
                let (coding, weight) = coding.split_once(';').unwrap_or((coding, ""));
                let is_refused = matches!(weight.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000");
                coding.trim().eq_ignore_ascii_case(name) && !is_refused
            })
        };
        if accepts("zstd") {
            let encoder = zstd::stream::write::Encoder::new(Vec::new(), 0).map_err(|error| {
                let status = axum::http::StatusCode::INTERNAL_SERVER_ERROR;
                Problem::new(status, format!("zstd: {error}"))
            })?;
            return Ok((Self::Zstd(encoder), Some("zstd")));
        }
        if accepts("gzip") {
            let level = flate2::Compression::fast();
            let encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            return Ok((Self::Gzip(encoder), Some("gzip")));
        }
        Ok((Self::Identity, None))
    }

    /// Compresses text, and returns the output that is ready to be sent.
    pub(super) fn encode(&mut self, text: Vec<u8>, is_end: bool) -> io::Result<Vec<u8>> {
        match self {
            Self::Identity => Ok(text),
            Self::Gzip(encoder) => {
                encoder.write_all(&text)?;
                if is_end {
                    encoder.try_finish()?;
                }
                Ok(std::mem::take(encoder.get_mut()))
            }
            Self::Zstd(encoder) => {
                encoder.write_all(&text)?;
                if is_end {
                    encoder.do_finish()?;
                }
                Ok(std::mem::take(encoder.get_mut()))
            }
        }
    }
}
