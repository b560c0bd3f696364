//! Content negotiation by the weights of `Accept` and `Accept-Encoding` (RFC 9110, section 12.5).

use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, ACCEPT_ENCODING};

/// A media type that an endpoint can send, such as `text/plain` with the parameter `version=0.0.4`.
pub(super) struct MediaType {
    pub(super) kind: &'static str,
    pub(super) subtype: &'static str,
    /// A parameter that the client must not ask for with another value.
    pub(super) parameter: Option<(&'static str, &'static str)>,
}

/// Weight of the offers that a header does not name, below all weights above 0 and above a refusal.
const UNNAMED: i32 = 0;

const REFUSED: i32 = -1;

/// Returns the index of the offer that the client prefers; of equals, the first. Without an offer that the
/// client accepts, one that it does not refuse: a response in another format is better than none.
pub(super) fn preferred_type(headers: &HeaderMap, offers: &[MediaType]) -> usize {
    let ranges: Vec<_> = elements(headers, ACCEPT.as_str()).filter_map(Range::parse).collect();
    preferred(offers, |offer| {
        let matching = ranges.iter().filter_map(|range| Some((range.specificity(offer)?, range)));
        matching.max_by_key(|(specificity, _)| *specificity).map(|(_, range)| range.weight)
    })
}

/// Returns the content coding that the client prefers; of equals, the first. `None` for no coding.
pub(super) fn preferred_coding(
    headers: &HeaderMap,
    offers: &[&'static str],
) -> Option<&'static str> {
    let codings: Vec<_> = elements(headers, ACCEPT_ENCODING.as_str())
        .map(|element| {
            let mut parts = element.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            // RFC 9110: x-gzip is equivalent to gzip.
            let name = if name.eq_ignore_ascii_case("x-gzip") { "gzip" } else { name };
            (name, weight(parts))
        })
        .collect();
    let weight_of = |name: &str| {
        let named = codings.iter().find(|(coding, _)| coding.eq_ignore_ascii_case(name));
        named
            .or_else(|| codings.iter().find(|(coding, _)| *coding == "*"))
            .map(|(_, weight)| *weight)
    };
    let best = offers[preferred(offers, |name| weight_of(name))];
    // Codings are optional, so one must be asked for, and with at least the weight of none.
    let identity = codings.iter().find(|(coding, _)| coding.eq_ignore_ascii_case("identity"));
    let wanted = weight_of(best).is_some_and(|weight| {
        weight > UNNAMED && identity.is_none_or(|(_, identity)| weight >= *identity)
    });
    wanted.then_some(best)
}

/// Returns the index of the offer with the greatest weight; of equals, the first.
fn preferred<T>(offers: &[T], weight_of: impl Fn(&T) -> Option<i32>) -> usize {
    let weights = offers.iter().map(|offer| weight_of(offer).unwrap_or(UNNAMED));
    let best = weights.enumerate().rev().max_by_key(|(_, weight)| *weight);
    best.map_or(0, |(at, _)| at)
}

/// Returns the elements of a header that is a list. It may be repeated.
fn elements<'h>(headers: &'h HeaderMap, name: &'static str) -> impl Iterator<Item = &'h str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|element| !element.is_empty())
}

/// Returns the weight among the parameters of an element, in thousandths; [`REFUSED`] for 0. A weight
/// that is not valid counts as 1.
fn weight<'h>(mut parameters: impl Iterator<Item = &'h str>) -> i32 {
    let weight = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse::<f32>().ok())?
    });
    match weight.filter(|weight| (0.0..=1.0).contains(weight)) {
        None => 1000,
        Some(0.0) => REFUSED,
        Some(weight) => ((weight * 1000.0) as i32).max(1),
    }
}

/// A media range of `Accept`, such as `text/*;q=0.5`.
struct Range<'h> {
    kind: &'h str,
    subtype: &'h str,
    parameters: Vec<(&'h str, &'h str)>,
    weight: i32,
}

impl<'h> Range<'h> {
    fn parse(element: &'h str) -> Option<Self> {
        let mut parts = element.split(';').map(str::trim);
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let parameters = parts.clone().filter_map(|parameter| parameter.split_once('='));
        let parameters =
            parameters.map(|(name, value)| (name.trim(), value.trim().trim_matches('"')));
        Some(Self { kind, subtype, parameters: parameters.collect(), weight: weight(parts) })
    }

    /// Returns how exactly the range names the offer; `None` if it does not match.
    fn specificity(&self, offer: &MediaType) -> Option<u8> {
        let is = |part: &str, offered: &str| part.eq_ignore_ascii_case(offered);
        if self.kind == "*" && self.subtype == "*" {
            return Some(0);
        }
        if !is(self.kind, offer.kind) {
            return None;
        }
        if self.subtype == "*" {
            return Some(1);
        }
        if !is(self.subtype, offer.subtype) {
            return None;
        }
        let wanted = offer.parameter.and_then(|(name, value)| {
            let wanted = self.parameters.iter().find(|(wanted, _)| is(wanted, name));
            wanted.map(|(_, wanted)| *wanted == value)
        });
        match wanted {
            Some(false) => None,
            Some(true) => Some(3),
            None => Some(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: MediaType = MediaType { kind: "application", subtype: "json", parameter: None };
    const TEXT: MediaType =
        MediaType { kind: "text", subtype: "plain", parameter: Some(("version", "0.0.4")) };

    #[test]
    fn type_with_the_greatest_weight_is_preferred() {
        for (accept, expected) in [
            ("", "text"),
            ("*/*", "text"),
            ("image/png", "text"),
            ("nonsense", "text"),
            ("application/json", "json"),
            ("Application/JSON", "json"),
            ("application/json;q=0.1, text/plain", "text"),
            ("text/plain;q=0.1, application/json;q=0.2", "json"),
            ("text/plain ; q=0.1 , application/json ; Q=0.2", "json"),
            ("text/plain;version=1.0.0, application/json;q=0.2", "json"),
            ("text/plain;version=\"0.0.4\";q=0.3, application/json;q=0.2", "text"),
            ("application/json;q=0", "text"),
            ("text/plain;q=0", "json"),
            ("text/plain;q=0, application/json;q=0", "text"),
            ("application/*, text/*;q=0.5", "json"),
            ("*/*, text/plain;q=0.000", "json"),
            ("*/*;q=0.1, application/json;q=0", "text"),
            ("application/json;q=2", "json"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            let chosen = ["text", "json"][preferred_type(&headers, &[TEXT, JSON])];
            assert_eq!(chosen, expected, "{accept}");
        }
    }

    #[test]
    fn repeated_header_is_one_list() {
        let mut headers = HeaderMap::new();
        headers.append(ACCEPT, "text/plain;q=0.1".parse().unwrap());
        headers.append(ACCEPT, "application/json".parse().unwrap());
        assert_eq!(preferred_type(&headers, &[TEXT, JSON]), 1);
    }

    #[test]
    fn coding_is_used_only_if_it_is_asked_for() {
        for (accept, expected) in [
            ("", None),
            ("br", None),
            ("identity", None),
            ("gzip", Some("gzip")),
            ("x-gzip", Some("gzip")),
            ("gzip, zstd", Some("zstd")),
            ("gzip, zstd;q=0.9", Some("gzip")),
            ("GZIP;q=0.5, deflate", Some("gzip")),
            ("gzip;q=0, zstd; q=0.00", None),
            ("*", Some("zstd")),
            ("*, zstd;q=0", Some("gzip")),
            ("*;q=0", None),
            ("identity, gzip;q=0.5", None),
            ("identity;q=0.5, gzip;q=0.6", Some("gzip")),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, accept.parse().unwrap());
            assert_eq!(preferred_coding(&headers, &["zstd", "gzip"]), expected, "{accept}");
        }
    }
}
