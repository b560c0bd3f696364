//! The values of the corpus.

/// A JSON value, as it is sent and as it is read.
#[derive(Clone, Debug)]
pub(super) struct OddValue {
    pub(super) name: String,
    /// The JSON that is sent.
    pub(super) sent: String,
    /// The JSON that every response is to have, in any notation.
    pub(super) expected: String,
    /// The expected text; `None` if the value is not a string.
    pub(super) text: Option<String>,
    /// The number of nested arrays and objects.
    pub(super) depth: usize,
}

impl OddValue {
    fn new(sent: &str, expected: &str) -> Self {
        let (mut depth, mut depth_max) = (0_usize, 0);
        let text: Option<String> = serde_json::from_str(expected).ok();
        for byte in expected.bytes().filter(|_| text.is_none()) {
            match byte {
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth -= 1,
                _ => {}
            }
            depth_max = depth_max.max(depth);
        }
        Self {
            name: format!("{:.60}", sent.escape_debug().to_string()),
            sent: sent.to_owned(),
            expected: expected.to_owned(),
            text,
            depth: depth_max,
        }
    }

    /// The value with U+FFFD instead of NUL in texts.
    pub(super) fn without_nul(self) -> Self {
        match &self.text {
            Some(text) if text.contains('\0') => {
                let expected = super::json::quoted(&text.replace('\0', "\u{fffd}"));
                Self::new(&self.sent, &expected)
            }
            _ => self,
        }
    }
}

/// Pairs of a string as it is sent, without its quotes, and as it is read.
const REPLACED: [(&str, &str); 11] = [
    (r"\ud800", "\u{fffd}"),
    (r"\uDC00", "\u{fffd}"),
    (r"\udc00\ud800", "\u{fffd}\u{fffd}"),
    (r"cut \ud83d", "cut \u{fffd}"),
    (r"\ud83dx", "\u{fffd}x"),
    (r"\ud800\ud83d\ude00", "\u{fffd}😀"),
    (r"\ud83d\ude00\ude00", "😀\u{fffd}"),
    (r"\ud800\\udc00", "\u{fffd}\\udc00"),
    (r"\\\ud800", "\\\u{fffd}"),
    (r"\ud800\n", "\u{fffd}\n"),
    (r"\ud83d\u0041", "\u{fffd}A"),
];

/// Strings as they are sent, without their quotes, and read as they are.
const KEPT: [&str; 62] = [
    "",
    " ",
    " a ",
    "plain",
    r"\ud83d\ude00",
    "😀",
    r"\\ud800",
    r"\\u0000",
    r"\u0000",
    r"a\u0000b",
    r"\u0000a",
    r"\u0001\u0002\u0003\u0004\u0005\u0006\u0007\b\t\n\u000b\f\r\u000e\u000f",
    r"\u0010\u0011\u0012\u0013\u0014\u0015\u0016\u0017\u0018\u0019\u001a\u001b\u001c\u001d\u001e\u001f",
    "\u{7f}",
    "\u{80}\u{84}\u{85}\u{8d}\u{90}\u{9b}31m\u{9c}\u{9f}",
    r"\u0085\u009b31m",
    "a\u{feff}b",
    "\u{feff}a",
    r"\ufeffa",
    "\u{feff}\u{feff}a",
    "a\u{2028}b\u{2029}c",
    r"\u2028",
    "a\u{202e}b\u{2066}c\u{2069}\u{200f}\u{61c}",
    "z\u{200b}w\u{200d}j\u{2060}",
    "\u{fffe}\u{ffff}\u{1fffe}\u{10ffff}",
    r"\ufffe\uffff",
    "\u{fffd}",
    "\u{e000}\u{f8ff}",
    r"\/ \b \f \n \r \t \u0022 \\ \u005c \u002F",
    "e\u{301} \u{e9}",
    r"\u00e9\u00E9",
    r"\u0074ext",
    "ﬁ İ ß ς",
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    r"\t=1",
    r"\r=1",
    r"\n=1",
    "=HYPERLINK(\\\"http://x\\\")",
    ",",
    r#"\""#,
    r#"a\"b,c"#,
    r"line\nfeed",
    r"cr\rlf\r\n",
    r"\n",
    r"\r\n",
    ";|\\t",
    "'",
    r"a\\",
    r#"\\\""#,
    r"\u001b[31mred\u001b[0m",
    r"\u001b]0;title\u0007\u001b[2J",
    "null",
    "NaN",
    "1e5",
    "true",
    r#"{\"a\":1}"#,
    "%00%ff${HOME}$(id)`id`",
    "'); DROP TABLE hook_events; --",
    "data: x\\n\\nid: 1",
];

/// Values that are not strings.
const OTHERS: [&str; 31] = [
    "null",
    "true",
    "false",
    "0",
    "-0",
    "-0.0",
    "1.0",
    "1e2",
    "1E+2",
    "1e-7",
    "0.1",
    "123456789.123456789123",
    "9007199254740993",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "18446744073709551615",
    "12345678901234567890123",
    "1e308",
    "1e400",
    "-1e400",
    "5e-324",
    "1e-400",
    "[]",
    "{}",
    r#"[null,[],{"a":[{}]}]"#,
    r#"{"a":1,"a":2}"#,
    r#"{"a":{"b":1},"a":null}"#,
    r#"{"":1}"#,
    r#"{"a\"b":"\/"}"#,
    r#"{"prompt":"inner","v":0,"tool_name":"inner"}"#,
];

/// Objects as they are sent and as they are read.
const OBJECTS: [(&str, &str); 3] = [
    (r#"{"\ud800":"\udfff"}"#, "{\"\u{fffd}\":\"\u{fffd}\"}"),
    (r#"["\ud800",["\ud83d"]]"#, "[\"\u{fffd}\",[\"\u{fffd}\"]]"),
    (r#"{"\udc00":1,"\ufffd":2}"#, "{\"\u{fffd}\":2}"),
];

/// Returns all values.
pub(super) fn values() -> Vec<OddValue> {
    let value = OddValue::new;
    let mut values: Vec<OddValue> = REPLACED
        .iter()
        .map(|(sent, read)| value(&format!("\"{sent}\""), &super::json::quoted(read)))
        .collect();
    values.extend(KEPT.iter().map(|text| {
        let sent = format!("\"{text}\"");
        value(&sent, &sent)
    }));
    values.extend(OTHERS.iter().map(|sent| value(sent, sent)));
    values.extend(OBJECTS.iter().map(|(sent, read)| value(sent, read)));
    for text in ["x".repeat(255), "é".repeat(128), "y".repeat(5000), "\\u00e9".repeat(1000)] {
        let sent = format!("\"{text}\"");
        values.push(value(&sent, &sent));
    }
    for depth in [20, super::DEPTH_MAX - 1, super::DEPTH_MAX] {
        let arrays = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let name = format!("{depth} arrays");
        values.push(OddValue { name, ..value(&arrays, &arrays) });
    }
    values
}
