//! Where the parts of a JSON text stand, comments and trailing commas allowed: what an editor of
//! settings files needs to leave alone all that is not its own.

/// Deepest nesting that is followed.
const DEPTH_MAX: usize = 100;

/// A value and where it stands: the bytes from `start` to before `end`.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Object(Vec<Member>),
    Array(Vec<Value>),
    Other,
}

#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) key: String,
    /// Where the key begins.
    pub(super) start: usize,
    pub(super) value: Value,
}

impl Value {
    /// The member of an object; where a name stands twice, the last one.
    pub(super) fn member(&self, key: &str) -> Option<&Value> {
        let Kind::Object(members) = &self.kind else { return None };
        members.iter().rev().find(|member| member.key == key).map(|member| &member.value)
    }

    /// The members of an object.
    pub(super) fn members(&self) -> &[Member] {
        if let Kind::Object(members) = &self.kind { members } else { &[] }
    }

    /// The elements of an array.
    pub(super) fn elements(&self) -> &[Value] {
        if let Kind::Array(elements) = &self.kind { elements } else { &[] }
    }

    /// Where each member or element stands.
    pub(super) fn items(&self) -> Vec<(usize, usize)> {
        match &self.kind {
            Kind::Object(members) => members.iter().map(|m| (m.start, m.value.end)).collect(),
            Kind::Array(elements) => elements.iter().map(|e| (e.start, e.end)).collect(),
            Kind::Other => Vec::new(),
        }
    }
}

/// Reads a whole text, which must be one JSON object.
///
/// # Errors
/// What is wrong, and in which line.
pub(super) fn scan(text: &str) -> Result<Value, String> {
    let mut scanner = Scanner { text, at: 0 };
    scanner.skip();
    let value = scanner.value(0)?;
    scanner.skip();
    if scanner.at < text.len() {
        return Err(scanner.error("nothing may follow the end of the object"));
    }
    match value.kind {
        Kind::Object(_) => Ok(value),
        _ => Err(scanner.error("it is not a JSON object")),
    }
}

/// The end of white space and comments from `at` on.
pub(super) fn skip(text: &str, at: usize) -> usize {
    let mut scanner = Scanner { text, at };
    scanner.skip();
    scanner.at
}

struct Scanner<'t> {
    text: &'t str,
    at: usize,
}

impl Scanner<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn error(&self, what: &str) -> String {
        format!("line {}: {what}", self.text[..self.at].lines().count().max(1))
    }

    fn skip(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
            let comment = if trimmed.starts_with("//") {
                trimmed.find('\n').unwrap_or(trimmed.len())
            } else if trimmed.starts_with("/*") {
                trimmed.find("*/").map_or(trimmed.len(), |end| end + 2)
            } else {
                0
            };
            self.at += rest.len() - trimmed.len() + comment;
            if comment == 0 {
                return;
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        if depth > DEPTH_MAX {
            return Err(self.error("it is nested too deep"));
        }
        let start = self.at;
        let kind = match self.rest().bytes().next() {
            Some(b'{') => Kind::Object(self.items(b'}', |scanner| {
                let start = scanner.at;
                let key = scanner.string()?;
                scanner.skip();
                if !scanner.rest().starts_with(':') {
                    return Err(scanner.error("a ':' is missing"));
                }
                scanner.at += 1;
                scanner.skip();
                Ok(Member { key, start, value: scanner.value(depth + 1)? })
            })?),
            Some(b'[') => Kind::Array(self.items(b']', |scanner| scanner.value(depth + 1))?),
            Some(b'"') => {
                self.string()?;
                Kind::Other
            }
            _ => {
                let end = |c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c));
                let word = &self.rest()[..self.rest().find(end).unwrap_or(self.rest().len())];
                if serde_json::from_str::<serde::de::IgnoredAny>(word).is_err() {
                    return Err(self.error("a value is missing or is not JSON"));
                }
                self.at += word.len();
                Kind::Other
            }
        };
        Ok(Value { kind, start, end: self.at })
    }

    fn items<T>(
        &mut self,
        close: u8,
        mut item: impl FnMut(&mut Self) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        let mut items = Vec::new();
        self.at += 1;
        loop {
            self.skip();
            if self.rest().bytes().next() == Some(close) {
                self.at += 1;
                return Ok(items);
            }
            items.push(item(self)?);
            self.skip();
            match self.rest().bytes().next() {
                Some(b',') => self.at += 1,
                Some(byte) if byte == close => {}
                _ => return Err(self.error(&format!("a ',' or '{}' is missing", close as char))),
            }
        }
    }

    fn string(&mut self) -> Result<String, String> {
        let rest = self.rest();
        let mut escaped = false;
        let end = rest.bytes().enumerate().skip(1).find(|&(_, byte)| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        });
        let raw = end.filter(|_| rest.starts_with('"')).map(|(end, _)| &rest[..=end]);
        let raw = raw.ok_or_else(|| self.error("a name or text in quotes is missing"))?;
        let text = serde_json::from_str(raw).map_err(|error| self.error(&error.to_string()))?;
        self.at += raw.len();
        Ok(text)
    }
}
