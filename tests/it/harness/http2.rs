//! An HTTP/2 client connection, with or without TLS.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Frame;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use ureq::http::Request;

use super::client::{JSON, Response};

/// The body of a response that has begun.
pub(crate) type Body = hyper::body::Incoming;

enum RequestBody {
    Whole(Full<Bytes>),
    Never,
}

impl hyper::body::Body for RequestBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(cx),
            Self::Never => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(body) if body.is_end_stream())
    }
}

pub(crate) struct Http2 {
    runtime: Runtime,
    sender: SendRequest<RequestBody>,
}

impl Http2 {
    /// HTTP/2 with prior knowledge, without TLS.
    #[track_caller]
    pub(crate) fn plain(address: SocketAddr) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let stream = runtime.block_on(TcpStream::connect(address)).expect("a connection");
        Self::over(runtime, stream)
    }

    /// HTTP/2 negotiated by ALPN; panics if the server selects another protocol.
    #[track_caller]
    pub(crate) fn tls(address: SocketAddr, config: rustls::ClientConfig) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let stream = runtime.block_on(async {
            let stream = TcpStream::connect(address).await.expect("a connection");
            let name = ServerName::try_from("localhost").expect("a name");
            TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("a handshake")
        });
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        Self::over(runtime, stream)
    }

    fn over(
        runtime: Runtime,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Self {
        let handshake = handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = runtime.block_on(handshake).expect("HTTP/2");
        // The next request reports a closed connection.
        runtime.spawn(async move { drop(connection.await) });
        Self { runtime, sender }
    }

    /// Sends a request; an error means that no response arrived.
    pub(crate) fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Result<Response, hyper::Error> {
        let mut request = Request::builder().method(method).uri(format!("http://localhost{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Full::new(Bytes::copy_from_slice(body.as_ref()));
        self.request(request.body(RequestBody::Whole(body)).expect("a request"))
    }

    /// Sends an event whose body never comes.
    #[track_caller]
    pub(crate) fn event_without_body(&mut self) -> Response {
        let request = Request::post("http://localhost/events").header("content-type", JSON);
        self.request(request.body(RequestBody::Never).expect("a request")).expect("a response")
    }

    /// Whether the server has closed the connection.
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    fn request(&mut self, request: Request<RequestBody>) -> Result<Response, hyper::Error> {
        self.runtime.block_on(async {
            self.sender.ready().await?;
            let (head, body) = self.sender.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Response {
                status: head.status.as_u16(),
                headers: head.headers,
                text: String::from_utf8(body.to_vec()).expect("text"),
            })
        })
    }

    /// Begins a request without reading the body of its response, which must be a 200.
    #[track_caller]
    pub(crate) fn begin(&mut self, path: &str, headers: &[(&str, &str)]) -> Body {
        let mut request = Request::builder().uri(format!("http://localhost{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(RequestBody::Whole(Full::default())).expect("a request");
        let response = self.runtime.block_on(async {
            self.sender.ready().await?;
            self.sender.send_request(request).await
        });
        let response = response.expect("a response");
        assert_eq!(response.status().as_u16(), 200);
        response.into_body()
    }

    /// Reads a body to its end; returns the data, and whether it ended without an error.
    pub(crate) fn rest(self, mut body: Body) -> (Vec<u8>, bool) {
        self.runtime.block_on(async {
            let mut data = Vec::new();
            while let Some(frame) = body.frame().await {
                match frame {
                    Ok(frame) => data.extend(frame.into_data().unwrap_or_default()),
                    Err(_) => return (data, false),
                }
            }
            (data, true)
        })
    }

    /// Sends one event as JSON.
    #[track_caller]
    pub(crate) fn event(&mut self, event: &serde_json::Value) -> Response {
        let headers = [("content-type", JSON)];
        self.send("POST", "/events", &headers, event.to_string()).expect("a response")
    }
}
