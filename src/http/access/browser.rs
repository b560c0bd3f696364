//! Requests that a web page makes in its visitor's browser. The browser reaches servers that the page's
//! author cannot reach, such as those on loopback.

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::{Authority, Uri};

/// `Sec-Fetch-Site`: the relation between the page and the server.
const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// Returns true if a browser made the request for a page that another server delivered.
pub(super) fn is_cross_origin(request: &Request) -> bool {
    let headers = request.headers();
    let is_other_site = |site: &[u8]| site != b"same-origin" && site != b"none";
    headers.get_all(SEC_FETCH_SITE).iter().any(|site| is_other_site(site.as_bytes()))
        || headers.get_all(ORIGIN).iter().any(|origin| {
            let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
            let origin = origin.as_ref().and_then(Uri::authority);
            !origin.zip(host(request).as_ref()).is_some_and(|(origin, host)| same(origin, host))
        })
}

/// Returns true if a page can have made the request under a name that leads to this machine only since
/// the page was loaded (DNS rebinding): for the browser, page and server are the same. Browsers send
/// `Origin` with every POST.
pub(super) fn is_rebound(request: &Request) -> bool {
    let is_browser =
        |headers: &HeaderMap| headers.contains_key(ORIGIN) || headers.contains_key(SEC_FETCH_SITE);
    is_browser(request.headers()) && !host(request).is_some_and(|host| is_loopback(&host))
}

/// Returns the host and port to which a request is addressed.
pub(super) fn host(request: &Request) -> Option<Authority> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => Authority::try_from(host.as_bytes()).ok()?,
        (None, _) => request.uri().authority()?.clone(),
        (Some(_), Some(_)) => return None,
    };
    (!host.as_str().contains('@')).then_some(host)
}

/// Returns true for `localhost` and loopback addresses.
pub(super) fn is_loopback(host: &Authority) -> bool {
    let name = host.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

fn same(a: &Authority, b: &Authority) -> bool {
    a.as_str().eq_ignore_ascii_case(b.as_str())
}
