//! Content encodings, with a cap on what comes out.

use std::io::Read;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// RFC 1950 (zlib), as RFC 9110 defines it; the bare RFC 1951 stream that some send is
    /// understood too.
    Deflate,
}

/// Why a compressed body could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Larger than allowed once decompressed.
    #[error("the body is larger than {max} bytes after decompression")]
    TooLarge {
        /// The limit, in bytes.
        max: usize,
    },
    /// Not of the encoding that its header names.
    #[error("the body is not valid {encoding:?}: {error}")]
    Corrupt {
        /// The encoding that was named.
        encoding: Encoding,
        /// What its decoder said.
        error: std::io::Error,
    },
}

/// The largest zstd window: 8 MiB, which RFC 8878 section 3.1.1.1.2 asks every decoder to support.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Decompresses a body of at most `bytes_max` bytes.
///
/// # Errors
/// If it is larger, or not what it says it is.
pub fn decompress(encoding: Encoding, body: &[u8], bytes_max: usize) -> Result<Vec<u8>, BodyError> {
    let corrupt = |error| BodyError::Corrupt { encoding, error };
    match encoding {
        Encoding::Gzip => read(flate2::read::MultiGzDecoder::new(body), encoding, bytes_max),
        Encoding::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(body).map_err(corrupt)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(corrupt)?;
            read(decoder, encoding, bytes_max)
        }
        Encoding::Deflate => {
            // RFC 1950: the low four bits of the first byte are 8, the first two bytes a multiple
            // of 31.
            let zlib = matches!(body, [a, b, ..] if a & 15 == 8
                && (u16::from(*a) << 8 | u16::from(*b)).is_multiple_of(31));
            if zlib {
                read(flate2::read::ZlibDecoder::new(body), encoding, bytes_max)
            } else {
                read(flate2::read::DeflateDecoder::new(body), encoding, bytes_max)
            }
        }
    }
}

fn read(decoder: impl Read, encoding: Encoding, bytes_max: usize) -> Result<Vec<u8>, BodyError> {
    let mut body = Vec::new();
    decoder
        .take(bytes_max as u64 + 1)
        .read_to_end(&mut body)
        .map_err(|error| BodyError::Corrupt { encoding, error })?;
    if body.len() > bytes_max {
        return Err(BodyError::TooLarge { max: bytes_max });
    }
    Ok(body)
}
