//! Text files that people write. Editors and shells of Windows begin them with byte order marks, which are not
//! part of the text.

use std::path::Path;

use crate::json::text::skip_byte_order_marks;

/// Reads a UTF-8 file without its byte order marks.
///
/// # Errors
/// If the file cannot be read or is not UTF-8; the message does not name the file.
pub(crate) fn read(path: &Path) -> Result<String, String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    if bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") {
        return Err("it is UTF-16 text; save it as UTF-8".to_owned());
    }
    let text = str::from_utf8(skip_byte_order_marks(&bytes));
    text.map(str::to_owned).map_err(|error| format!("it is not UTF-8 text: {error}"))
}
