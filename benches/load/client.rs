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

/// Returns the header line that permits reading, from the file that the server names.
pub(crate) fn read_header(address: SocketAddr) -> anyhow::Result<String> {
    let response = exchange(address, "/stats", "")?;
    let file = response.split_once("\"token_file\":\"").and_then(|(_, rest)| rest.split_once('"'));
    let (file, _) = file.with_context(|| format!("no token file in {response}"))?;
    Ok(std::fs::read_to_string(file)?.trim_end().to_owned() + "\r\n")
}

/// Sends one request on a new connection, with some header lines, and returns the body of the response.
pub(crate) fn get(address: SocketAddr, path: &str, headers: &str) -> io::Result<String> {
    let response = exchange(address, path, headers)?;
    if !response.starts_with("HTTP/1.1 200 ") {
        return Err(io::Error::other(response.lines().next().unwrap_or_default().to_owned()));
    }
    Ok(response.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

fn exchange(address: SocketAddr, path: &str, headers: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    let head = "HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n";
    write!(stream, "GET {path} {head}{headers}\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    Ok(response)
}
