//! A client of a topology's HTTP server: one connection, one request at a time.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// Longest time for an answer.
const TIMEOUT: Duration = Duration::from_secs(600);

/// A connection that is kept from one request to the next.
pub struct Http {
    stream: BufReader<TcpStream>,
}

impl Http {
    /// Connects to a port of this machine.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn connect(port: u16) -> Result<Http> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Http { stream: BufReader::new(stream) })
    }

    /// Returns the body of a path.
    ///
    /// # Errors
    /// When the answer is no success.
    pub fn get(&mut self, path: &str) -> Result<String> {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    }

    /// Returns the answer to a query as CSV.
    ///
    /// # Errors
    /// When the answer is no success.
    pub fn query(&mut self, sql: &str) -> Result<String> {
        let head = "POST /v1/query?format=csv HTTP/1.1\r\nHost: localhost\r\nContent-Length: ";
        self.send(&format!("{head}{}\r\n\r\n{sql}", sql.len()))
    }

    /// Sends a request, and returns the body of its answer.
    fn send(&mut self, request: &str) -> Result<String> {
        self.stream.get_mut().write_all(request.as_bytes())?;
        let mut status = String::new();
        self.stream.read_line(&mut status)?;
        let mut length = None;
        loop {
            let mut line = String::new();
            ensure!(self.stream.read_line(&mut line)? > 0, "the connection ended after {status:?}");
            let Some((name, value)) = line.split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse::<usize>().ok();
            }
        }
        let mut body = vec![0; length.with_context(|| format!("an answer without its length: {status}"))?];
        self.stream.read_exact(&mut body)?;
        let body = String::from_utf8(body).context("an answer is no text")?;
        ensure!(status.split(' ').nth(1) == Some("200"), "{}: {body}", status.trim());
        Ok(body)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn one_connection_takes_several_answers() -> Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let server = std::thread::spawn(move || -> std::io::Result<()> {
            let mut stream = listener.accept()?.0;
            let mut request = [0; 4096];
            for answer in ["200 OK\r\ncontent-length: 2\r\n\r\n42", "404 No\r\nContent-Length: 4\r\n\r\nnone"]
            {
                let _ = stream.read(&mut request)?;
                write!(stream, "HTTP/1.1 {answer}")?;
            }
            Ok(())
        });
        let mut http = Http::connect(port)?;
        assert_eq!(http.query("SELECT 42")?, "42");
        let error = http.get("/v1/views/v/1").err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some("HTTP/1.1 404 No: none"));
        assert!(server.join().is_ok_and(|served| served.is_ok()));
        Ok(())
    }
}
