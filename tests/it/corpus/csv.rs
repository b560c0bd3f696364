//! A reader of CSV (RFC 4180).

/// Returns the rows. A cell is `None` if it is empty and not in quotes.
pub(super) fn read(text: &str) -> Vec<Vec<Option<String>>> {
    let mut rows = Vec::new();
    let (mut row, mut cell, mut is_quoted) = (Vec::new(), String::new(), false);
    let mut rest = text.chars().peekable();
    while let Some(next) = rest.next() {
        match next {
            '"' => {
                is_quoted = true;
                // To the closing quote. Two quotes are one.
                while let Some(inner) = rest.next() {
                    if inner == '"' && rest.next_if_eq(&'"').is_none() {
                        break;
                    }
                    cell.push(inner);
                }
            }
            ',' | '\r' => {
                let text = std::mem::take(&mut cell);
                row.push(Some(text).filter(|text| is_quoted || !text.is_empty()));
                is_quoted = false;
                if next == '\r' {
                    assert_eq!(rest.next(), Some('\n'), "a line ends with CR LF");
                    rows.push(std::mem::take(&mut row));
                }
            }
            other => cell.push(other),
        }
    }
    rows
}
