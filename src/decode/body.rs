//! Request bodies: content encodings, with a limit on the decompressed length, and text.

use std::io::Read;

use super::decoded::DecodeError;
use crate::json::text::skip_byte_order_marks;

/// A content encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// RFC 1950 (zlib), as RFC 9110 defines it. The raw RFC 1951 stream that some clients send is
    /// accepted, too.
    Deflate,
}

/// Why a body could not be decompressed.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The body is larger than allowed after decompression.
    #[error("the body is larger than {max} bytes after decompression")]
    TooLarge {
        /// The limit, in bytes.
        max: usize,
    },
    /// The body is not valid in the encoding that the header names.
    #[error("the body is not valid {encoding:?}: {error}")]
    Corrupt {
        /// The encoding.
        encoding: Encoding,
        /// The error of the decoder.
        error: std::io::Error,
    },
}

/// Maximum zstd window: 8 MiB, which RFC 8878, section 3.1.1.1.2, recommends every decoder to support.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Number of bytes decompressed at a time, so that their memory can be reserved first.
const PART_BYTES: usize = 64 << 10;

/// Decompresses a body, in parts, to at most `bytes_max` bytes.
///
/// # Errors
/// If the decoder cannot be created. A part is an error if the body is larger than allowed, or invalid.
pub fn decompress(
    encoding: Encoding,
    body: &[u8],
    bytes_max: usize,
) -> Result<impl Iterator<Item = Result<Vec<u8>, BodyError>>, BodyError> {
    let corrupt = move |error| BodyError::Corrupt { encoding, error };
    let mut decoder: Box<dyn Read> = match encoding {
        Encoding::Gzip => Box::new(flate2::read::MultiGzDecoder::new(body)),
        Encoding::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(body).map_err(corrupt)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(corrupt)?;
            Box::new(decoder)
        }
        // RFC 1950: the low four bits of the first byte are 8, the first two bytes a multiple of 31.
        Encoding::Deflate => match body {
            [a, b, ..] if a & 15 == 8 && u16::from_be_bytes([*a, *b]).is_multiple_of(31) => {
                Box::new(Inflate { state: flate2::Decompress::new(true), input: body })
            }
            _ => Box::new(Inflate { state: flate2::Decompress::new(false), input: body }),
        },
    };
    let mut left = bytes_max;
    Ok(std::iter::from_fn(move || {
        let mut part = Vec::new();
        match decoder.by_ref().take(PART_BYTES as u64).read_to_end(&mut part) {
            Ok(0) => None,
            Ok(bytes) if bytes > left => Some(Err(BodyError::TooLarge { max: bytes_max })),
            Ok(bytes) => {
                left -= bytes;
                Some(Ok(part))
            }
            Err(error) => Some(Err(corrupt(error))),
        }
    }))
}

/// A deflate stream. The readers of flate2 take the end of the input for the end of the stream; here it is
/// an error if the stream is not complete.
struct Inflate<'a> {
    state: flate2::Decompress,
    input: &'a [u8],
}

impl Read for Inflate<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let (consumed, produced) = (self.state.total_in(), self.state.total_out());
        let status = self.state.decompress(self.input, out, flate2::FlushDecompress::None)?;
        self.input = &self.input[(self.state.total_in() - consumed) as usize..];
        match (self.state.total_out() - produced) as usize {
            0 if status != flate2::Status::StreamEnd && !out.is_empty() => {
                Err(std::io::ErrorKind::UnexpectedEof.into())
            }
            bytes => Ok(bytes),
        }
    }
}

/// Returns a body as text. On Windows, some agents start it with a byte order mark, and shells that pass it
/// on with another.
pub(super) fn text(body: &[u8]) -> Result<&str, DecodeError> {
    let body = skip_byte_order_marks(body);
    simdutf8::compat::from_utf8(body)
        .map_err(|error| DecodeError::NotUtf8 { at: error.valid_up_to() })
}
