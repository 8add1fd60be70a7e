//! A client of PostgreSQL's protocol: simple queries over one connection.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Longest time for an answer.
const TIMEOUT: Duration = Duration::from_secs(600);
/// Version 3.0 of the protocol.
const VERSION: i32 = 196_608;

/// A connection.
pub struct Pg {
    stream: BufReader<TcpStream>,
}

impl Pg {
    /// Connects to a port of this machine, where no password is asked for.
    ///
    /// # Errors
    /// When nobody listens there, or the client is refused.
    pub fn connect(port: u16) -> Result<Pg> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        let mut pg = Pg { stream: BufReader::new(stream) };
        let body = [&VERSION.to_be_bytes()[..], b"user\0bench\0database\0view\0\0"].concat();
        pg.send(&[], &body)?;
        pg.read_rows()?;
        Ok(pg)
    }

    /// Returns the answer to a query: its rows as lines, with commas between the values.
    ///
    /// # Errors
    /// When the query fails.
    pub fn query(&mut self, sql: &str) -> Result<String> {
        self.send(b"Q", &[sql.as_bytes(), b"\0"].concat())?;
        self.read_rows()
    }

    fn send(&mut self, kind: &[u8], body: &[u8]) -> Result<()> {
        let length = i32::try_from(body.len() + 4)?;
        self.stream.get_mut().write_all(&[kind, &length.to_be_bytes(), body].concat())?;
        Ok(())
    }

    /// Reads messages until the server waits for the next query.
    fn read_rows(&mut self) -> Result<String> {
        let mut rows = String::new();
        loop {
            let mut head = [0; 5];
            self.stream.read_exact(&mut head)?;
            let length = i32::from_be_bytes([head[1], head[2], head[3], head[4]]);
            let mut body = vec![0; usize::try_from(length - 4)?];
            self.stream.read_exact(&mut body)?;
            match head[0] {
                b'Z' => return Ok(rows),
                b'D' => push_row(&mut rows, &body).context("a row is cut")?,
                b'E' => bail!("{}", String::from_utf8_lossy(&body).replace('\0', " ")),
                _ => {}
            }
        }
    }
}

/// Appends a row as a line; None if it is cut.
fn push_row(rows: &mut String, body: &[u8]) -> Option<()> {
    let (count, mut rest) = body.split_at_checked(2)?;
    for at in 0..u16::from_be_bytes(count.try_into().ok()?) {
        let (length, values) = rest.split_at_checked(4)?;
        // A NULL has the length -1.
        let length = usize::try_from(i32::from_be_bytes(length.try_into().ok()?)).unwrap_or(0);
        let (value, others) = values.split_at_checked(length)?;
        rows.push_str(if at > 0 { "," } else { "" });
        rows.push_str(&String::from_utf8_lossy(value));
        rest = others;
    }
    rows.push('\n');
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_a_line() {
        let mut rows = String::new();
        let pushed = push_row(&mut rows, b"\0\x03\0\0\0\x02ab\xff\xff\xff\xff\0\0\0\x011");
        assert_eq!((pushed, rows.as_str()), (Some(()), "ab,,1\n"));
        assert_eq!(push_row(&mut rows, b"\0\x01\0\0\0\x02a"), None);
    }
}
