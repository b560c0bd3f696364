//! A blocking HTTP client: single requests outside the measured load.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, ensure};

/// True if the response is complete. A status other than 202 aborts the benchmark, since the figures
/// would be meaningless.
pub(crate) fn is_complete(response: &[u8]) -> anyhow::Result<bool> {
    const ACCEPTED: &[u8] = b"HTTP/1.1 202 ";
    let Some(head) = memchr::memmem::find(response, b"\r\n\r\n") else { return Ok(false) };
    ensure!(response.starts_with(ACCEPTED), "not accepted: {}", String::from_utf8_lossy(response));
    let name = b"content-length: ";
    let length = memchr::memmem::find(&response[..head], name).context("no content-length")?;
    let digits = response[length + name.len()..].iter().take_while(|byte| byte.is_ascii_digit());
    let length = digits.fold(0, |length, &digit| length * 10 + usize::from(digit - b'0'));
    Ok(response.len() >= head + 4 + length)
}

/// Sends one event and waits for the response.
pub(crate) fn post(stream: &mut TcpStream, path: &str, event: &str) -> anyhow::Result<()> {
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{event}",
        event.len()
    );
    stream.write_all(request.as_bytes())?;
    let (mut response, mut buffer) = (Vec::new(), [0; 1024]);
    while !is_complete(&response)? {
        let bytes = stream.read(&mut buffer)?;
        ensure!(bytes > 0, "no response");
        response.extend_from_slice(&buffer[..bytes]);
    }
    Ok(())
}

/// Sends one request on a new connection and returns the body of the response.
pub(crate) fn get(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    if !response.starts_with("HTTP/1.1 200 ") {
        return Err(io::Error::other(response.lines().next().unwrap_or_default().to_owned()));
    }
    Ok(response.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}
