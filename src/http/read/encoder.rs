//! Compression of a response, negotiated by `Accept-Encoding`.

use std::io::{self, Write};

use axum::http::HeaderMap;
use bytes::Bytes;

use crate::http::negotiation::preferred_coding;
use crate::http::problem::Problem;

/// Base-2 logarithm of the bytes in which zstd looks for matches. With its default, an encoder has 4 MiB.
const ZSTD_WINDOW_LOG: u32 = 18;

/// Compresses the body.
pub(super) enum Encoder {
    Identity,
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    /// Returns the compression of these that `Accept-Encoding` prefers, and its name.
    pub(super) fn accepted(
        headers: &HeaderMap,
        codings: &[&'static str],
    ) -> Result<(Self, Option<&'static str>), Problem> {
        let coding = preferred_coding(headers, codings);
        let encoder = match coding {
            Some("zstd") => {
                let encoder = zstd_encoder().map_err(|error| {
                    let status = axum::http::StatusCode::INTERNAL_SERVER_ERROR;
                    Problem::new(status, format!("zstd: {error}"))
                })?;
                Self::Zstd(encoder)
            }
            Some(_) => {
                let level = flate2::Compression::fast();
                Self::Gzip(flate2::write::GzEncoder::new(Vec::new(), level))
            }
            None => Self::Identity,
        };
        Ok((encoder, coding))
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
    /// Compresses text so that the client can decompress all of it at once, and returns all output.
    pub(super) fn encode_and_flush(&mut self, text: Bytes) -> io::Result<Bytes> {
        match self {
            Self::Identity => Ok(text),
            Self::Gzip(encoder) => {
                encoder.write_all(&text)?;
                encoder.flush()?;
                Ok(std::mem::take(encoder.get_mut()).into())
            }
            Self::Zstd(encoder) => {
                encoder.write_all(&text)?;
                encoder.flush()?;
                Ok(std::mem::take(encoder.get_mut()).into())
            }
        }
    }
}

fn zstd_encoder() -> io::Result<zstd::stream::write::Encoder<'static, Vec<u8>>> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 0)?;
    encoder.window_log(ZSTD_WINDOW_LOG)?;
    Ok(encoder)
}
