//! A blocking HTTP client: single requests outside the measured load.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, ensure};

/// Whether that is a whole answer. Any other status than 202 ends the benchmark: its figures would
/// mean nothing.
pub(crate) fn is_whole(answer: &[u8]) -> anyhow::Result<bool> {
    const ACCEPTED: &[u8] = b"HTTP/1.1 202 ";
    let Some(head) = memchr::memmem::find(answer, b"\r\n\r\n") else { return Ok(false) };
    ensure!(answer.starts_with(ACCEPTED), "not accepted: {}", String::from_utf8_lossy(answer));
    let name = b"content-length: ";
    let length = memchr::memmem::find(&answer[..head], name).context("no content-length")?;
    let digits = answer[length + name.len()..].iter().take_while(|byte| byte.is_ascii_digit());
    let length = digits.fold(0, |length, &digit| length * 10 + usize::from(digit - b'0'));
    Ok(answer.len() >= head + 4 + length)
}

/// One event, sent and answered.
pub(crate) fn post(stream: &mut TcpStream, path: &str, event: &str) -> anyhow::Result<()> {
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{event}",
        event.len()
    );
    stream.write_all(request.as_bytes())?;
    let (mut answer, mut part) = (Vec::new(), [0; 1024]);
    while !is_whole(&answer)? {
        let bytes = stream.read(&mut part)?;
        ensure!(bytes > 0, "no answer");
        answer.extend_from_slice(&part[..bytes]);
    }
    Ok(())
}

/// One request, one answer, on a connection of its own; the body of the answer.
pub(crate) fn get(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if !answer.starts_with("HTTP/1.1 200 ") {
        return Err(io::Error::other(answer.lines().next().unwrap_or_default().to_owned()));
    }
    Ok(answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}
